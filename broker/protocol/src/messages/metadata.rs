//! Metadata, API key 3: versions 0 to 13, flexible from 9.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of Metadata (key 3).
    pub struct MetadataRequest, flexible 9 {
        topics: Option<Vec<MetadataRequestTopic>> = Some(Vec::new()), versions 0.., nullable 1..;
        allow_auto_topic_creation: bool = true, versions 4..;
        include_cluster_authorized_operations: bool, versions 8..=10;
        include_topic_authorized_operations: bool, versions 8..;
    }

    /// Part of [`MetadataRequest`].
    pub struct MetadataRequestTopic, flexible 9 {
        topic_id: Uuid, versions 10..;
        name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 10..;
    }

    /// Response body of Metadata (key 3).
    pub struct MetadataResponse, flexible 9 {
        throttle_time_ms: i32, versions 3..;
        brokers: Vec<MetadataResponseBroker>, versions 0..;
        cluster_id: Option<Str>, versions 2.., nullable 2..;
        controller_id: i32 = -1, versions 1..;
        topics: Vec<MetadataResponseTopic>, versions 0..;
        error_code: i16, versions 13..;
        cluster_authorized_operations: i32 = -2147483648, versions 8..=10;
    }

    /// Part of [`MetadataResponse`].
    pub struct MetadataResponseBroker, flexible 9 {
        node_id: i32, versions 0..;
        host: Str, versions 0..;
        port: i32, versions 0..;
        rack: Option<Str>, versions 1.., nullable 1..;
    }

    /// Part of [`MetadataResponse`].
    pub struct MetadataResponseTopic, flexible 9 {
        error_code: i16, versions 0..;
        name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 12..;
        topic_id: Uuid, versions 10..;
        is_internal: bool, versions 1..;
        partitions: Vec<MetadataResponseTopicPartition>, versions 0..;
        topic_authorized_operations: i32 = -2147483648, versions 8..;
    }

    /// Part of [`MetadataResponseTopic`].
    pub struct MetadataResponseTopicPartition, flexible 9 {
        error_code: i16, versions 0..;
        partition_index: i32, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32 = -1, versions 7..;
        replica_nodes: Vec<i32>, versions 0..;
        isr_nodes: Vec<i32>, versions 0..;
        offline_replicas: Vec<i32>, versions 5..;
    }
}
