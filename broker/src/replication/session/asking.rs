//! The follower's end of a session: what it wants, what is on its way, and the credit it hands back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::ids::{LeaderEpoch, Offset, TopicPartition};

use crate::replication::follower::Following;
use crate::replication::wire::{Ask, Fetch, MOST_ENTRIES, Progress, Slot, Synced};

/// The follower's end of one session. Outlives its connections.
#[derive(Debug)]
pub struct Asking {
    slots: BTreeMap<Slot, Asked>,
    by_partition: BTreeMap<TopicPartition, Slot>,
    unused: Vec<Slot>,
    /// Told to the leader as no longer wanted, before what is asked.
    forget: BTreeSet<Slot>,
    /// To be looked at: asked, asked anew, or given up.
    changed: BTreeSet<Slot>,
    /// To be looked at after a pause.
    later: BTreeSet<Slot>,
    /// Have synced more.
    progressed: BTreeSet<Slot>,
    /// Counts all asks: an answer to an earlier one is told apart.
    rounds: u32,
    window: u32,
    /// Bytes to be granted with the next frame.
    freed: u64,
}

#[derive(Debug)]
struct Asked {
    partition: TopicPartition,
    round: u32,
    /// Under which epoch it is being sent; None: it is not.
    open: Option<LeaderEpoch>,
    /// Ends and sizes of what came and is not yet durable.
    held: VecDeque<(Offset, u64)>,
    /// It was asked anew at once, and nothing was appended since.
    hasty: bool,
}

/// When a partition is asked for anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// With the next frame; but not twice with nothing appended in between, as that would go on for ever.
    Now,
    /// After a pause, or when [`Asking::want`] says so.
    Later,
}

impl Asking {
    /// Nothing is wanted yet. The leader may have `window` bytes on their way or not yet durable here.
    pub fn new(window: u32) -> Asking {
        Asking {
            slots: BTreeMap::new(),
            by_partition: BTreeMap::new(),
            unused: Vec::new(),
            forget: BTreeSet::new(),
            changed: BTreeSet::new(),
            later: BTreeSet::new(),
            progressed: BTreeSet::new(),
            rounds: 0,
            window,
            freed: 0,
        }
    }

    /// The partition is to be followed, or is otherwise than it was.
    pub fn want(&mut self, partition: TopicPartition) {
        let slot = match self.by_partition.get(&partition) {
            Some(slot) => *slot,
            None => self.add(partition),
        };
        self.changed.insert(slot);
    }

    fn add(&mut self, partition: TopicPartition) -> Slot {
        let slot = self.unused.pop().unwrap_or(self.slots.len() as Slot);
        let asked = Asked {
            partition,
            round: 0,
            open: None,
            held: VecDeque::new(),
            hasty: false,
        };
        self.slots.insert(slot, asked);
        self.by_partition.insert(partition, slot);
        slot
    }

    /// The partition is not followed here any more.
    pub fn drop(&mut self, partition: &TopicPartition) {
        let Some(slot) = self.by_partition.remove(partition) else {
            return;
        };
        let mut asked = self.slots.remove(&slot).expect("slots and partitions agree");
        self.freed += release(&mut asked.held, None);
        if asked.open.is_some() {
            self.forget.insert(slot);
        }
        self.changed.remove(&slot);
        self.later.remove(&slot);
        self.progressed.remove(&slot);
        self.unused.push(slot);
    }

    /// Every partition it holds.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.by_partition.keys().copied()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A new connection: the leader knows nothing, and nothing is on its way. The first frame grants the whole window.
    pub fn connected(&mut self) {
        for asked in self.slots.values_mut() {
            asked.open = None;
            asked.held.clear();
        }
        self.forget.clear();
        self.later.clear();
        self.progressed.clear();
        self.changed = self.slots.keys().copied().collect();
        self.freed = u64::from(self.window);
    }

    /// The pause is over; true if something waited for that.
    pub fn try_again(&mut self) -> bool {
        self.changed.append(&mut self.later);
        !self.changed.is_empty()
    }

    /// What has changed since it was told last, as one frame; None if nothing has. `following` says what a partition
    /// would ask for now.
    pub fn next_fetch(
        &mut self,
        mut following: impl FnMut(&TopicPartition) -> Option<Following>,
    ) -> Option<Fetch> {
        let mut fetch = Fetch::default();
        while let Some(slot) = self.changed.pop_first() {
            self.look(slot, &mut fetch.ask, &mut following);
            if fetch.ask.len() == MOST_ENTRIES || self.forget.len() >= MOST_ENTRIES {
                break;
            }
        }
        while fetch.forget.len() < MOST_ENTRIES
            && let Some(slot) = self.forget.pop_first()
        {
            fetch.forget.push(slot);
        }
        if fetch.ask.is_empty() && fetch.forget.is_empty() {
            return None;
        }
        fetch.credit = self.take_credit();
        Some(fetch)
    }

