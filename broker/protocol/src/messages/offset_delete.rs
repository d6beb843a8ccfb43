//! OffsetDelete, API key 47: versions 0 to 0, never flexible.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of OffsetDelete (key 47).
    pub struct OffsetDeleteRequest, flexible none {
        group_id: Str, versions 0..;
        topics: Vec<OffsetDeleteRequestTopic>, versions 0..;
    }

    /// Part of [`OffsetDeleteRequest`].
    pub struct OffsetDeleteRequestTopic, flexible none {
        name: Str, versions 0..;
        partitions: Vec<OffsetDeleteRequestTopicPartition>, versions 0..;
    }

    /// Part of [`OffsetDeleteRequestTopic`].
    pub struct OffsetDeleteRequestTopicPartition, flexible none {
        partition_index: i32, versions 0..;
    }

    /// Response body of OffsetDelete (key 47).
    pub struct OffsetDeleteResponse, flexible none {
        error_code: i16, versions 0..;
        throttle_time_ms: i32, versions 0..;
        topics: Vec<OffsetDeleteResponseTopic>, versions 0..;
    }

    /// Part of [`OffsetDeleteResponse`].
    pub struct OffsetDeleteResponseTopic, flexible none {
        name: Str, versions 0..;
        partitions: Vec<OffsetDeleteResponseTopicPartition>, versions 0..;
    }

    /// Part of [`OffsetDeleteResponseTopic`].
    pub struct OffsetDeleteResponseTopicPartition, flexible none {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
    }
}
