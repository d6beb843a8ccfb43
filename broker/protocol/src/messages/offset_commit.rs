//! OffsetCommit, API key 8: versions 2 to 10, flexible from 8.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of OffsetCommit (key 8).
    pub struct OffsetCommitRequest, flexible 8 {
        group_id: Str, versions 2..;
        generation_id_or_member_epoch: i32 = -1, versions 2..;
        member_id: Str, versions 2..;
        group_instance_id: Option<Str>, versions 7.., nullable 7..;
        retention_time_ms: i64 = -1, versions 2..=4;
        topics: Vec<OffsetCommitRequestTopic>, versions 2..;
    }

    /// Part of [`OffsetCommitRequest`].
    pub struct OffsetCommitRequestTopic, flexible 8 {
        topic_id: Uuid, versions 10..;
        name: Str, versions 2..=9;
        partitions: Vec<OffsetCommitRequestTopicPartition>, versions 2..;
    }

    /// Part of [`OffsetCommitRequestTopic`].
    pub struct OffsetCommitRequestTopicPartition, flexible 8 {
        partition_index: i32, versions 2..;
        committed_offset: i64, versions 2..;
        committed_leader_epoch: i32 = -1, versions 6..;
        committed_metadata: Option<Str> = Some(Str::EMPTY), versions 2.., nullable 2..;
    }

    /// Response body of OffsetCommit (key 8).
    pub struct OffsetCommitResponse, flexible 8 {
        throttle_time_ms: i32, versions 3..;
        topics: Vec<OffsetCommitResponseTopic>, versions 2..;
    }

    /// Part of [`OffsetCommitResponse`].
    pub struct OffsetCommitResponseTopic, flexible 8 {
        topic_id: Uuid, versions 10..;
        name: Str, versions 2..=9;
        partitions: Vec<OffsetCommitResponseTopicPartition>, versions 2..;
    }

    /// Part of [`OffsetCommitResponseTopic`].
    pub struct OffsetCommitResponseTopicPartition, flexible 8 {
        partition_index: i32, versions 2..;
        error_code: i16, versions 2..;
    }
}
