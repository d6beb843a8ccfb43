//! ShareAcknowledge, API key 79: versions 1 to 2, flexible from 1.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ShareAcknowledge (key 79).
    pub struct ShareAcknowledgeRequest, flexible 1 {
        group_id: Option<Str>, versions 1.., nullable 1..;
        member_id: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        share_session_epoch: i32, versions 1..;
        is_renew_ack: bool, versions 2..;
        topics: Vec<ShareAcknowledgeRequestTopic>, versions 1..;
    }

    /// Part of [`ShareAcknowledgeRequest`].
    pub struct ShareAcknowledgeRequestTopic, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<ShareAcknowledgeRequestTopicPartition>, versions 1..;
    }

    /// Part of [`ShareAcknowledgeRequestTopic`].
    pub struct ShareAcknowledgeRequestTopicPartition, flexible 1 {
        partition_index: i32, versions 1..;
        acknowledgement_batches: Vec<ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch>, versions 1..;
    }

    /// Part of [`ShareAcknowledgeRequestTopicPartition`].
    pub struct ShareAcknowledgeRequestTopicPartitionAcknowledgementBatch, flexible 1 {
        first_offset: i64, versions 1..;
        last_offset: i64, versions 1..;
        acknowledge_types: Vec<i8>, versions 1..;
    }

    /// Response body of ShareAcknowledge (key 79).
    pub struct ShareAcknowledgeResponse, flexible 1 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        acquisition_lock_timeout_ms: i32, versions 2..;
        responses: Vec<ShareAcknowledgeResponseResponse>, versions 1..;
        node_endpoints: Vec<ShareAcknowledgeResponseNodeEndpoint>, versions 1..;
    }

    /// Part of [`ShareAcknowledgeResponse`].
    pub struct ShareAcknowledgeResponseResponse, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<ShareAcknowledgeResponseResponsePartition>, versions 1..;
    }

    /// Part of [`ShareAcknowledgeResponseResponse`].
    pub struct ShareAcknowledgeResponseResponsePartition, flexible 1 {
        partition_index: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        current_leader: ShareAcknowledgeResponseResponsePartitionCurrentLeader, versions 1..;
    }

    /// Part of [`ShareAcknowledgeResponseResponsePartition`].
    pub struct ShareAcknowledgeResponseResponsePartitionCurrentLeader, flexible 1 {
        leader_id: i32, versions 1..;
        leader_epoch: i32, versions 1..;
    }

    /// Part of [`ShareAcknowledgeResponse`].
    pub struct ShareAcknowledgeResponseNodeEndpoint, flexible 1 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: i32, versions 1..;
        rack: Option<Str>, versions 1.., nullable 1..;
    }
}
