//! OffsetForLeaderEpoch, API key 23: versions 2 to 4, flexible from 4.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of OffsetForLeaderEpoch (key 23).
    pub struct OffsetForLeaderEpochRequest, flexible 4 {
        replica_id: i32 = -2, versions 3..;
        topics: Vec<OffsetForLeaderEpochRequestTopic>, versions 2..;
    }

    /// Part of [`OffsetForLeaderEpochRequest`].
    pub struct OffsetForLeaderEpochRequestTopic, flexible 4 {
        topic: Str, versions 2..;
        partitions: Vec<OffsetForLeaderEpochRequestTopicPartition>, versions 2..;
    }

    /// Part of [`OffsetForLeaderEpochRequestTopic`].
    pub struct OffsetForLeaderEpochRequestTopicPartition, flexible 4 {
        partition: i32, versions 2..;
        current_leader_epoch: i32 = -1, versions 2..;
        leader_epoch: i32, versions 2..;
    }

    /// Response body of OffsetForLeaderEpoch (key 23).
    pub struct OffsetForLeaderEpochResponse, flexible 4 {
        throttle_time_ms: i32, versions 2..;
        topics: Vec<OffsetForLeaderEpochResponseTopic>, versions 2..;
    }

    /// Part of [`OffsetForLeaderEpochResponse`].
    pub struct OffsetForLeaderEpochResponseTopic, flexible 4 {
        topic: Str, versions 2..;
        partitions: Vec<OffsetForLeaderEpochResponseTopicPartition>, versions 2..;
    }

    /// Part of [`OffsetForLeaderEpochResponseTopic`].
    pub struct OffsetForLeaderEpochResponseTopicPartition, flexible 4 {
        error_code: i16, versions 2..;
        partition: i32, versions 2..;
        leader_epoch: i32 = -1, versions 2..;
        end_offset: i64 = -1, versions 2..;
    }
}
