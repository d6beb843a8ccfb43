//! Idempotent producers of one partition (KIP-98, KIP-360): which batch each may send next, and which it sent already.
//! Pure: time comes in as an argument. Owns: the sequence check, duplicates of the last five batches, expiry, the bound
//! on how many producers are remembered. Leaves to others: the snapshot file's bytes (`format.rs`), and transactions
//! beyond remembering where an open one began (they are not served yet).
//!
//! Sequences count records per (producer id, epoch) and wrap from 2^31-1 to 0.

use std::collections::HashMap;

use protocol::{Offset, ProducerEpoch, ProducerId};

use super::format::SnapshotEntry;

/// How many batches of a producer are remembered: clients have at most five requests in flight when idempotent.
const REMEMBERED_BATCHES: usize = 5;

/// A batch of an idempotent producer, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Written by a transaction.
    pub transactional: bool,
    /// A commit or abort marker: carries no sequence.
    pub control: bool,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        advance(self.base_sequence, self.offset_delta)
    }
}

/// Sequence `by` records after `sequence`, wrapping from 2^31-1 to 0.
fn advance(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) % (i64::from(i32::MAX) + 1)) as i32
}

/// A batch that was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// Milliseconds since the epoch: when it was appended.
    pub timestamp: i64,
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error("producer {producer} sent sequence {sent}, its last one is {last}")]
    OutOfOrderSequence {
        producer: ProducerId,
        sent: i32,
        last: i32,
    },
    /// `INVALID_PRODUCER_EPOCH`.
    #[error("producer {producer} sent epoch {sent}, its current one is {current}")]
    InvalidEpoch {
        producer: ProducerId,
        sent: ProducerEpoch,
        current: ProducerEpoch,
    },
}

/// What a batch turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Append it.
    New,
    /// It is here already; answer with where.
    Duplicate(Original),
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    last_sequence: i32,
    last_offset: Offset,
    offset_delta: i32,
    timestamp: i64,
}

#[derive(Clone, Debug)]
struct Producer {
    epoch: ProducerEpoch,
    /// Oldest first; only the first `count` count.
    batches: [Remembered; REMEMBERED_BATCHES],
    count: u8,
    /// Milliseconds since the epoch: when it last appended; what expiry goes by.
    seen_ms: i64,
    coordinator_epoch: i32,
    transaction_first: Option<Offset>,
}

const NOTHING: Remembered = Remembered {
    last_sequence: -1,
    last_offset: Offset(-1),
    offset_delta: 0,
    timestamp: -1,
};

impl Producer {
    fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            batches: [NOTHING; REMEMBERED_BATCHES],
            count: 0,
            seen_ms: 0,
            coordinator_epoch: -1,
            transaction_first: None,
        }
    }

    fn known(&self) -> &[Remembered] {
        &self.batches[..usize::from(self.count)]
    }

    fn last(&self) -> Option<&Remembered> {
        self.known().last()
    }

    fn remember(&mut self, batch: Remembered) {
        if usize::from(self.count) == REMEMBERED_BATCHES {
            self.batches.rotate_left(1);
            self.batches[REMEMBERED_BATCHES - 1] = batch;
        } else {
            self.batches[usize::from(self.count)] = batch;
            self.count += 1;
        }
    }
}

/// All producers one partition remembers. Owned by its log.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    known: HashMap<ProducerId, Producer>,
}

impl Producers {
    /// Whether `batch` may be appended now. Changes nothing; [`Producers::appended`] does.
    ///
    /// A producer nobody remembers (new, expired, or pushed out by the bound) may begin anywhere, as in Kafka: the
    /// alternative loses the producer for good.
    pub fn check(&self, batch: &ProducerBatch) -> Result<Checked, ProducerError> {
        let Some(producer) = self.known.get(&batch.producer_id) else {
            return Ok(Checked::New);
        };
        if batch.epoch < producer.epoch {
            return Err(ProducerError::InvalidEpoch {
                producer: batch.producer_id,
                sent: batch.epoch,
                current: producer.epoch,
            });
        }
        if batch.control {
            return Ok(Checked::New);
        }
        if batch.epoch > producer.epoch {
            return if batch.base_sequence == 0 {
                Ok(Checked::New)
            } else {
                Err(out_of_order(batch, -1))
            };
        }
        if let Some(original) = duplicate_of(producer, batch) {
            return Ok(Checked::Duplicate(original));
        }
        let last = producer.last().map_or(-1, |last| last.last_sequence);
        let expected = if last < 0 { 0 } else { advance(last, 1) };
        if batch.base_sequence == expected {
            Ok(Checked::New)
        } else {
            Err(out_of_order(batch, last))
        }
    }

