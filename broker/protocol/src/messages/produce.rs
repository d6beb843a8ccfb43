//! Produce, API key 0: versions 3 to 13, flexible from 9.

use bytes::Bytes;

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of Produce (key 0).
    pub struct ProduceRequest, flexible 9 {
        transactional_id: Option<Str>, versions 3.., nullable 3..;
        acks: i16, versions 3..;
        timeout_ms: i32, versions 3..;
        topic_data: Vec<ProduceRequestTopicData>, versions 3..;
    }

    /// Part of [`ProduceRequest`].
    pub struct ProduceRequestTopicData, flexible 9 {
        topic_id: Uuid, versions 13..;
        name: Str, versions 3..=12;
        partition_data: Vec<ProduceRequestTopicDataPartitionData>, versions 3..;
    }

    /// Part of [`ProduceRequestTopicData`].
    pub struct ProduceRequestTopicDataPartitionData, flexible 9 {
        index: i32, versions 3..;
        records: Option<Bytes>, versions 3.., nullable 3..;
    }

    /// Response body of Produce (key 0).
    pub struct ProduceResponse, flexible 9 {
        responses: Vec<ProduceResponseResponse>, versions 3..;
        throttle_time_ms: i32, versions 3..;
        node_endpoints: Vec<ProduceResponseNodeEndpoint>, versions 10.., tag 0;
    }

    /// Part of [`ProduceResponse`].
    pub struct ProduceResponseResponse, flexible 9 {
        topic_id: Uuid, versions 13..;
        name: Str, versions 3..=12;
        partition_responses: Vec<ProduceResponseResponsePartitionResponse>, versions 3..;
    }

    /// Part of [`ProduceResponseResponse`].
    pub struct ProduceResponseResponsePartitionResponse, flexible 9 {
        index: i32, versions 3..;
        error_code: i16, versions 3..;
        base_offset: i64, versions 3..;
        log_append_time_ms: i64 = -1, versions 3..;
        log_start_offset: i64 = -1, versions 5..;
        record_errors: Vec<ProduceResponseResponsePartitionResponseRecordError>, versions 8..;
        error_message: Option<Str>, versions 8.., nullable 8..;
        current_leader: ProduceResponseResponsePartitionResponseCurrentLeader, versions 10.., tag 0;
    }

    /// Part of [`ProduceResponseResponsePartitionResponse`].
    pub struct ProduceResponseResponsePartitionResponseRecordError, flexible 9 {
        batch_index: i32, versions 8..;
        batch_index_error_message: Option<Str>, versions 8.., nullable 8..;
    }

    /// Part of [`ProduceResponseResponsePartitionResponse`].
    pub struct ProduceResponseResponsePartitionResponseCurrentLeader, flexible 9 {
        leader_id: i32 = -1, versions 10..;
        leader_epoch: i32 = -1, versions 10..;
    }

    /// Part of [`ProduceResponse`].
    pub struct ProduceResponseNodeEndpoint, flexible 9 {
        node_id: i32, versions 10..;
        host: Str, versions 10..;
        port: i32, versions 10..;
        rack: Option<Str>, versions 10.., nullable 10..;
    }
}
