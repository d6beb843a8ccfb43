//! The log of one partition: batches in segment files, exactly as Apache Kafka lays them out on disk.
//!
//! ```text
//!  append ─▶ tail (memory) ─▶ round: one write, one sync per file ─▶ segment files ─▶ retention, delete
//!               │                                                        │
//!  read ◀───────┴─────────────────────── cold job ◀──────────────────────┘
//! ```
//! Owns: [`Log`], everything in a partition's directory, and the checkpoint files of a log directory. Leaves to others:
//! when rounds run and who waits for them (`shard/`), what the high watermark is (`replication/`), error codes (`api/`).
//!
//! # How it is used
//! A [`Log`] belongs to one shard and is `!Send`. It is never borrowed across an await: whatever waits for a disk is taken
//! out of it as a job that owns what it needs ([`WriteJob`], [`ReadJob`], [`SearchJob`], [`CheckpointJob`],
//! [`RetentionJob`], [`DeleteJob`]). Jobs hold at most one file open at a time (see `handles.rs`).
//!
//! # What is promised
//! - Offsets below [`LogOffsets::synced`] survive a power cut. Only [`Log::finish_round`] moves it.
//! - A failed write or sync poisons the log for good ([`RoundError::Failed`]): after a failed fsync nobody knows what the
//!   disk holds, so nothing is retried as if it were well. A full disk is no such failure: what did not fit stays in
//!   memory, nothing of it was promised, and the next round tries again ([`RoundError::DiskFull`]).
//! - What recovery found is synced before anybody may read it. Damage below what was synced is never cut away: the range
//!   is refused ([`ReadError::Corrupt`]) and the log goes on behind it.

mod appender;
mod batches;
pub mod checkpoint;
mod deletion;
mod epochs;
pub mod format;
mod gate;
mod handles;
mod index;
mod maintenance;
mod offsets;
pub mod producers;
mod reader;
mod recovery;
pub mod retention;
mod round;
mod salvage;
mod search;
mod segment;
mod tail;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use protocol::{LeaderEpoch, Offset, TopicId};

pub use appender::{AppendError, Appended};
pub use deletion::{DeleteJob, RetentionJob, Stray, Unlink, set_aside};
pub use epochs::Epochs;
pub use handles::HandleCache;
pub use maintenance::{Busy, CheckpointJob, Checkpointed, TruncateJob, Truncated};
pub use offsets::LogOffsets;
pub use reader::{ReadError, ReadJob, ReadPlan};
pub use recovery::{Damage, LogError, LogName, RecoverFrom, Recovered, RecoveryReport, clean_leftovers};
pub use round::{RoundError, WriteDone, WriteJob};
pub use search::{Found, SearchJob};
pub use tail::TailBudget;

use gate::Gate;
use offsets::Offsets;
use producers::Producers;
use reader::Hints;
use segment::{Keys, Segment};
use tail::Tail;

/// When a record may be acknowledged (`flush.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlushPolicy {
    /// Once it is on disk.
    #[default]
    Sync,
    /// Once the kernel has it (Apache Kafka's contract): a crash of the machine may lose it.
    Async,
}

/// Whose clock a record's timestamp is (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// What a log is told by its topic's and broker's properties. Times in ms, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`
    pub index_max_bytes: u32,
    /// `retention.ms`; `None` is -1, no limit
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is -1, no limit
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: u64,
    /// `max.message.bytes`
    pub max_message_bytes: u32,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `flush.policy`
    pub flush: FlushPolicy,
    /// `producer.id.expiration.ms`
    pub producer_expiration_ms: i64,
    /// How many idempotent producers one partition remembers at most.
    pub producers_limit: usize,
    /// `cleanup.policy` has `compact`: offsets may be missing. Otherwise a missing offset is lost data, and said to be.
    pub compacted: bool,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            index_max_bytes: 10 << 20,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            file_delete_delay_ms: 60_000,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            flush: FlushPolicy::Sync,
            producer_expiration_ms: 24 * 3_600_000,
            producers_limit: 10_000,
            compacted: false,
        }
    }
}

/// The log of one partition. `!Send`: owned by one shard.
pub struct Log {
    name: LogName,
    dir: Rc<Path>,
    config: LogConfig,
    handles: Rc<HandleCache>,
    budget: Rc<TailBudget>,
    offsets: Offsets,
    /// In offset order, never empty; the last is active.
    segments: VecDeque<Segment>,
    tail: Rc<RefCell<Tail>>,
    producers: Producers,
    epochs: Epochs,
    /// From which offset on the epochs are not what their file says, if they are not. Recovery has to read the log from
    /// there: the recovery point is not told as higher.
    epochs_owed: Option<Offset>,
    /// The same of what the running checkpoint puts down.
    epochs_in_flight: Option<Offset>,
    /// Ranges that recovery found rotten.
    damage: Vec<Damage>,
    hints: Rc<RefCell<Hints>>,
    /// A round, a truncation or the closing checkpoint is running: they exclude each other.
    busy: bool,
    closing: bool,
    /// A checkpoint is running: a truncation must not happen under it, or its snapshot would outlive what it tells of.
    checkpointing: bool,
    truncating: bool,
    /// The last round found no room; appends are refused until one does.
    disk_full: bool,
    /// Why nothing may be appended, written or promised any more.
    failed: Option<Arc<str>>,
    /// Jobs that use the directory: it is renamed only when there are none.
    gate: Gate,
    /// Jobs of retention that have yet to rename files: a truncation begins when there are none.
    renames: Gate,
    /// What the newest producer snapshot covers.
    checkpointed: Offset,
    /// Snapshots that do not stand at a segment's base, oldest first.
    loose_snapshots: Vec<Offset>,
}

