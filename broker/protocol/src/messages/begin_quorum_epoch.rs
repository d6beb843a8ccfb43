//! BeginQuorumEpoch, API key 53: versions 0 to 1, flexible from 1.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of BeginQuorumEpoch (key 53).
    pub struct BeginQuorumEpochRequest, flexible 1 {
        cluster_id: Option<Str>, versions 0.., nullable 0..;
        voter_id: i32 = -1, versions 1..;
        topics: Vec<BeginQuorumEpochRequestTopic>, versions 0..;
        leader_endpoints: Vec<BeginQuorumEpochRequestLeaderEndpoint>, versions 1..;
    }

    /// Part of [`BeginQuorumEpochRequest`].
    pub struct BeginQuorumEpochRequestTopic, flexible 1 {
        topic_name: Str, versions 0..;
        partitions: Vec<BeginQuorumEpochRequestTopicPartition>, versions 0..;
    }

    /// Part of [`BeginQuorumEpochRequestTopic`].
    pub struct BeginQuorumEpochRequestTopicPartition, flexible 1 {
        partition_index: i32, versions 0..;
        voter_directory_id: Uuid, versions 1..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Part of [`BeginQuorumEpochRequest`].
    pub struct BeginQuorumEpochRequestLeaderEndpoint, flexible 1 {
        name: Str, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }

    /// Response body of BeginQuorumEpoch (key 53).
    pub struct BeginQuorumEpochResponse, flexible 1 {
        error_code: i16, versions 0..;
        topics: Vec<BeginQuorumEpochResponseTopic>, versions 0..;
        node_endpoints: Vec<BeginQuorumEpochResponseNodeEndpoint>, versions 1.., tag 0;
    }

    /// Part of [`BeginQuorumEpochResponse`].
    pub struct BeginQuorumEpochResponseTopic, flexible 1 {
        topic_name: Str, versions 0..;
        partitions: Vec<BeginQuorumEpochResponseTopicPartition>, versions 0..;
    }

    /// Part of [`BeginQuorumEpochResponseTopic`].
    pub struct BeginQuorumEpochResponseTopicPartition, flexible 1 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Part of [`BeginQuorumEpochResponse`].
    pub struct BeginQuorumEpochResponseNodeEndpoint, flexible 1 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }
}
