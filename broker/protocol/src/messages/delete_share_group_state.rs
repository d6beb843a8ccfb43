//! DeleteShareGroupState, API key 86: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DeleteShareGroupState (key 86).
    pub struct DeleteShareGroupStateRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<DeleteShareGroupStateRequestTopic>, versions 0..;
    }

    /// Part of [`DeleteShareGroupStateRequest`].
    pub struct DeleteShareGroupStateRequestTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<DeleteShareGroupStateRequestTopicPartition>, versions 0..;
    }

    /// Part of [`DeleteShareGroupStateRequestTopic`].
    pub struct DeleteShareGroupStateRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
    }

    /// Response body of DeleteShareGroupState (key 86).
    pub struct DeleteShareGroupStateResponse, flexible 0 {
        results: Vec<DeleteShareGroupStateResponseResult>, versions 0..;
    }

    /// Part of [`DeleteShareGroupStateResponse`].
    pub struct DeleteShareGroupStateResponseResult, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<DeleteShareGroupStateResponseResultPartition>, versions 0..;
    }

    /// Part of [`DeleteShareGroupStateResponseResult`].
    pub struct DeleteShareGroupStateResponseResultPartition, flexible 0 {
        partition: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