impl Log {
    /// Takes over what recovery found, on the shard that owns the partition. Cheap: no IO.
    pub fn open(recovered: Recovered, handles: &Rc<HandleCache>, budget: &Rc<TailBudget>) -> Log {
        let mut segments: VecDeque<Segment> = recovered.segments.into();
        for segment in &mut segments {
            segment.keys = Keys::assign(handles);
        }
        let mut tail = Tail::default();
        tail.written(recovered.offsets.get().written);
        Log {
            name: recovered.name,
            dir: Rc::from(recovered.dir),
            config: recovered.config,
            handles: handles.clone(),
            budget: budget.clone(),
            offsets: recovered.offsets,
            segments,
            tail: Rc::new(RefCell::new(tail)),
            producers: recovered.producers,
            epochs: recovered.epochs,
            epochs_owed: recovered.epochs_owed,
            epochs_in_flight: None,
            damage: recovered.report.damage,
            hints: Rc::default(),
            busy: false,
            closing: false,
            checkpointing: false,
            truncating: false,
            disk_full: false,
            failed: None,
            gate: Gate::default(),
            renames: Gate::default(),
            checkpointed: recovered.checkpointed,
            loose_snapshots: recovered.loose_snapshots,
        }
    }

    /// Topic, partition and topic id.
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// The topic's id.
    pub fn topic_id(&self) -> TopicId {
        self.name.topic_id
    }

    /// The partition's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the log stands.
    pub fn offsets(&self) -> LogOffsets {
        self.offsets.get()
    }

    /// Records below it may be acknowledged and counted as this replica's, as far as its own disk is concerned: what is
    /// synced, or, under `flush.policy = async`, what is written.
    pub fn ready(&self) -> Offset {
        let offsets = self.offsets.get();
        match self.config.flush {
            FlushPolicy::Sync => offsets.synced,
            FlushPolicy::Async => offsets.written,
        }
    }

    /// Moves the high watermark (never back, never outside the log); says whether it moved.
    pub fn set_high_watermark(&mut self, to: Offset) -> bool {
        self.offsets.set_high_watermark(to)
    }

    /// Moves the log start (never back, never past the high watermark); says whether it moved. The segments wholly below
    /// it go with the next [`Log::retention`].
    pub fn set_log_start(&mut self, to: Offset) -> bool {
        let moved = self.offsets.set_log_start(to);
        if moved && self.epochs.cut_start(self.offsets.get().log_start) {
            // A start cuts them again: nothing has to be read for that.
            self.epochs_owed(self.offsets.get().log_end);
        }
        moved
    }

    fn epochs_owed(&mut self, from: Offset) {
        self.epochs_owed = Some(self.epochs_owed.map_or(from, |before| before.min(from)));
    }

    /// Properties changed: from the next append, round or retention on.
    pub fn apply_config(&mut self, config: &LogConfig) {
        self.config = config.clone();
    }

    /// What it is configured to.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Bytes appended and not yet known to be on disk (a metric, and what a broker may lose under `async`).
    pub fn unsynced_bytes(&self) -> u64 {
        self.segments
            .iter()
            .rev()
            .take_while(|segment| segment.synced < segment.size)
            .map(|s| s.size - s.synced)
            .sum()
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The newest leader epoch in the log.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest()
    }

    /// The leader epochs.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The largest epoch not above `asked` and the offset after its last record (OffsetForLeaderEpoch, KIP-320).
    pub fn epoch_end_offset(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset(asked, self.offsets.get().log_end)
    }

    /// This replica leads in `epoch` from the log end on.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.begin(epoch, self.offsets.get().log_end);
    }

    /// This replica follows from now on: an epoch in which it led and appended nothing never was.
    pub fn end_epoch(&mut self) {
        self.epochs.cut_end(self.offsets.get().log_end);
    }

    /// The epoch of the last record, if there is a record.
    pub fn last_record_epoch(&self) -> Option<LeaderEpoch> {
        let entries = self.epochs.with_records(self.offsets.get().log_end);
        entries.last().map(|(epoch, _)| *epoch)
    }

    /// The idempotent producers it remembers.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets producers idle for `producer.id.expiration.ms`. To be called now and then.
    pub fn expire_producers(&mut self, now_ms: i64) {
        self.producers.expire(
            now_ms,
            self.config.producer_expiration_ms,
            self.config.producers_limit,
        );
    }

    /// Ranges that recovery found rotten; reads of them are refused.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Why the log takes no more appends, if it does not: its directory has to go offline.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The last round found the disk full. The next one tries again; until it succeeds appends are refused.
    pub fn disk_full(&self) -> bool {
        self.disk_full
    }

    /// Says (to a recording disk, in tests) that everything below `offset` has been promised to somebody. To be called
    /// where an acknowledgement is made. Free on a real disk.
    pub fn promise(&self, offset: Offset) {
        if !self.handles.disk().is_recorded() {
            return;
        }
        let place = self.tail.borrow().place_after(offset + -1);
        if let Some((segment, end)) = place {
            let path = self.dir.join(format::file_name(segment, format::LOG));
            self.handles.disk().promise(&path, end);
        }
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has an active segment")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let written = self.tail.borrow_mut().clear();
        self.budget.released(written);
        for segment in &self.segments {
            segment
                .keys
                .all()
                .into_iter()
                .for_each(|key| self.handles.forget(key));
        }
    }
}
