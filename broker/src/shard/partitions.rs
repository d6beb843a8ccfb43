//! One partition on the core that owns it: its log, its leadership, and who waits for it.
//!
//! Owns the rules that tie the three together: progress of the log moves the high watermark, a moved high watermark wakes
//! waiters. Leaves appending to `produce.rs`, reading to `read.rs`, rounds to `sync.rs`, opening and deleting to `bridge.rs`.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};

use super::Shard;
use super::error::PartitionError;
use super::follow::Follows;
use super::news::{Feeds, News};
use super::produce::{Acks, Placed};
use super::topic_config::TopicConfig;
use super::waiters::{AckQueue, Pending, WatchList};
use crate::log::{AppendError, FlushPolicy, Log};
use crate::metadata::image::PartitionImage;
use crate::metadata::is_internal;
use crate::replication::epochs::{self, Stale};
use crate::replication::leader::{Leader, Leadership, Moment};
use crate::rt;
use crate::rt::local::Event;

/// What all partitions of one core share.
#[derive(Default)]
pub struct Shared {
    /// The epoch of every registered broker: its present life (KIP-903).
    pub(super) broker_epochs: RefCell<BTreeMap<NodeId, i64>>,
    /// Partitions whose ISR somebody may leave or join.
    pub(super) isr_wanted: News,
    /// Partitions whose logs turned out to be damaged.
    pub(super) damaged: News,
    /// Partitions that nobody leads any more.
    pub(super) leaderless: News,
    /// Partitions of the brokers' own topics that are led here since, under another epoch, or no longer: their coordinators
    /// come and go.
    pub(super) coordinated: News,
    /// How many partitions are led here.
    pub(super) led: Cell<u64>,
    /// Deliberate faults, tests only.
    pub(super) faults: Faults,
}

/// Deliberate faults of replication, tests only, never a property: so that the tests which look for them can be seen to
/// fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A leader does not look whether a follower's history is its own.
    pub skip_epoch_check: bool,
    /// A follower of a new leader cuts its log at its high watermark instead of where histories part.
    pub truncate_by_high_watermark: bool,
    /// A follower says that what it has fetched is synced.
    pub report_unsynced: bool,
}

/// One partition that this core owns. Shared by `Rc` so that work in flight outlives a deletion.
pub struct Partition {
    /// Which one.
    pub id: TopicPartition,
    /// Its topic's name, for messages to people.
    pub topic: Arc<str>,
    /// Index into the shard's log directories.
    pub dir: usize,
    /// None once it was given up for deletion.
    log: RefCell<Option<Log>>,
    pub(super) config: RefCell<Rc<TopicConfig>>,
    /// None while another broker leads.
    pub(super) leader: RefCell<Option<Leader>>,
    /// None while it leads, and while nobody does.
    pub(super) follows: Cell<Option<Follows>>,
    /// A cut waits or runs: it neither leads nor follows.
    pub(super) cutting: Cell<bool>,
    /// First offset at which its log is known to be damaged.
    pub(super) damaged: Cell<Option<Offset>>,
    /// The quorum is asked to take it out of the in-sync set: it does not follow.
    pub(super) giving_up: Cell<bool>,
    pub(super) shared: Rc<Shared>,
    /// The undecided ISR proposal was sent more than once.
    pub(super) isr_retried: Cell<bool>,
    /// A round or a checkpoint ended, or nothing more will.
    pub(super) settled: Event,
    pub(super) watchers: WatchList,
    /// The sessions of its followers: told of appends, of a moved high watermark, and when it no longer leads.
    pub append_watchers: Feeds,
    /// In the list of the next durability round.
    pub(super) dirty: Cell<bool>,
    /// Its files are not what a clean shutdown leaves: closing has something to do.
    pub(super) unsettled: Cell<bool>,
    synced_waiters: AckQueue,
    committed_waiters: AckQueue,
    offline: Cell<bool>,
}

