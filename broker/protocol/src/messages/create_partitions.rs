//! CreatePartitions, API key 37: versions 0 to 3, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of CreatePartitions (key 37).
    pub struct CreatePartitionsRequest, flexible 2 {
        topics: Vec<CreatePartitionsRequestTopic>, versions 0..;
        timeout_ms: i32, versions 0..;
        validate_only: bool, versions 0..;
    }

    /// Part of [`CreatePartitionsRequest`].
    pub struct CreatePartitionsRequestTopic, flexible 2 {
        name: Str, versions 0..;
        count: i32, versions 0..;
        assignments: Option<Vec<CreatePartitionsRequestTopicAssignment>> = Some(Vec::new()), versions 0.., nullable 0..;
    }

    /// Part of [`CreatePartitionsRequestTopic`].
    pub struct CreatePartitionsRequestTopicAssignment, flexible 2 {
        broker_ids: Vec<i32>, versions 0..;
    }

    /// Response body of CreatePartitions (key 37).
    pub struct CreatePartitionsResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        results: Vec<CreatePartitionsResponseResult>, versions 0..;
    }

    /// Part of [`CreatePartitionsResponse`].
    pub struct CreatePartitionsResponseResult, flexible 2 {
        name: Str, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
