//! WriteShareGroupState, API key 85: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of WriteShareGroupState (key 85).
    pub struct WriteShareGroupStateRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<WriteShareGroupStateRequestTopic>, versions 0..;
    }

    /// Part of [`WriteShareGroupStateRequest`].
    pub struct WriteShareGroupStateRequestTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<WriteShareGroupStateRequestTopicPartition>, versions 0..;
    }

    /// Part of [`WriteShareGroupStateRequestTopic`].
    pub struct WriteShareGroupStateRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
        state_epoch: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
        delivery_complete_count: i32 = -1, versions 1..;
        state_batches: Vec<WriteShareGroupStateRequestTopicPartitionStateBatch>, versions 0..;
    }

    /// Part of [`WriteShareGroupStateRequestTopicPartition`].
    pub struct WriteShareGroupStateRequestTopicPartitionStateBatch, flexible 0 {
        first_offset: i64, versions 0..;
        last_offset: i64, versions 0..;
        delivery_state: i8, versions 0..;
        delivery_count: i16, versions 0..;
    }

    /// Response body of WriteShareGroupState (key 85).
    pub struct WriteShareGroupStateResponse, flexible 0 {
        results: Vec<WriteShareGroupStateResponseResult>, versions 0..;
    }

    /// Part of [`WriteShareGroupStateResponse`].
    pub struct WriteShareGroupStateResponseResult, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<WriteShareGroupStateResponseResultPartition>, versions 0..;
    }

    /// Part of [`WriteShareGroupStateResponseResult`].
    pub struct WriteShareGroupStateResponseResultPartition, flexible 0 {
        partition: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
