//! InitializeShareGroupState, API key 83: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of InitializeShareGroupState (key 83).
    pub struct InitializeShareGroupStateRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<InitializeShareGroupStateRequestTopic>, versions 0..;
    }

    /// Part of [`InitializeShareGroupStateRequest`].
    pub struct InitializeShareGroupStateRequestTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<InitializeShareGroupStateRequestTopicPartition>, versions 0..;
    }

    /// Part of [`InitializeShareGroupStateRequestTopic`].
    pub struct InitializeShareGroupStateRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
        state_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
    }

    /// Response body of InitializeShareGroupState (key 83).
    pub struct InitializeShareGroupStateResponse, flexible 0 {
        results: Vec<InitializeShareGroupStateResponseResult>, versions 0..;
    }

    /// Part of [`InitializeShareGroupStateResponse`].
    pub struct InitializeShareGroupStateResponseResult, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<InitializeShareGroupStateResponseResultPartition>, versions 0..;
    }

    /// Part of [`InitializeShareGroupStateResponseResult`].
    pub struct InitializeShareGroupStateResponseResultPartition, flexible 0 {
        partition: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
