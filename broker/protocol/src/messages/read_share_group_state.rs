//! ReadShareGroupState, API key 84: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ReadShareGroupState (key 84).
    pub struct ReadShareGroupStateRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<ReadShareGroupStateRequestTopic>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateRequest`].
    pub struct ReadShareGroupStateRequestTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<ReadShareGroupStateRequestTopicPartition>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateRequestTopic`].
    pub struct ReadShareGroupStateRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Response body of ReadShareGroupState (key 84).
    pub struct ReadShareGroupStateResponse, flexible 0 {
        results: Vec<ReadShareGroupStateResponseResult>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateResponse`].
    pub struct ReadShareGroupStateResponseResult, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<ReadShareGroupStateResponseResultPartition>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateResponseResult`].
    pub struct ReadShareGroupStateResponseResultPartition, flexible 0 {
        partition: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        state_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
        state_batches: Vec<ReadShareGroupStateResponseResultPartitionStateBatch>, versions 0..;
    }

    /// Part of [`ReadShareGroupStateResponseResultPartition`].
    pub struct ReadShareGroupStateResponseResultPartitionStateBatch, flexible 0 {
        first_offset: i64, versions 0..;
        last_offset: i64, versions 0..;
        delivery_state: i8, versions 0..;
        delivery_count: i16, versions 0..;
    }
}
