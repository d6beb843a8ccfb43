//! The state of a replication session, both ends. Pure: frames in, what to read and to say out.
//!
//! The leader's end ([`Serving`]) is two queues of partitions and a credit in bytes. What is new in a partition whose
//! follower has all the rest comes first; partitions that are caught up with share what is left, a turn each. So one that
//! is far behind holds nobody up, and is not starved either. The position after a read is the end of what was sent, so
//! that the follower's sync is not waited for. The follower's end ([`Asking`]) names what it wants and hands credit back
//! when records have become durable: a slow follower bounds its own memory.
//! Leaves logs, sockets and waiting to `shard/peers/`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::ids::{LeaderEpoch, Offset, TopicPartition};

use super::follower::FollowerPosition;
use super::wire::{Ask, Slot, Synced};

mod asking;

pub use asking::{Again, Asking};

/// Partitions of one session at most.
pub const MOST_SLOTS: usize = 1 << 20;
/// Credit never exceeds it, whatever a follower grants.
pub const MOST_CREDIT: i64 = 1 << 30;
/// Bytes that one partition gets before the next one has its turn; one batch may be larger.
pub const TURN_BYTES: usize = 256 << 10;
/// Partitions that are read from files at once.
pub const MOST_COLD: usize = 4;
/// Credit that catching up leaves to what is new: more than a turn, which may go so far over. A third, where credit is scarce.
const KEPT_FOR_NEWS: i64 = TURN_BYTES as i64 + (64 << 10);

/// What no follower of this version does. The session ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More partitions than a broker may have.
    #[error("more than {MOST_SLOTS} partitions in one session")]
    TooManySlots,
}

/// The leader's end of one session.
#[derive(Debug, Default)]
pub struct Serving {
    slots: BTreeMap<Slot, Served>,
    /// To be read first, in order: there is something new, and before that the follower had all.
    news: VecDeque<Slot>,
    /// To be read, in order: there is more than one turn gives.
    ready: VecDeque<Slot>,
    /// Bytes that went ahead of `ready` since that had a turn.
    ahead: usize,
    /// Their follower knows a newer leader epoch than this broker: looked at again with the next image.
    behind: BTreeSet<Slot>,
    /// Sent as much as their throttle allows: looked at again when it allows more.
    held: BTreeSet<Slot>,
    /// Would be read from a file, and enough are.
    cold_waiting: VecDeque<Slot>,
    cold_running: usize,
    credit: i64,
    /// The most credit there ever was.
    window: i64,
}

#[derive(Debug)]
struct Served {
    ask: Ask,
    state: State,
    /// In `news` or in `ready`.
    queued: bool,
    /// Its last turn went ahead of others.
    ahead: bool,
    /// High watermark and log start as said last.
    told: Option<(Offset, Offset)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Read when there is something new.
    Open,
    /// A file is being read; so much credit is set aside.
    Reading(i64),
    /// It waits for its turn to read a file.
    Cold,
    /// Answered with what ends an ask.
    Ended,
}

/// One partition's turn to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The follower's number for it.
    pub slot: Slot,
    /// Of the ask.
    pub round: u32,
    /// Which one.
    pub partition: TopicPartition,
    /// What its follower has synced, as it said last.
    pub synced: Offset,
    /// Where its follower goes on.
    pub position: FollowerPosition,
}

/// What was read in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Bytes of records.
    pub bytes: usize,
    /// Where the follower goes on after them, and the epoch of the last one; None without records.
    pub end: Option<(Offset, LeaderEpoch)>,
    /// The leader's.
    pub high_watermark: Offset,
    /// The leader's.
    pub log_start: Offset,
    /// Of the leader's log when it was read.
    pub log_end: Offset,
}

