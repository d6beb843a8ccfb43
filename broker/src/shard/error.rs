//! Why a partition refused: what a caller can act on. `api/` turns it into an error code of the protocol.

use protocol::ids::Offset;

use crate::log::producers::ProducerError;
use crate::log::{AppendError, ReadError};

/// Outcome of an operation on a partition that did not succeed. Crosses cores inside `mesh::Answer`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// This core does not have the partition: deleted, or not yet installed.
    #[error("partition is not on this broker")]
    Unknown,
    /// Another broker leads it.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The caller holds no replica of the partition, or one of an earlier life of its broker (KIP-903).
    #[error("the caller is no replica of the partition")]
    NotReplica,
    /// The caller's leader epoch is older than ours.
    #[error("leader epoch of the request is fenced")]
    FencedEpoch,
    /// The caller's leader epoch is newer than ours.
    #[error("leader epoch of the request is not known yet")]
    UnknownEpoch,
    /// Below the log start or above what may be read.
    #[error("offset is outside of {start}..{end}")]
    OutOfRange {
        /// First offset that exists.
        start: Offset,
        /// First offset that may not be read yet.
        end: Offset,
    },
    /// Fewer replicas in sync than `min.insync.replicas`.
    #[error("not enough replicas are in sync")]
    NotEnoughReplicas,
    /// Idempotent producer: a batch is missing before this one.
    #[error("sequence number is out of order: {0}")]
    OutOfOrderSequence(String),
    /// Idempotent producer: an older epoch than the newest seen.
    #[error("producer epoch is fenced: {0}")]
    InvalidProducerEpoch(String),
    /// The batches break a rule of the log.
    #[error("records are refused: {0}")]
    InvalidRecord(String),
    /// A batch over `max.message.bytes`.
    #[error("{0}")]
    TooLarge(String),
    /// A batch that no segment can hold.
    #[error("{0}")]
    LargerThanSegment(String),
    /// A timestamp outside of the topic's window.
    #[error("{0}")]
    Timestamp(String),
    /// What was being read went away meanwhile; reading again tells why.
    #[error("the records went away while they were read")]
    Moved,
    /// The answer did not come in the time the client gave.
    #[error("timed out before enough replicas had the records")]
    TimedOut,
    /// Free space is below the reserve; producers wait until there is room again.
    #[error("the log directory is nearly full")]
    DiskFull,
    /// The log directory failed (EIO, failed sync) and is offline.
    #[error("the log directory failed")]
    Storage,
    /// Stored bytes do not match their checksum.
    #[error("stored records are corrupt: {0}")]
    Corrupt(String),
    /// The broker is going down.
    #[error("the broker is stopping")]
    Stopping,
}

impl From<AppendError> for PartitionError {
    fn from(error: AppendError) -> PartitionError {
        match error {
            AppendError::Producer(error @ ProducerError::OutOfOrderSequence { .. }) => {
                PartitionError::OutOfOrderSequence(error.to_string())
            }
            AppendError::Producer(error @ ProducerError::InvalidEpoch { .. }) => {
                PartitionError::InvalidProducerEpoch(error.to_string())
            }
            AppendError::DiskFull => PartitionError::DiskFull,
            AppendError::Failed(_) => PartitionError::Storage,
            AppendError::Truncating => PartitionError::NotLeader,
            AppendError::TooLarge { .. } => PartitionError::TooLarge(error.to_string()),
            AppendError::LargerThanSegment { .. } => PartitionError::LargerThanSegment(error.to_string()),
            AppendError::Timestamp { .. } => PartitionError::Timestamp(error.to_string()),
            AppendError::Batch(_) | AppendError::Inconsistent { .. } | AppendError::Elsewhere { .. } => {
                PartitionError::InvalidRecord(error.to_string())
            }
        }
    }
}

impl From<ReadError> for PartitionError {
    fn from(error: ReadError) -> PartitionError {
        match error {
            ReadError::OutOfRange { offsets, .. } => PartitionError::OutOfRange {
                start: offsets.log_start,
                end: offsets.log_end,
            },
            ReadError::Corrupt { .. } => PartitionError::Corrupt(error.to_string()),
            // Retention or a deletion came between plan and read; the reader asks again and hears which.
            ReadError::Vanished => PartitionError::Moved,
            ReadError::Io(_) => PartitionError::Storage,
        }
    }
}
