//! DeleteTopics, API key 20: versions 1 to 6, flexible from 4.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DeleteTopics (key 20).
    pub struct DeleteTopicsRequest, flexible 4 {
        topics: Vec<DeleteTopicsRequestTopic>, versions 6..;
        topic_names: Vec<Str>, versions 1..=5;
        timeout_ms: i32, versions 1..;
    }

    /// Part of [`DeleteTopicsRequest`].
    pub struct DeleteTopicsRequestTopic, flexible 4 {
        name: Option<Str>, versions 6.., nullable 6..;
        topic_id: Uuid, versions 6..;
    }

    /// Response body of DeleteTopics (key 20).
    pub struct DeleteTopicsResponse, flexible 4 {
        throttle_time_ms: i32, versions 1..;
        responses: Vec<DeleteTopicsResponseResponse>, versions 1..;
    }

    /// Part of [`DeleteTopicsResponse`].
    pub struct DeleteTopicsResponseResponse, flexible 4 {
        name: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 6..;
        topic_id: Uuid, versions 6..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 5.., nullable 5..;
    }
}