impl Partition {
    /// Takes over an opened log. It serves nothing until `lead` was called.
    pub fn new(
        id: TopicPartition,
        topic: Arc<str>,
        dir: usize,
        log: Log,
        config: Rc<TopicConfig>,
        shared: Rc<Shared>,
    ) -> Partition {
        Partition {
            id,
            topic,
            dir,
            log: RefCell::new(Some(log)),
            config: RefCell::new(config),
            leader: RefCell::new(None),
            follows: Cell::new(None),
            cutting: Cell::new(false),
            damaged: Cell::new(None),
            giving_up: Cell::new(false),
            shared,
            isr_retried: Cell::new(false),
            settled: Event::default(),
            watchers: WatchList::default(),
            append_watchers: Feeds::default(),
            dirty: Cell::new(false),
            unsettled: Cell::new(true),
            synced_waiters: AckQueue::default(),
            committed_waiters: AckQueue::default(),
            offline: Cell::new(false),
        }
    }

    /// Its log, for as long as the caller does not wait for anything. None after a deletion.
    pub(super) fn log(&self) -> Result<Ref<'_, Log>, PartitionError> {
        Ref::filter_map(self.log.borrow(), Option::as_ref).map_err(|_| PartitionError::Unknown)
    }

    /// The same, to change it.
    pub(super) fn log_mut(&self) -> Result<RefMut<'_, Log>, PartitionError> {
        RefMut::filter_map(self.log.borrow_mut(), Option::as_mut).map_err(|_| PartitionError::Unknown)
    }

    /// First offset that may not be read yet.
    pub fn high_watermark(&self) -> Offset {
        self.log()
            .map_or(Offset::ZERO, |log| log.offsets().high_watermark)
    }

    /// Whether a round has something to do for it.
    pub(super) fn is_dirty(&self) -> bool {
        self.log().is_ok_and(|log| log.is_dirty())
    }

    /// Tells a recording disk that everything up to `last` was promised to somebody; nothing on a real one. Topics with
    /// `flush.policy=async` promise less, and say so.
    pub(super) fn promise(&self, last: Offset) {
        if let Ok(log) = self.log()
            && log.config().flush == FlushPolicy::Sync
        {
            log.promise(last + 1);
        }
    }

    /// Whether its disk failed.
    pub fn is_offline(&self) -> bool {
        self.offline.get()
    }

    /// Refuses callers with another idea of who leads, and partitions that cannot serve.
    pub fn check_leader(&self, claimed_epoch: i32) -> Result<(), PartitionError> {
        self.log()?;
        if self.offline.get() {
            return Err(PartitionError::Storage);
        }
        let epoch = self.leader_epoch().ok_or(PartitionError::NotLeader)?;
        check_epoch(claimed_epoch, epoch)
    }

    /// As [`Partition::check_leader`], for consumers, which may also read from a replica that follows (KIP-392).
    pub(super) fn check_replica_of(&self, claimed_epoch: i32) -> Result<(), PartitionError> {
        match self.following() {
            Some(following) => check_epoch(claimed_epoch, following.leader_epoch),
            None => self.check_leader(claimed_epoch),
        }
    }

    /// The epoch under which this broker leads it, if it does.
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader.borrow().as_ref().map(Leader::epoch)
    }

    /// What the metadata says about leadership: take it over, go on with it under a new ISR, follow somebody, or neither.
    /// True if what it follows is not what it was. While it is being cut nothing changes; whoever cuts it applies the
    /// newest state afterwards.
    pub(super) fn apply_state(&self, me: NodeId, state: &PartitionImage) -> bool {
        if self.cutting.get() {
            return false;
        }
        if state.leader == Some(me) {
            self.lead(me, state);
            return self.follows.take().is_some();
        }
        self.resign();
        if state.leader.is_none() && state.replicas.contains(&me) {
            self.shared.leaderless.tell(self.id);
        }
        let leader = state.leader.filter(|_| state.replicas.contains(&me));
        self.follow(leader.map(|leader| (leader, state.leader_epoch)))
    }

    fn lead(&self, me: NodeId, state: &PartitionImage) {
        let min_isr = self.config.borrow().min_insync_replicas;
        let leadership = Leadership {
            epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            replicas: state.replicas.clone(),
            isr: state.isr.clone(),
            copies: state.copies(),
        };
        let at = self.moment(rt::now());
        let (moved, epoch_changed) = {
            let mut slot = self.leader.borrow_mut();
            if let Ok(mut log) = self.log_mut() {
                log.begin_epoch(state.leader_epoch);
            }
            match slot.as_mut() {
                Some(current) => {
                    let changed = current.epoch() != leadership.epoch;
                    (current.commit(leadership, at), changed)
                }
                None => {
                    self.shared.led.set(self.shared.led.get() + 1);
                    let leader = Leader::new(me, leadership, min_isr, self.high_watermark(), at);
                    (slot.insert(leader).local_progress(self.local_position()), true)
                }
            }
        };
        self.high_watermark_moved(moved);
        if epoch_changed {
            self.append_watchers.tell();
            self.tell_coordinators();
        }
        if state.isr.len() < state.replicas.len() {
            // Who came while a proposal was undecided was not let in, and says nothing more if nothing is appended.
            self.shared.isr_wanted.tell(self.id);
        }
    }

    fn tell_coordinators(&self) {
        if is_internal(&self.topic) {
            self.shared.coordinated.tell(self.id);
        }
    }

    /// It leads no more; whether it did.
    fn stop_leading(&self) -> bool {
        let led = self.leader.take().is_some();
        if led {
            self.shared.led.set(self.shared.led.get() - 1);
            self.tell_coordinators();
        }
        led
    }

    /// Another broker leads from now on: whoever waits here must ask there.
    fn resign(&self) {
        if self.stop_leading() {
            if let Ok(mut log) = self.log_mut() {
                log.end_epoch();
            }
            self.fail_waiters(&PartitionError::NotLeader);
            self.append_watchers.tell();
        }
    }

    /// Now, as the arithmetic of replication knows it.
    pub(super) fn moment(&self, now: rt::Instant) -> Moment {
        Moment {
            now: now - now.before(Duration::MAX),
            log_end: self.log().map_or(Offset::ZERO, |log| log.offsets().log_end),
        }
    }

    /// New effective properties of its topic.
    pub fn apply_config(&self, config: Rc<TopicConfig>) {
        if let Ok(mut log) = self.log_mut() {
            log.apply_config(&config.log);
        }
        let moved = self
            .leader
            .borrow_mut()
            .as_mut()
            .and_then(|leader| leader.set_min_isr(config.min_insync_replicas));
        *self.config.borrow_mut() = config;
        self.high_watermark_moved(moved);
    }

    /// How far this broker itself may promise: what is synced, or what is written where the topic says `async`.
    pub(super) fn local_position(&self) -> Offset {
        self.log().map_or(Offset::ZERO, |log| log.ready())
    }

    /// The log got further (a round ended, or an append under `async`): moves the high watermark, settles waiters.
    pub(super) fn progressed(&self) {
        self.settled.notify_all();
        let position = self.local_position();
        self.synced_waiters.reached(position);
        self.follower_progressed();
        let moved = self
            .leader
            .borrow_mut()
            .as_mut()
            .and_then(|leader| leader.local_progress(position));
        self.high_watermark_moved(moved);
    }

    pub(super) fn high_watermark_moved(&self, moved: Option<Offset>) {
        let Some(high_watermark) = moved else { return };
        if let Ok(mut log) = self.log_mut() {
            log.set_high_watermark(high_watermark);
        }
        self.committed_waiters.reached(high_watermark);
        self.watchers.reached(high_watermark);
        self.append_watchers.tell();
    }

    /// Registers a produce part that waits for `last` to become as durable as `acks` says.
    pub(super) fn wait_durable(&self, last: Offset, acks: Acks, pending: &Rc<Pending>, index: usize) {
        if self.is_durable(last, acks) {
            return;
        }
        self.waiters(acks).wait(last, pending, index);
    }

    /// Nobody waits for the parts of `pending` any more that waited for `last`.
    pub(super) fn stop_waiting(&self, last: Offset, acks: Acks, pending: &Rc<Pending>) {
        self.waiters(acks).forget(last, pending);
    }

    fn waiters(&self, acks: Acks) -> &AckQueue {
        match acks {
            Acks::None | Acks::Leader => &self.synced_waiters,
            Acks::All => &self.committed_waiters,
        }
    }

    /// How many parts of produce requests wait for this partition.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.synced_waiters.len() + self.committed_waiters.len()
    }

    /// Whether `last` is as durable as `acks` asks.
    pub(super) fn is_durable(&self, last: Offset, acks: Acks) -> bool {
        match acks {
            Acks::None | Acks::Leader => last < self.local_position(),
            Acks::All => last < self.high_watermark(),
        }
    }

    /// Its log directory failed: nothing is served from it any more.
    pub(super) fn take_offline(&self) {
        self.offline.set(true);
        self.settled.notify_all();
        self.append_watchers.tell();
        self.tell_coordinators();
        self.fail_waiters(&PartitionError::Storage);
    }

    /// Its topic was deleted: gives the log up, once.
    pub(super) fn give_up(&self) -> Option<Log> {
        self.follows.set(None);
        self.stop_leading();
        self.fail_waiters(&PartitionError::Unknown);
        self.append_watchers.tell();
        let log = self.log.take();
        self.settled.notify_all();
        log
    }

    fn fail_waiters(&self, error: &PartitionError) {
        self.synced_waiters.fail(error);
        self.committed_waiters.fail(error);
        self.watchers.wake_all();
    }
}

