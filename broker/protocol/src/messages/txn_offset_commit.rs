//! TxnOffsetCommit, API key 28: versions 0 to 6, flexible from 3.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of TxnOffsetCommit (key 28).
    pub struct TxnOffsetCommitRequest, flexible 3 {
        transactional_id: Str, versions 0..;
        group_id: Str, versions 0..;
        producer_id: i64, versions 0..;
        producer_epoch: i16, versions 0..;
        generation_id_or_member_epoch: i32 = -1, versions 3..;
        member_id: Str, versions 3..;
        group_instance_id: Option<Str>, versions 3.., nullable 3..;
        topics: Vec<TxnOffsetCommitRequestTopic>, versions 0..;
    }

    /// Part of [`TxnOffsetCommitRequest`].
    pub struct TxnOffsetCommitRequestTopic, flexible 3 {
        topic_id: Uuid, versions 6..;
        name: Str, versions 0..=5;
        partitions: Vec<TxnOffsetCommitRequestTopicPartition>, versions 0..;
    }

    /// Part of [`TxnOffsetCommitRequestTopic`].
    pub struct TxnOffsetCommitRequestTopicPartition, flexible 3 {
        partition_index: i32, versions 0..;
        committed_offset: i64, versions 0..;
        committed_leader_epoch: i32 = -1, versions 2..;
        committed_metadata: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Response body of TxnOffsetCommit (key 28).
    pub struct TxnOffsetCommitResponse, flexible 3 {
        throttle_time_ms: i32, versions 0..;
        topics: Vec<TxnOffsetCommitResponseTopic>, versions 0..;
    }

    /// Part of [`TxnOffsetCommitResponse`].
    pub struct TxnOffsetCommitResponseTopic, flexible 3 {
        topic_id: Uuid, versions 6..;
        name: Str, versions 0..=5;
        partitions: Vec<TxnOffsetCommitResponseTopicPartition>, versions 0..;
    }

    /// Part of [`TxnOffsetCommitResponseTopic`].
    pub struct TxnOffsetCommitResponseTopicPartition, flexible 3 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
    }
}