    fn look(
        &mut self,
        slot: Slot,
        asks: &mut Vec<Ask>,
        following: &mut impl FnMut(&TopicPartition) -> Option<Following>,
    ) {
        let asked = self.slots.get_mut(&slot).expect("changed slots exist");
        let Some(now) = following(&asked.partition) else {
            self.freed += release(&mut asked.held, None);
            if asked.open.take().is_some() {
                self.forget.insert(slot);
            }
            return;
        };
        if asked.open == Some(now.leader_epoch) {
            return;
        }
        self.rounds = self.rounds.wrapping_add(1);
        self.freed += release(&mut asked.held, None);
        asked.open = Some(now.leader_epoch);
        asked.round = self.rounds;
        self.forget.remove(&slot);
        asks.push(Ask {
            slot,
            round: asked.round,
            partition: asked.partition,
            leader_epoch: now.leader_epoch,
            fetch_offset: now.fetch_offset,
            last_fetched_epoch: now.last_fetched_epoch,
            log_start: now.log_start,
            synced: now.synced,
        });
    }

    /// Whose an answer is, and the leader epoch it was asked under; None if it answers an earlier ask.
    pub fn answered(&self, slot: Slot, round: u32) -> Option<(TopicPartition, LeaderEpoch)> {
        let asked = self.slots.get(&slot).filter(|asked| asked.round == round)?;
        Some((asked.partition, asked.open?))
    }

    /// Records of an answer were appended; their credit comes back when everything below `end` is durable.
    pub fn appended(&mut self, slot: Slot, end: Offset, bytes: usize) {
        if let Some(asked) = self.slots.get_mut(&slot) {
            asked.held.push_back((end, bytes as u64));
            asked.hasty = false;
        }
    }

    /// Records of an answer were of no use.
    pub fn discarded(&mut self, bytes: usize) {
        self.freed += bytes as u64;
    }

    /// The leader has ended the ask.
    pub fn ended(&mut self, slot: Slot, again: Again) {
        if let Some(asked) = self.slots.get_mut(&slot) {
            asked.open = None;
            self.freed += release(&mut asked.held, None);
            self.again(slot, again);
        }
    }

    /// What comes for it is of no use: the leader is to stop, or to begin elsewhere.
    pub fn refused(&mut self, slot: Slot, again: Again) {
        let Some(asked) = self.slots.get_mut(&slot) else {
            return;
        };
        self.freed += release(&mut asked.held, None);
        if asked.open.take().is_some() {
            self.forget.insert(slot);
        }
        self.again(slot, again);
    }

    fn again(&mut self, slot: Slot, again: Again) {
        let Some(asked) = self.slots.get_mut(&slot) else {
            return;
        };
        match again {
            Again::Now if !std::mem::replace(&mut asked.hasty, true) => self.changed.insert(slot),
            Again::Now | Again::Later => self.later.insert(slot),
        };
    }

    /// The partition has synced more.
    pub fn synced(&mut self, partition: &TopicPartition) {
        if let Some(slot) = self.by_partition.get(partition) {
            self.progressed.insert(*slot);
        }
    }

    /// How far partitions have come since it was told last, and credit to hand back; None if there is neither.
    pub fn next_progress(
        &mut self,
        mut following: impl FnMut(&TopicPartition) -> Option<Following>,
    ) -> Option<Progress> {
        let mut progress = Progress::default();
        while progress.synced.len() < MOST_ENTRIES
            && let Some(slot) = self.progressed.pop_first()
        {
            let asked = self.slots.get_mut(&slot).expect("progressed slots exist");
            let Some(now) = following(&asked.partition) else {
                continue;
            };
            self.freed += release(&mut asked.held, Some(now.synced));
            if asked.open == Some(now.leader_epoch) {
                progress.synced.push(Synced {
                    slot,
                    leader_epoch: now.leader_epoch,
                    log_start: now.log_start,
                    synced: now.synced,
                });
            }
        }
        if progress.synced.is_empty() && self.freed == 0 {
            return None;
        }
        progress.credit = self.take_credit();
        Some(progress)
    }

    fn take_credit(&mut self) -> u32 {
        let credit = u32::try_from(self.freed).unwrap_or(u32::MAX);
        self.freed -= u64::from(credit);
        credit
    }
}

/// Lets go of what lies below `upto`, or of everything; how many bytes that was.
fn release(held: &mut VecDeque<(Offset, u64)>, upto: Option<Offset>) -> u64 {
    let mut freed = 0;
    while let Some((_, bytes)) = held.pop_front_if(|(end, _)| upto.is_none_or(|upto| *end <= upto)) {
        freed += bytes;
    }
    freed
}