impl Shard {
    /// A partition this core owns.
    pub fn partition(&self, id: &TopicPartition) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(id).cloned()
    }

    /// Every partition of this core at this moment.
    pub fn all_partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// What a producer is told of a refused append. A gap in its sequence is final for clients, and seen wrongly by a leader
    /// that was deposed without knowing (paused, cut off): one that is not sure sends them to look again.
    fn unless_deposed(&self, error: AppendError) -> PartitionError {
        match error {
            AppendError::Producer(_) if !self.quorum.sure_of_itself() => {
                tracing::info!(%error, "a leader that may have been deposed sends a producer to look again");
                PartitionError::NotLeader
            }
            error => error.into(),
        }
    }

    /// Appends to the log without waiting for anything, and puts it in the list of the next round.
    pub(super) fn append_now(
        &self,
        partition: &Rc<Partition>,
        batches: Bytes,
        acks: Acks,
    ) -> Result<Placed, PartitionError> {
        partition.check_leader(-1)?;
        // What the reserve is kept for: consumers go on, and so do their commits.
        if self.dirs[partition.dir].full.get() && !is_internal(&partition.topic) {
            self.counters.refused_for_space();
            return Err(PartitionError::DiskFull);
        }
        let epoch = {
            let leader = partition.leader.borrow();
            let leader = leader.as_ref().ok_or(PartitionError::NotLeader)?;
            if acks == Acks::All && !leader.enough_in_sync() {
                return Err(PartitionError::NotEnoughReplicas);
            }
            leader.epoch()
        };
        let bytes = batches.len() as u64;
        let (appended, log_start) = {
            let mut log = partition.log_mut()?;
            let appended = log.append(batches, epoch, rt::wall_ms());
            let appended = appended.map_err(|error| self.unless_deposed(error))?;
            (appended, log.offsets().log_start)
        };
        if !appended.duplicate {
            partition.unsettled.set(true);
            self.counters.appended(bytes);
            self.rounds.mark_dirty(partition);
            partition.append_watchers.tell();
        }
        Ok(Placed {
            base_offset: appended.base_offset,
            last_offset: appended.last_offset,
            log_append_time: appended.log_append_time,
            log_start,
        })
    }
}

fn check_epoch(claimed: i32, current: LeaderEpoch) -> Result<(), PartitionError> {
    epochs::check(claimed, current).map_err(|stale| match stale {
        Stale::Fenced => PartitionError::FencedEpoch,
        Stale::Unknown => PartitionError::UnknownEpoch,
    })
}
