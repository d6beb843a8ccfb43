//! ReadShareGroupStateSummary, API key 87: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ReadShareGroupStateSummary (key 87).
    pub struct ReadShareGroupStateSummaryRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<ReadShareGroupStateSummaryRequestTopic>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateSummaryRequest`].
    pub struct ReadShareGroupStateSummaryRequestTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<ReadShareGroupStateSummaryRequestTopicPartition>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateSummaryRequestTopic`].
    pub struct ReadShareGroupStateSummaryRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Response body of ReadShareGroupStateSummary (key 87).
    pub struct ReadShareGroupStateSummaryResponse, flexible 0 {
        results: Vec<ReadShareGroupStateSummaryResponseResult>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateSummaryResponse`].
    pub struct ReadShareGroupStateSummaryResponseResult, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<ReadShareGroupStateSummaryResponseResultPartition>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateSummaryResponseResult`].
    pub struct ReadShareGroupStateSummaryResponseResultPartition, flexible 0 {
        partition: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        state_epoch: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
        delivery_complete_count: i32 = -1, versions 1..;
    }
}
