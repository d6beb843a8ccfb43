//! The state of a replication session, both ends. Pure: frames in, what to read and to say out.
//!
//! The leader's end ([`Serving`]) is a queue of partitions with something new and a credit in bytes: each partition that
//! is read goes to the end of the queue, so that a big one does not hold up the small ones, and the position after a
//! read is the end of what was sent, so that the follower's sync is not waited for. The follower's end ([`Asking`]) names
//! what it wants and hands credit back when records have become durable: a slow follower bounds its own memory.
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
    /// To be read, in order.
    ready: VecDeque<Slot>,
    /// Their follower knows a newer leader epoch than this broker: looked at again with the next image.
    behind: BTreeSet<Slot>,
    /// Sent as much as their throttle allows: looked at again when it allows more.
    held: BTreeSet<Slot>,
    /// Would be read from a file, and enough are.
    cold_waiting: VecDeque<Slot>,
    cold_running: usize,
    credit: i64,
}

#[derive(Debug)]
struct Served {
    ask: Ask,
    state: State,
    /// In `ready`.
    queued: bool,
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
}

impl Serving {
    /// The follower wants a partition from there on.
    pub fn ask(&mut self, ask: Ask) -> Result<(), Violation> {
        self.forget(ask.slot);
        if self.slots.len() >= MOST_SLOTS {
            return Err(Violation::TooManySlots);
        }
        let served = Served {
            ask,
            state: State::Open,
            queued: false,
            told: None,
        };
        self.slots.insert(ask.slot, served);
        self.moved(ask.slot);
        Ok(())
    }

    /// The follower wants it no longer.
    pub fn forget(&mut self, slot: Slot) {
        let Some(served) = self.slots.remove(&slot) else {
            return;
        };
        if served.queued {
            self.ready.retain(|ready| *ready != slot);
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
        let Some(next) = self.cold_waiting.pop_front() else {
            return;
        };
        if let Some(served) = self.slots.get_mut(&next) {
            served.state = State::Open;
            self.moved(next);
        }
    }

    /// The follower takes so many bytes more.
    pub fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(i64::from(bytes)).min(MOST_CREDIT);
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
        let Some(served) = self.slots.get_mut(&slot) else {
            return;
        };
        // One that is read from a file is looked at again after that.
        if served.state == State::Open && !served.queued {
            served.queued = true;
            self.ready.push_back(slot);
        }
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
            self.moved(slot);
        }
    }

    /// Whom to read next; nobody while the follower takes no more.
    pub fn next_turn(&mut self) -> Option<Turn> {
        if self.credit <= 0 {
            return None;
        }
        let slot = self.ready.pop_front()?;
        let served = self.slots.get_mut(&slot).expect("queued slots exist");
        served.queued = false;
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

    /// What a turn gave; true if it is to be sent. Records move the position, and the partition comes again after the others.
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
            self.credit -= given.bytes as i64;
            self.moved(slot);
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
        self.moved(slot);
        true
    }

    /// The answer of a turn ends the ask: the follower asks anew.
    pub fn ended(&mut self, slot: Slot, round: u32) {
        if let Some(served) = self.current(slot, round) {
            served.state = State::Ended;
            if std::mem::take(&mut served.queued) {
                self.ready.retain(|ready| *ready != slot);
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
