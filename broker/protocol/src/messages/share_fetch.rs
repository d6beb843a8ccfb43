//! ShareFetch, API key 78: versions 1 to 2, flexible from 1.

use bytes::Bytes;

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ShareFetch (key 78).
    pub struct ShareFetchRequest, flexible 1 {
        group_id: Option<Str>, versions 1.., nullable 1..;
        member_id: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        share_session_epoch: i32, versions 1..;
        max_wait_ms: i32, versions 1..;
        min_bytes: i32, versions 1..;
        max_bytes: i32 = 2147483647, versions 1..;
        max_records: i32, versions 1..;
        batch_size: i32, versions 1..;
        share_acquire_mode: i8, versions 2..;
        is_renew_ack: bool, versions 2..;
        topics: Vec<ShareFetchRequestTopic>, versions 1..;
        forgotten_topics_data: Vec<ShareFetchRequestForgottenTopicsData>, versions 1..;
    }

    /// Part of [`ShareFetchRequest`].
    pub struct ShareFetchRequestTopic, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<ShareFetchRequestTopicPartition>, versions 1..;
    }

    /// Part of [`ShareFetchRequestTopic`].
    pub struct ShareFetchRequestTopicPartition, flexible 1 {
        partition_index: i32, versions 1..;
        acknowledgement_batches: Vec<ShareFetchRequestTopicPartitionAcknowledgementBatch>, versions 1..;
    }

    /// Part of [`ShareFetchRequestTopicPartition`].
    pub struct ShareFetchRequestTopicPartitionAcknowledgementBatch, flexible 1 {
        first_offset: i64, versions 1..;
        last_offset: i64, versions 1..;
        acknowledge_types: Vec<i8>, versions 1..;
    }

    /// Part of [`ShareFetchRequest`].
    pub struct ShareFetchRequestForgottenTopicsData, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<i32>, versions 1..;
    }

    /// Response body of ShareFetch (key 78).
    pub struct ShareFetchResponse, flexible 1 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        acquisition_lock_timeout_ms: i32, versions 1..;
        responses: Vec<ShareFetchResponseResponse>, versions 1..;
        node_endpoints: Vec<ShareFetchResponseNodeEndpoint>, versions 1..;
    }

    /// Part of [`ShareFetchResponse`].
    pub struct ShareFetchResponseResponse, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<ShareFetchResponseResponsePartition>, versions 1..;
    }

    /// Part of [`ShareFetchResponseResponse`].
    pub struct ShareFetchResponseResponsePartition, flexible 1 {
        partition_index: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        acknowledge_error_code: i16, versions 1..;
        acknowledge_error_message: Option<Str>, versions 1.., nullable 1..;
        current_leader: ShareFetchResponseResponsePartitionCurrentLeader, versions 1..;
        records: Option<Bytes>, versions 1..;
        acquired_records: Vec<ShareFetchResponseResponsePartitionAcquiredRecord>, versions 1..;
    }

    /// Part of [`ShareFetchResponseResponsePartition`].
    pub struct ShareFetchResponseResponsePartitionCurrentLeader, flexible 1 {
        leader_id: i32, versions 1..;
        leader_epoch: i32, versions 1..;
    }

    /// Part of [`ShareFetchResponseResponsePartition`].
    pub struct ShareFetchResponseResponsePartitionAcquiredRecord, flexible 1 {
        first_offset: i64, versions 1..;
        last_offset: i64, versions 1..;
        delivery_count: i16, versions 1..;
    }

    /// Part of [`ShareFetchResponse`].
    pub struct ShareFetchResponseNodeEndpoint, flexible 1 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: i32, versions 1..;
        rack: Option<Str>, versions 1.., nullable 1..;
    }
}
