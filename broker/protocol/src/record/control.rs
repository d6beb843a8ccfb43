//! Control records: the markers that end a transaction in every partition it wrote to (KIP-98).
//!
//! ```text
//! key    int16 version 0 | int16 type: 0 abort, 1 commit (2 and up belong to the metadata quorum of Kafka)
//! value  int16 version 0 | int32 coordinator epoch
//! ```
//! They stand alone in a batch with the control bit. Readers skip batches whose markers they do not know.

use bytes::Bytes;

use crate::ids::{ProducerEpoch, ProducerId};
use crate::record::batch::{Batch, BatchBuilder};
use crate::record::compression::Compression;
use crate::record::record::records;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Its records do not count.
    Abort,
    /// They do.
    Commit,
}

/// A marker as it stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndOfTransaction {
    pub marker: Marker,
    /// Epoch of the coordinator's partition when it wrote the marker; an older coordinator's marker is refused.
    pub coordinator_epoch: i32,
}

impl EndOfTransaction {
    /// The batch that carries it.
    pub fn to_batch(self, now_ms: i64, producer: ProducerId, epoch: ProducerEpoch) -> Bytes {
        let kind: i16 = match self.marker {
            Marker::Abort => 0,
            Marker::Commit => 1,
        };
        let key = [0i16.to_be_bytes(), kind.to_be_bytes()].concat();
        let value = [&0i16.to_be_bytes()[..], &self.coordinator_epoch.to_be_bytes()[..]].concat();
        let mut batch = BatchBuilder::new(now_ms)
            .producer(producer, epoch, -1)
            .transactional()
            .control();
        batch.record(now_ms, Some(&key), Some(&value));
        batch
            .build(Compression::None)
            .expect("nothing is compressed, so nothing can fail")
    }

    /// The marker in a control batch; `None` for one that is not an end of a transaction, or not readable as one.
    pub fn in_batch(batch: &Batch<'_>) -> Option<EndOfTransaction> {
        if !batch.is_control() || batch.compression() != Ok(Compression::None) {
            return None;
        }
        let record = records(batch.records(), batch.record_count()).next()?.ok()?;
        let (version, kind) = record.key?.split_first_chunk::<2>()?;
        let marker = match (i16::from_be_bytes(*version), kind.get(..2)?) {
            (0.., [0, 0]) => Marker::Abort,
            (0.., [0, 1]) => Marker::Commit,
            _ => return None,
        };
        let epoch = record.value?.get(2..)?.first_chunk::<4>()?;
        Some(EndOfTransaction {
            marker,
            coordinator_epoch: i32::from_be_bytes(*epoch),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_come_back_from_their_batch() {
        for marker in [Marker::Abort, Marker::Commit] {
            let end = EndOfTransaction {
                marker,
                coordinator_epoch: 7,
            };
            let bytes = end.to_batch(1000, ProducerId(5), ProducerEpoch(2));
            let batch = Batch::at_start(&bytes).unwrap();
            batch.validate().unwrap();
            assert!(batch.is_control() && batch.is_transactional());
            assert_eq!(
                (batch.producer_id(), batch.base_sequence()),
                (Some(ProducerId(5)), -1)
            );
            assert_eq!(EndOfTransaction::in_batch(&batch), Some(end));
        }
    }

    #[test]
    fn golden_bytes_of_a_commit() {
        let end = EndOfTransaction {
            marker: Marker::Commit,
            coordinator_epoch: 1,
        };
        let bytes = end.to_batch(0, ProducerId(0), ProducerEpoch(0));
        // length 16, attributes, deltas, key of 4 (version 0, type 1), value of 6 (version 0, epoch 1), no headers
        assert_eq!(
            &bytes[61..],
            [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 1, 0]
        );
    }

    #[test]
    fn a_batch_of_records_holds_no_marker() {
        let mut plain = BatchBuilder::new(0);
        plain.record(0, Some(&[0, 0, 0, 1]), Some(&[0; 6]));
        let bytes = plain.build(Compression::None).unwrap();
        assert_eq!(
            EndOfTransaction::in_batch(&Batch::at_start(&bytes).unwrap()),
            None
        );
    }
}