impl Serving {
    /// The follower wants a partition from there on. Where it is in sync, acknowledgements wait for it; after a new connection
    /// it asks for all the others too, and may be behind in all of them.
    pub fn ask(&mut self, ask: Ask, in_sync: bool) -> Result<(), Violation> {
        self.forget(ask.slot);
        if self.slots.len() >= MOST_SLOTS {
            return Err(Violation::TooManySlots);
        }
        let served = Served {
            ask,
            state: State::Open,
            queued: false,
            ahead: false,
            told: None,
        };
        self.slots.insert(ask.slot, served);
        match in_sync {
            true => self.moved(ask.slot),
            false => self.goes_on(ask.slot),
        }
        Ok(())
    }

    /// The follower wants it no longer.
    pub fn forget(&mut self, slot: Slot) {
        let Some(served) = self.slots.remove(&slot) else {
            return;
        };
        if served.queued {
            self.unqueue(slot);
        }
        self.behind.remove(&slot);
        self.held.remove(&slot);
        match served.state {
            State::Reading(reserved) => self.cold_over(reserved),
            State::Cold => self.cold_waiting.retain(|waiting| *waiting != slot),
            State::Open | State::Ended => {}
        }
    }

    /// A file is no longer read: the next one may be.
    fn cold_over(&mut self, reserved: i64) {
        self.credit += reserved;
        self.cold_running -= 1;
        self.next_cold();
    }

    fn next_cold(&mut self) {
        let Some(next) = self.cold_waiting.pop_front() else {
            return;
        };
        if let Some(served) = self.slots.get_mut(&next) {
            served.state = State::Open;
            self.goes_on(next);
        }
    }

