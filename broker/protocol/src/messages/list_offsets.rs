//! ListOffsets, API key 2: versions 1 to 11, flexible from 6.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ListOffsets (key 2).
    pub struct ListOffsetsRequest, flexible 6 {
        replica_id: i32, versions 1..;
        isolation_level: i8, versions 2..;
        topics: Vec<ListOffsetsRequestTopic>, versions 1..;
        timeout_ms: i32, versions 10..;
    }

    /// Part of [`ListOffsetsRequest`].
    pub struct ListOffsetsRequestTopic, flexible 6 {
        name: Str, versions 1..;
        partitions: Vec<ListOffsetsRequestTopicPartition>, versions 1..;
    }

    /// Part of [`ListOffsetsRequestTopic`].
    pub struct ListOffsetsRequestTopicPartition, flexible 6 {
        partition_index: i32, versions 1..;
        current_leader_epoch: i32 = -1, versions 4..;
        timestamp: i64, versions 1..;
    }

    /// Response body of ListOffsets (key 2).
    pub struct ListOffsetsResponse, flexible 6 {
        throttle_time_ms: i32, versions 2..;
        topics: Vec<ListOffsetsResponseTopic>, versions 1..;
    }

    /// Part of [`ListOffsetsResponse`].
    pub struct ListOffsetsResponseTopic, flexible 6 {
        name: Str, versions 1..;
        partitions: Vec<ListOffsetsResponseTopicPartition>, versions 1..;
    }

    /// Part of [`ListOffsetsResponseTopic`].
    pub struct ListOffsetsResponseTopicPartition, flexible 6 {
        partition_index: i32, versions 1..;
        error_code: i16, versions 1..;
        timestamp: i64 = -1, versions 1..;
        offset: i64 = -1, versions 1..;
        leader_epoch: i32 = -1, versions 4..;
    }
}
