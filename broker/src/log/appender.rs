//! Appends: check, assign offsets, stamp, put into the tail. Synchronous and without IO; durable after the next round.
//! Owns: what makes a batch acceptable to a log that it would be appended to. Leaves to others: the batch's own validity
//! (checked by the core that received it), and answering (`shard/`).

use bytes::Bytes;
use protocol::record::batch::{self, Batch, BatchError};
use protocol::{LeaderEpoch, Offset};

use super::producers::{Checked, ProducerBatch, ProducerError};
use super::segment::{BatchFacts, Keys, Segment};
use super::{Log, TimestampType, format};
use crate::rt::recorder::Led;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Milliseconds since the epoch under `LogAppendTime`, else -1.
    pub log_append_time: i64,
    /// It had been appended before (an idempotent producer's retry); nothing was now. The answer still has to wait until
    /// the original is durable.
    pub duplicate: bool,
}

/// Why nothing was appended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `CORRUPT_MESSAGE` / `INVALID_RECORD`.
    #[error("batch: {0}")]
    Batch(#[from] BatchError),
    /// `INVALID_RECORD`: its counts contradict each other, or there is no batch at all.
    #[error("a batch of {records} records that spans {offsets} offsets")]
    Inconsistent { records: i32, offsets: i64 },
    /// `MESSAGE_TOO_LARGE`.
    #[error("batch of {size} bytes, {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    /// `RECORD_LIST_TOO_LARGE`.
    #[error("batches of {size} bytes do not fit into a segment of {limit}")]
    LargerThanSegment { size: usize, limit: usize },
    /// `INVALID_TIMESTAMP`.
    #[error("timestamp {timestamp} is out of the range allowed at {now_ms}")]
    Timestamp { timestamp: i64, now_ms: i64 },
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER` / `INVALID_PRODUCER_EPOCH`.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// `KAFKA_STORAGE_ERROR`, and it heals by itself when there is room again.
    #[error("the disk is full")]
    DiskFull,
    /// `KAFKA_STORAGE_ERROR`: see [`Log::failed`].
    #[error("the log has failed: {0}")]
    Failed(String),
    /// What came from the leader does not follow on what is here.
    #[error("records begin at {found}, {expected} comes next")]
    Elsewhere {
        /// The offset that comes next.
        expected: Offset,
        /// Base offset of the batch.
        found: Offset,
    },
    /// A truncation is running; `NOT_LEADER_OR_FOLLOWER` is the retriable answer.
    #[error("the log is being truncated")]
    Truncating,
}

impl Log {
    /// Appends the batches in `batches` (one after the other, of one producer, validated by `protocol::record::batch`) as
    /// leader in `leader_epoch`: all or nothing. Only base offset and leader epoch are stamped, and under
    /// `LogAppendTime` the time; everything else is stored as it came.
    pub fn append(
        &mut self,
        batches: Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_open()?;
        let log_append_time = match self.config.timestamp_type {
            TimestampType::CreateTime => -1,
            TimestampType::LogAppendTime => now_ms,
        };
        let appended = |base_offset, last_offset, duplicate| Appended {
            base_offset,
            last_offset,
            log_append_time,
            duplicate,
        };
        if let Some(original) = self.check_batches(&batches, now_ms)? {
            return Ok(appended(original.0, original.1, true));
        }
        let base_offset = self.offsets.get().log_end;
        self.note_epoch(leader_epoch, base_offset);
        self.handles.disk().led(Led {
            topic_id: self.name.topic_id.0,
            partition: self.name.partition,
            epoch: leader_epoch.0,
        });
        for batch in batch::batches(&batches) {
            let (_, batch) = batch.expect("check_batches walked them");
            let base = self.offsets.get().log_end;
            self.append_one(&batch, base, Some((leader_epoch, log_append_time)), now_ms);
        }
        self.producers.bound(self.config.producers_limit);
        Ok(appended(base_offset, self.offsets.get().log_end + -1, false))
    }

    /// Appends what the leader of this partition has, as it is: offsets, epochs, times and producers were decided there.
    /// All or nothing. The first batch must begin at the log end, and later ones where the one before ended; a compacted
    /// log may have gaps.
    pub fn append_as_follower(&mut self, batches: &Bytes, now_ms: i64) -> Result<(), AppendError> {
        self.check_open()?;
        let mut expected = self.offsets.get().log_end;
        for batch in batch::batches(batches) {
            let (_, batch) = batch?;
            batch.check_crc()?;
            let found = batch.base_offset();
            let gap_allowed = self.config.compacted && found > expected;
            if found != expected && !gap_allowed {
                return Err(AppendError::Elsewhere { expected, found });
            }
            if batch.last_offset() < found {
                return Err(AppendError::Inconsistent {
                    records: batch.record_count(),
                    offsets: i64::from(batch.last_offset_delta()) + 1,
                });
            }
            expected = batch.next_offset();
        }
        for batch in batch::batches(batches) {
            let (_, batch) = batch.expect("walked above");
            let base = batch.base_offset();
            self.note_epoch(batch.leader_epoch(), base);
            self.append_one(&batch, base, None, now_ms);
        }
        self.producers.bound(self.config.producers_limit);
        Ok(())
    }

    /// A batch of this epoch is about to be appended at `base`. The first one of an epoch makes it one to be put down.
    fn note_epoch(&mut self, epoch: LeaderEpoch, base: Offset) {
        self.epochs.begin(epoch, base);
        if self.epochs.newest_begins_at(base) {
            self.epochs_owed(base);
        }
    }

    fn check_open(&self) -> Result<(), AppendError> {
        if let Some(reason) = &self.failed {
            return Err(AppendError::Failed(reason.to_string()));
        }
        if self.truncating {
            return Err(AppendError::Truncating);
        }
        if self.disk_full {
            return Err(AppendError::DiskFull);
        }
        Ok(())
    }

    /// Everything that can refuse an append, before anything changes. The first and last offset if it is a duplicate.
    fn check_batches(&self, batches: &Bytes, now_ms: i64) -> Result<Option<(Offset, Offset)>, AppendError> {
        let limit = self.config.segment_bytes as usize;
        if batches.len() > limit {
            return Err(AppendError::LargerThanSegment {
                size: batches.len(),
                limit,
            });
        }
        let mut count = 0;
        // Batches after the first see the producer as the ones before will leave it.
        let mut ahead = None;
        for batch in batch::batches(batches) {
            let (_, batch) = batch?;
            self.check_batch(&batch, now_ms)?;
            count += 1;
            let Some(producer) = producer_batch(&batch) else {
                continue;
            };
            let producers = ahead.as_ref().unwrap_or(&self.producers);
            match producers.check(&producer)? {
                Checked::Duplicate(original) => {
                    return Ok(Some((original.base_offset, original.last_offset)));
                }
                Checked::New if batches.len() > batch.size() => {
                    let mut next = producers.only(producer.producer_id);
                    next.appended(&producer, Offset::ZERO, now_ms);
                    ahead = Some(next);
                }
                Checked::New => {}
            }
        }
        if count == 0 {
            return Err(AppendError::Inconsistent {
                records: 0,
                offsets: 0,
            });
        }
        Ok(None)
    }

    fn check_batch(&self, batch: &Batch<'_>, now_ms: i64) -> Result<(), AppendError> {
        let limit = self.config.max_message_bytes as usize;
        if batch.size() > limit {
            return Err(AppendError::TooLarge {
                size: batch.size(),
                limit,
            });
        }
        let offsets = i64::from(batch.last_offset_delta()) + 1;
        if offsets < 1 || offsets != i64::from(batch.record_count()) {
            return Err(AppendError::Inconsistent {
                records: batch.record_count(),
                offsets,
            });
        }
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            return Ok(());
        }
        let newest = batch.max_timestamp();
        let oldest = batch.base_timestamp();
        let too_new = newest.saturating_sub(now_ms) > self.config.timestamp_after_max_ms;
        let too_old = oldest >= 0 && now_ms.saturating_sub(oldest) > self.config.timestamp_before_max_ms;
        if too_new || too_old {
            return Err(AppendError::Timestamp {
                timestamp: if too_new { newest } else { oldest },
                now_ms,
            });
        }
        Ok(())
    }

    /// `stamp`: the leader's epoch and the time to put in (-1: keep the producer's); none for what is stored as it is.
    fn append_one(
        &mut self,
        batch: &Batch<'_>,
        base: Offset,
        stamp: Option<(LeaderEpoch, i64)>,
        now_ms: i64,
    ) {
        let log_append_time = stamp.map_or(-1, |(_, time)| time);
        let last = base + i64::from(batch.last_offset_delta());
        let max_timestamp = if log_append_time >= 0 {
            log_append_time
        } else {
            batch.max_timestamp()
        };
        let facts = BatchFacts {
            last,
            size: batch.size() as u64,
            max_timestamp,
        };
        if self
            .segments
            .back()
            .is_some_and(|active| active.must_roll(facts, now_ms, &self.config))
        {
            self.roll(now_ms);
        }
        let interval = self.config.index_interval_bytes;
        let active = self.active();
        let (segment, position) = (active.base, active.size);
        active.note(facts, interval);
        {
            let mut tail = self.tail.borrow_mut();
            let copy = tail.push(segment, position, base, last, batch.bytes());
            if let Some((leader_epoch, _)) = stamp {
                batch::stamp(copy, base, leader_epoch);
            }
            if log_append_time >= 0 {
                batch::stamp_log_append_time(copy, log_append_time);
            }
        }
        if let Some(producer) = producer_batch(batch) {
            self.producers.appended(&producer, base, now_ms);
        }
        self.offsets.appended(last + 1);
    }

    /// Begins a new active segment at the log end. In memory only: the next round makes its file. The producer state of
    /// this moment goes with it as a snapshot.
    pub(super) fn roll(&mut self, now_ms: i64) {
        self.active().index_newest();
        let mut segment = Segment::new(self.offsets.get().log_end, now_ms);
        segment.keys = Keys::assign(&self.handles);
        segment.snapshot = Some(format::encode_snapshot(&self.producers.snapshot()));
        self.segments.push_back(segment);
    }
}

/// The part of a batch that idempotence looks at; `None` for a batch without a producer id.
pub(super) fn producer_batch(batch: &Batch<'_>) -> Option<ProducerBatch> {
    Some(ProducerBatch {
        producer_id: batch.producer_id()?,
        epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        offset_delta: batch.last_offset_delta(),
        transactional: batch.is_transactional(),
        control: batch.is_control(),
    })
}
