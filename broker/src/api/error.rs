//! From what a partition or the quorum refused to the error code of the protocol. The only place that chooses.

use protocol::error_code::ErrorCode;

use crate::shard::error::PartitionError;

/// The code a client acts on.
///
/// A nearly full disk is KAFKA_STORAGE_ERROR: it is the one storage code that every client retries (it refreshes metadata
/// first), so producers wait and go on by themselves when there is room again.
pub fn code_of(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown => ErrorCode::UnknownTopicOrPartition,
        PartitionError::NotLeader | PartitionError::NotReplica | PartitionError::Stopping => {
            ErrorCode::NotLeaderOrFollower
        }
        PartitionError::FencedEpoch => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
        PartitionError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        PartitionError::NotEnoughReplicas => ErrorCode::NotEnoughReplicas,
        PartitionError::OutOfOrderSequence(_) => ErrorCode::OutOfOrderSequenceNumber,
        PartitionError::InvalidProducerEpoch(_) => ErrorCode::InvalidProducerEpoch,
        PartitionError::InvalidRecord(_) => ErrorCode::InvalidRecord,
        PartitionError::TooLarge(_) => ErrorCode::MessageTooLarge,
        PartitionError::LargerThanSegment(_) => ErrorCode::RecordListTooLarge,
        PartitionError::Timestamp(_) => ErrorCode::InvalidTimestamp,
        PartitionError::Moved => ErrorCode::OffsetNotAvailable,
        PartitionError::TimedOut => ErrorCode::RequestTimedOut,
        PartitionError::DiskFull | PartitionError::Storage => ErrorCode::KafkaStorageError,
        PartitionError::Corrupt(_) => ErrorCode::CorruptMessage,
    }
}