    /// Notes that `batch` was appended with `base_offset` as its first offset.
    pub fn appended(&mut self, batch: &ProducerBatch, base_offset: Offset, now_ms: i64) {
        let producer = self
            .known
            .entry(batch.producer_id)
            .or_insert_with(|| Producer::new(batch.epoch));
        if batch.epoch != producer.epoch {
            producer.epoch = batch.epoch;
            producer.count = 0;
        }
        producer.seen_ms = producer.seen_ms.max(now_ms);
        if batch.control {
            producer.transaction_first = None;
            return;
        }
        producer.remember(Remembered {
            last_sequence: batch.last_sequence(),
            last_offset: base_offset + i64::from(batch.offset_delta),
            offset_delta: batch.offset_delta,
            timestamp: now_ms,
        });
        if batch.transactional && producer.transaction_first.is_none() {
            producer.transaction_first = Some(base_offset);
        }
    }

    /// Forgets producers that appended nothing for `expiration_ms` (`producer.id.expiration.ms`), and, beyond `limit`,
    /// the ones unused for longest: what a partition remembers must not grow with the ids clients make up.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64, limit: usize) {
        self.known.retain(|_, producer| {
            producer.transaction_first.is_some() || now_ms.saturating_sub(producer.seen_ms) < expiration_ms
        });
        self.bound(limit);
    }

    /// Keeps at most `limit` producers. When there are more, an eighth goes at once, so that the sort is rare.
    pub fn bound(&mut self, limit: usize) {
        if self.known.len() <= limit {
            return;
        }
        let mut by_age: Vec<(i64, ProducerId)> = self
            .known
            .iter()
            .filter(|(_, producer)| producer.transaction_first.is_none())
            .map(|(id, producer)| (producer.seen_ms, *id))
            .collect();
        by_age.sort_unstable();
        let over = self.known.len() - (limit - limit / 8);
        for (_, id) in by_age.into_iter().take(over) {
            self.known.remove(&id);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Just one of them: enough to try a few batches of one producer ahead of time.
    pub(super) fn only(&self, id: ProducerId) -> Producers {
        Producers {
            known: self
                .known
                .get(&id)
                .map(|producer| (id, producer.clone()))
                .into_iter()
                .collect(),
        }
    }

    /// Producers found in a log at start count as seen now: timestamps of records say nothing about when a producer was
    /// last here, and an old one must not forget a producer that is about to retry.
    pub(super) fn seen_all(&mut self, now_ms: i64) {
        self.known
            .values_mut()
            .for_each(|producer| producer.seen_ms = producer.seen_ms.max(now_ms));
    }

    /// What goes into a snapshot file, ordered by id.
    pub fn snapshot(&self) -> Vec<SnapshotEntry> {
        let mut entries: Vec<SnapshotEntry> = self
            .known
            .iter()
            .map(|(id, producer)| {
                let last = producer.last().copied().unwrap_or(NOTHING);
                SnapshotEntry {
                    producer_id: *id,
                    epoch: producer.epoch,
                    last_sequence: last.last_sequence,
                    last_offset: last.last_offset,
                    offset_delta: last.offset_delta,
                    timestamp: producer.seen_ms,
                    coordinator_epoch: producer.coordinator_epoch,
                    transaction_first: producer.transaction_first,
                }
            })
            .collect();
        entries.sort_unstable_by_key(|entry| entry.producer_id);
        entries
    }

    /// Producers as a snapshot had them.
    pub fn from_snapshot(entries: &[SnapshotEntry]) -> Producers {
        let mut producers = Producers::default();
        for entry in entries {
            let mut producer = Producer::new(entry.epoch);
            producer.seen_ms = entry.timestamp;
            producer.coordinator_epoch = entry.coordinator_epoch;
            producer.transaction_first = entry.transaction_first;
            if entry.last_sequence >= 0 {
                producer.remember(Remembered {
                    last_sequence: entry.last_sequence,
                    last_offset: entry.last_offset,
                    offset_delta: entry.offset_delta,
                    timestamp: entry.timestamp,
                });
            }
            producers.known.insert(entry.producer_id, producer);
        }
        producers
    }
}

fn out_of_order(batch: &ProducerBatch, last: i32) -> ProducerError {
    ProducerError::OutOfOrderSequence {
        producer: batch.producer_id,
        sent: batch.base_sequence,
        last,
    }
}

fn duplicate_of(producer: &Producer, batch: &ProducerBatch) -> Option<Original> {
    let last_sequence = batch.last_sequence();
    producer
        .known()
        .iter()
        .find(|known| known.last_sequence == last_sequence && known.offset_delta == batch.offset_delta)
        .map(|known| Original {
            base_offset: known.last_offset + -i64::from(known.offset_delta),
            last_offset: known.last_offset,
            timestamp: known.timestamp,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records `from..from+count` of producer 1 in `epoch`.
    fn batch(epoch: i16, from: i32, count: i32) -> ProducerBatch {
        ProducerBatch {
            producer_id: ProducerId(1),
            epoch: ProducerEpoch(epoch),
            base_sequence: from,
            offset_delta: count - 1,
            transactional: false,
            control: false,
        }
    }

    struct Partition {
        producers: Producers,
        end: Offset,
    }

    impl Partition {
        fn new() -> Partition {
            Partition {
                producers: Producers::default(),
                end: Offset(100),
            }
        }

        fn send(&mut self, batch: ProducerBatch) -> &'static str {
            match self.producers.check(&batch) {
                Ok(Checked::New) => {
                    self.producers.appended(&batch, self.end, 1000);
                    self.end += i64::from(batch.offset_delta) + 1;
                    "new"
                }
                Ok(Checked::Duplicate(_)) => "duplicate",
                Err(ProducerError::OutOfOrderSequence { .. }) => "out of order",
                Err(ProducerError::InvalidEpoch { .. }) => "old epoch",
            }
        }
    }

    #[test]
    fn table() {
        let mut partition = Partition::new();
        for (sent, expected, why) in [
            (batch(0, 0, 3), "new", "the first"),
            (batch(0, 3, 2), "new", "the next"),
            (batch(0, 3, 2), "duplicate", "the last again"),
            (batch(0, 0, 3), "duplicate", "the one before again"),
            (batch(0, 6, 1), "out of order", "a gap"),
            (
                batch(0, 3, 1),
                "out of order",
                "a part of a known batch is no duplicate",
            ),
            (batch(0, 5, 1), "new", "3"),
            (batch(0, 6, 1), "new", "4"),
            (batch(0, 7, 1), "new", "5"),
            (batch(0, 3, 2), "duplicate", "the fourth last"),
            (batch(0, 0, 3), "duplicate", "so is the fifth last"),
            (batch(0, 8, 1), "new", "6"),
            (batch(0, 0, 3), "out of order", "the sixth last is not"),
            (batch(1, 4, 1), "out of order", "a new epoch begins at 0"),
            (batch(1, 0, 1), "new", "a new epoch"),
            (batch(0, 9, 1), "old epoch", "the old one is fenced"),
            (batch(0, 8, 1), "old epoch", "its duplicates too"),
            (batch(1, 0, 1), "duplicate", "in the new epoch"),
            (batch(1, 1, 1), "new", "on it goes"),
        ] {
            assert_eq!(partition.send(sent), expected, "{why}: {sent:?}");
        }
    }

    #[test]
    fn a_duplicate_is_answered_with_the_original_offsets() {
        let mut partition = Partition::new();
        partition.send(batch(0, 0, 3));
        partition.send(batch(0, 3, 4));
        let original = Original {
            base_offset: Offset(103),
            last_offset: Offset(106),
            timestamp: 1000,
        };
        assert_eq!(
            partition.producers.check(&batch(0, 3, 4)),
            Ok(Checked::Duplicate(original))
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut partition = Partition::new();
        assert_eq!(
            partition.send(batch(0, i32::MAX - 2, 2)),
            "new",
            "an unknown producer begins anywhere"
        );
        assert_eq!(partition.send(batch(0, i32::MAX, 3)), "new", "MAX, 0, 1");
        assert_eq!(partition.send(batch(0, i32::MAX, 3)), "duplicate");
        assert_eq!(partition.send(batch(0, 2, 1)), "new");
        let mut partition = Partition::new();
        partition.send(batch(0, i32::MAX, 1));
        assert_eq!(partition.send(batch(0, 1, 1)), "out of order");
        assert_eq!(partition.send(batch(0, 0, 1)), "new");
    }

    #[test]
    fn idle_producers_expire_and_numbers_are_bounded() {
        let mut producers = Producers::default();
        for id in 0..100 {
            let one = ProducerBatch {
                producer_id: ProducerId(id),
                ..batch(0, 0, 1)
            };
            producers.appended(&one, Offset(id), id);
        }
        producers.expire(1049, 1000, 1000);
        assert_eq!(producers.len(), 50, "those seen after 49");
        producers.expire(1049, 1000, 40);
        assert_eq!(producers.len(), 35, "an eighth below the limit");
        let newest = ProducerBatch {
            producer_id: ProducerId(99),
            ..batch(0, 0, 1)
        };
        assert!(
            matches!(producers.check(&newest), Ok(Checked::Duplicate(_))),
            "the recent ones stay"
        );
    }

    #[test]
    fn a_snapshot_keeps_the_last_batch_of_each() {
        let mut partition = Partition::new();
        partition.send(batch(3, 0, 2));
        partition.send(batch(3, 2, 2));
        let mut again = Partition {
            producers: Producers::from_snapshot(&partition.producers.snapshot()),
            ..partition
        };
        assert_eq!(again.send(batch(3, 2, 2)), "duplicate");
        assert_eq!(
            again.send(batch(3, 0, 2)),
            "out of order",
            "Kafka's snapshot has no more"
        );
        assert_eq!(again.send(batch(3, 4, 2)), "new");
        assert_eq!(again.send(batch(2, 6, 2)), "old epoch");
    }
}
