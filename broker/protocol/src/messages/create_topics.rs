//! CreateTopics, API key 19: versions 2 to 7, flexible from 5.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of CreateTopics (key 19).
    pub struct CreateTopicsRequest, flexible 5 {
        topics: Vec<CreateTopicsRequestTopic>, versions 2..;
        timeout_ms: i32 = 60000, versions 2..;
        validate_only: bool, versions 2..;
    }

    /// Part of [`CreateTopicsRequest`].
    pub struct CreateTopicsRequestTopic, flexible 5 {
        name: Str, versions 2..;
        num_partitions: i32, versions 2..;
        replication_factor: i16, versions 2..;
        assignments: Vec<CreateTopicsRequestTopicAssignment>, versions 2..;
        configs: Vec<CreateTopicsRequestTopicConfig>, versions 2..;
    }

    /// Part of [`CreateTopicsRequestTopic`].
    pub struct CreateTopicsRequestTopicAssignment, flexible 5 {
        partition_index: i32, versions 2..;
        broker_ids: Vec<i32>, versions 2..;
    }

    /// Part of [`CreateTopicsRequestTopic`].
    pub struct CreateTopicsRequestTopicConfig, flexible 5 {
        name: Str, versions 2..;
        value: Option<Str> = Some(Str::EMPTY), versions 2.., nullable 2..;
    }

    /// Response body of CreateTopics (key 19).
    pub struct CreateTopicsResponse, flexible 5 {
        throttle_time_ms: i32, versions 2..;
        topics: Vec<CreateTopicsResponseTopic>, versions 2..;
    }

    /// Part of [`CreateTopicsResponse`].
    pub struct CreateTopicsResponseTopic, flexible 5 {
        name: Str, versions 2..;
        topic_id: Uuid, versions 7..;
        error_code: i16, versions 2..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 2.., nullable 2..;
        num_partitions: i32 = -1, versions 5..;
        replication_factor: i16 = -1, versions 5..;
        configs: Option<Vec<CreateTopicsResponseTopicConfig>> = Some(Vec::new()), versions 5.., nullable 5..;
        topic_config_error_code: i16, versions 5.., tag 0;
    }

    /// Part of [`CreateTopicsResponseTopic`].
    pub struct CreateTopicsResponseTopicConfig, flexible 5 {
        name: Str, versions 5..;
        value: Option<Str> = Some(Str::EMPTY), versions 5.., nullable 5..;
        read_only: bool, versions 5..;
        config_source: i8 = -1, versions 5..;
        is_sensitive: bool, versions 5..;
    }
}
