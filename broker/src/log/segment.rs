//! One segment of a log: its data file's extent and the indexes beside it. Owns: when an index entry is due and when the
//! segment is full. Leaves to others: bytes on disk (`round.rs`, `recovery.rs`), and which segments a log has (`mod.rs`).

use protocol::Offset;

use super::LogConfig;
use super::format::{self, OffsetEntry, TimeEntry};
use super::handles::{FileKey, HandleCache};
use super::index::Index;

/// A segment. The last one of a log is active: appends go there.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) base: Offset,
    /// Identities of its three files in the shard's handle cache.
    pub(super) keys: Keys,
    /// Bytes appended, of which this many were written, of which this many are synced.
    pub(super) size: u64,
    pub(super) written: u64,
    pub(super) synced: u64,
    /// The log file is there and its name is durable.
    pub(super) created: bool,
    pub(super) offsets: Index<OffsetEntry>,
    pub(super) times: Index<TimeEntry>,
    /// Bytes since the last index entry.
    pub(super) since_entry: u64,
    /// Largest timestamp so far and the last offset of its batch.
    pub(super) newest: Option<TimeEntry>,
    /// Largest timestamp of its first batch: what `segment.ms` counts from.
    pub(super) first_ms: Option<i64>,
    /// When this process first saw it (ms since the epoch).
    pub(super) seen_ms: i64,
    /// Producer state at its base offset, to be written when its file is made.
    pub(super) snapshot: Option<Vec<u8>>,
    /// It is no longer active and its indexes are complete and in their files.
    pub(super) finished: bool,
    /// What its index files hold is on disk, as a checkpoint or a clean stop leaves it.
    pub(super) indexes_synced: bool,
}

/// See [`Segment::keys`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) log: FileKey,
    pub(super) offsets: FileKey,
    pub(super) times: FileKey,
}

impl Keys {
    pub(super) const UNASSIGNED: Keys = Keys {
        log: FileKey::UNASSIGNED,
        offsets: FileKey::UNASSIGNED,
        times: FileKey::UNASSIGNED,
    };

    pub(super) fn assign(handles: &HandleCache) -> Keys {
        Keys {
            log: handles.new_key(),
            offsets: handles.new_key(),
            times: handles.new_key(),
        }
    }

    pub(super) fn all(&self) -> [FileKey; 3] {
        [self.log, self.offsets, self.times]
    }
}

/// What a segment needs to know of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchFacts {
    pub(super) last: Offset,
    pub(super) size: u64,
    /// -1: the batch has none.
    pub(super) max_timestamp: i64,
}

impl Segment {
    /// A segment without records, and without a file yet.
    pub(super) fn new(base: Offset, now_ms: i64) -> Segment {
        Segment {
            base,
            keys: Keys::UNASSIGNED,
            size: 0,
            written: 0,
            synced: 0,
            created: false,
            offsets: Index::new(base),
            times: Index::new(base),
            since_entry: 0,
            newest: None,
            first_ms: None,
            seen_ms: now_ms,
            snapshot: None,
            finished: false,
            indexes_synced: false,
        }
    }

    /// Notes a batch at the segment's end: index entries as Kafka makes them (the batch's *last* offset points to its
    /// *first* byte, and an entry is made before a batch once `interval` bytes lie since the last one), and its extent.
    pub(super) fn note(&mut self, batch: BatchFacts, interval: u32) {
        if batch.max_timestamp > self.newest.map_or(-1, |newest| newest.timestamp) {
            self.newest = Some(TimeEntry {
                timestamp: batch.max_timestamp,
                offset: batch.last,
            });
        }
        if self.since_entry > u64::from(interval) {
            self.index_batch(batch.last);
        }
        if self.size == 0 {
            self.first_ms = (batch.max_timestamp >= 0).then_some(batch.max_timestamp);
        }
        self.size += batch.size;
        self.since_entry += batch.size;
    }

    /// Makes an entry for the batch about to be noted, whose last offset is `last`.
    pub(super) fn index_batch(&mut self, last: Offset) {
        let position = u32::try_from(self.size).expect("a segment rolls before 2 GiB");
        self.offsets.append(OffsetEntry {
            offset: last,
            position,
        });
        self.index_newest();
        self.since_entry = 0;
    }

    /// The last time entry of a segment names its largest timestamp, so that retention need not scan.
    pub(super) fn index_newest(&mut self) {
        if let Some(newest) = self.newest {
            self.times.append(newest);
        }
    }

    /// Whether its index files lack something that a clean start takes for granted. Without records nothing is asked of them.
    pub(super) fn owes_indexes(&self) -> bool {
        let pending = self.offsets.pending() + self.times.pending();
        self.size > 0 && (pending > 0 || !self.indexes_synced)
    }

    /// Whether `batch` has to begin a new segment: by size, by age (`segment.ms` since the first batch's timestamp, or
    /// since it was first seen when there is none), because an index is full, or because relative offsets have 31 bits.
    pub(super) fn must_roll(&self, batch: BatchFacts, now_ms: i64, config: &LogConfig) -> bool {
        if self.size == 0 {
            return false;
        }
        let reference_ms = if batch.max_timestamp >= 0 {
            batch.max_timestamp
        } else {
            now_ms
        };
        let age_ms = match self.first_ms {
            Some(first) => reference_ms.saturating_sub(first),
            None => now_ms.saturating_sub(self.seen_ms),
        };
        let room = |entry: usize| (config.index_max_bytes as usize / entry).max(1);
        self.size + batch.size > u64::from(config.segment_bytes)
            || age_ms > config.segment_ms
            || self.offsets.len() >= room(format::OFFSET_ENTRY)
            || self.times.len() + 1 >= room(format::TIME_ENTRY).max(2)
            || batch.last - self.base > i64::from(i32::MAX)
    }
}