    /// The follower takes so many bytes more.
    pub fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(i64::from(bytes)).min(MOST_CREDIT);
        self.window = self.window.max(self.credit);
    }

    /// The follower has come so far. The partition it is about, if the follower asked for one by that number.
    pub fn progress(&mut self, synced: &Synced) -> Option<TopicPartition> {
        let served = self.slots.get_mut(&synced.slot)?;
        if synced.leader_epoch == served.ask.leader_epoch {
            served.ask.log_start = synced.log_start;
            served.ask.synced = synced.synced;
        }
        Some(served.ask.partition)
    }

    /// The partition may have something new.
    pub fn moved(&mut self, slot: Slot) {
        if self.enter(slot) {
            self.news.push_back(slot);
        }
    }

    /// There may be more of the partition; it has its turn after the others.
    fn goes_on(&mut self, slot: Slot) {
        if self.enter(slot) {
            self.ready.push_back(slot);
        }
    }

    /// Notes that it is queued; false if it is already, or must not be.
    fn enter(&mut self, slot: Slot) -> bool {
        let Some(served) = self.slots.get_mut(&slot) else {
            return false;
        };
        // One that is read from a file is looked at again after that.
        let enters = served.state == State::Open && !served.queued;
        served.queued |= enters;
        enters
    }

    fn unqueue(&mut self, slot: Slot) {
        self.news.retain(|queued| *queued != slot);
        self.ready.retain(|queued| *queued != slot);
    }

    /// This broker has newer metadata, perhaps another throttle too.
    pub fn image_changed(&mut self) {
        for slot in std::mem::take(&mut self.behind) {
            self.moved(slot);
        }
        self.release();
    }

    /// Nothing is to be sent of it for a while.
    pub fn hold(&mut self, slot: Slot, round: u32) {
        if self.current(slot, round).is_some() {
            self.held.insert(slot);
        }
    }

    /// Those that were held are looked at again.
    pub fn release(&mut self) {
        for slot in std::mem::take(&mut self.held) {
            self.goes_on(slot);
        }
    }

    /// Whether something new comes next, before those that go on and before what files gave of them: unless it has taken a
    /// whole turn since they had one.
    pub fn is_news_next(&self) -> bool {
        self.credit > 0 && self.ahead < TURN_BYTES && !self.news.is_empty()
    }

    /// Whom to read next; nobody while the follower takes no more.
    pub fn next_turn(&mut self) -> Option<Turn> {
        if self.credit <= 0 {
            return None;
        }
        if self.ready.is_empty() && self.cold_running < MOST_COLD {
            // Whoever was to read next may have been forgotten before it did.
            self.next_cold();
        }
        let kept = KEPT_FOR_NEWS.min(self.window / 3);
        let going_on = match self.is_news_next() || self.credit <= kept {
            true => None,
            false => self.ready.pop_front(),
        };
        let ahead = going_on.is_none();
        let slot = going_on.or_else(|| self.news.pop_front())?;
        let served = self.slots.get_mut(&slot).expect("queued slots exist");
        served.queued = false;
        served.ahead = ahead;
        let max_bytes = TURN_BYTES.min(usize::try_from(self.credit).unwrap_or(TURN_BYTES));
        Some(Turn {
            slot,
            round: served.ask.round,
            partition: served.ask.partition,
            synced: served.ask.synced,
            position: FollowerPosition {
                leader_epoch: served.ask.leader_epoch,
                fetch_offset: served.ask.fetch_offset,
                last_fetched_epoch: served.ask.last_fetched_epoch,
                log_start: served.ask.log_start,
                max_bytes,
            },
        })
    }

    /// What a turn gave; true if it is to be sent. Records move the position, and the partition comes again.
    pub fn read(&mut self, slot: Slot, round: u32, given: Given) -> bool {
        let Some(served) = self.current(slot, round) else {
            return false;
        };
        let positions = (given.high_watermark, given.log_start);
        let news = given.end.is_some() || served.told != Some(positions);
        served.told = Some(positions);
        if let Some((offset, epoch)) = given.end {
            served.ask.fetch_offset = offset;
            served.ask.last_fetched_epoch = epoch.0;
            let ahead = served.ahead;
            self.ahead = if ahead { self.ahead + given.bytes } else { 0 };
            self.credit -= given.bytes as i64;
            match offset < given.log_end {
                true => self.goes_on(slot),
                // Looked at once more, with the new position, and what comes then is new.
                false => self.moved(slot),
            }
        }
        news
    }

    /// The records are in a file, `bytes` at most: whether it may be read now. If not, its turn comes when another is done.
    pub fn begin_cold(&mut self, slot: Slot, round: u32, bytes: usize) -> bool {
        let may = self.cold_running < MOST_COLD;
        let Some(served) = self.current(slot, round) else {
            return false;
        };
        if may {
            served.state = State::Reading(bytes as i64);
            served.ahead = false;
            self.credit -= bytes as i64;
            self.cold_running += 1;
        } else {
            served.state = State::Cold;
            self.cold_waiting.push_back(slot);
        }
        may
    }

    /// The file was read, or could not be; true if the ask is still the same. Then comes [`Serving::read`] or
    /// [`Serving::ended`].
    pub fn end_cold(&mut self, slot: Slot, round: u32) -> bool {
        let Some(served) = self.slots.get_mut(&slot) else {
            return false;
        };
        let State::Reading(reserved) = served.state else {
            return false;
        };
        if served.ask.round != round {
            return false;
        }
        served.state = State::Open;
        self.cold_over(reserved);
        // It may have moved meanwhile, which was not noted.
        self.goes_on(slot);
        true
    }

    /// The answer of a turn ends the ask: the follower asks anew.
    pub fn ended(&mut self, slot: Slot, round: u32) {
        if let Some(served) = self.current(slot, round) {
            served.state = State::Ended;
            if std::mem::take(&mut served.queued) {
                self.unqueue(slot);
            }
        }
    }

    /// Its follower knows more than this broker: nothing is answered before the next image.
    pub fn until_newer_image(&mut self, slot: Slot, round: u32) {
        if self.current(slot, round).is_some() {
            self.behind.insert(slot);
        }
    }

    fn current(&mut self, slot: Slot, round: u32) -> Option<&mut Served> {
        let served = self.slots.get_mut(&slot)?;
        (served.ask.round == round && served.state == State::Open).then_some(served)
    }
}

#[cfg(test)]
mod tests;
