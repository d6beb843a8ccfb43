//! AlterShareGroupOffsets, API key 91: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of AlterShareGroupOffsets (key 91).
    pub struct AlterShareGroupOffsetsRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<AlterShareGroupOffsetsRequestTopic>, versions 0..;
    }

    /// Part of [`AlterShareGroupOffsetsRequest`].
    pub struct AlterShareGroupOffsetsRequestTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<AlterShareGroupOffsetsRequestTopicPartition>, versions 0..;
    }

    /// Part of [`AlterShareGroupOffsetsRequestTopic`].
    pub struct AlterShareGroupOffsetsRequestTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        start_offset: i64, versions 0..;
    }

    /// Response body of AlterShareGroupOffsets (key 91).
    pub struct AlterShareGroupOffsetsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        responses: Vec<AlterShareGroupOffsetsResponseResponse>, versions 0..;
    }

    /// Part of [`AlterShareGroupOffsetsResponse`].
    pub struct AlterShareGroupOffsetsResponseResponse, flexible 0 {
        topic_name: Str, versions 0..;
        topic_id: Uuid, versions 0..;
        partitions: Vec<AlterShareGroupOffsetsResponseResponsePartition>, versions 0..;
    }

    /// Part of [`AlterShareGroupOffsetsResponseResponse`].
    pub struct AlterShareGroupOffsetsResponseResponsePartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
