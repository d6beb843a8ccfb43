//! EndQuorumEpoch, API key 54: versions 0 to 1, flexible from 1.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of EndQuorumEpoch (key 54).
    pub struct EndQuorumEpochRequest, flexible 1 {
        cluster_id: Option<Str>, versions 0.., nullable 0..;
        topics: Vec<EndQuorumEpochRequestTopic>, versions 0..;
        leader_endpoints: Vec<EndQuorumEpochRequestLeaderEndpoint>, versions 1..;
    }

    /// Part of [`EndQuorumEpochRequest`].
    pub struct EndQuorumEpochRequestTopic, flexible 1 {
        topic_name: Str, versions 0..;
        partitions: Vec<EndQuorumEpochRequestTopicPartition>, versions 0..;
    }

    /// Part of [`EndQuorumEpochRequestTopic`].
    pub struct EndQuorumEpochRequestTopicPartition, flexible 1 {
        partition_index: i32, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        preferred_candidates: Vec<EndQuorumEpochRequestTopicPartitionPreferredCandidate>, versions 1..;
        preferred_successors: Vec<i32>, versions 0..=0;
    }

    /// Part of [`EndQuorumEpochRequestTopicPartition`].
    pub struct EndQuorumEpochRequestTopicPartitionPreferredCandidate, flexible 1 {
        candidate_id: i32, versions 1..;
        candidate_directory_id: Uuid, versions 1..;
    }

    /// Part of [`EndQuorumEpochRequest`].
    pub struct EndQuorumEpochRequestLeaderEndpoint, flexible 1 {
        name: Str, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }

    /// Response body of EndQuorumEpoch (key 54).
    pub struct EndQuorumEpochResponse, flexible 1 {
        error_code: i16, versions 0..;
        topics: Vec<EndQuorumEpochResponseTopic>, versions 0..;
        node_endpoints: Vec<EndQuorumEpochResponseNodeEndpoint>, versions 1.., tag 0;
    }

    /// Part of [`EndQuorumEpochResponse`].
    pub struct EndQuorumEpochResponseTopic, flexible 1 {
        topic_name: Str, versions 0..;
        partitions: Vec<EndQuorumEpochResponseTopicPartition>, versions 0..;
    }

    /// Part of [`EndQuorumEpochResponseTopic`].
    pub struct EndQuorumEpochResponseTopicPartition, flexible 1 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Part of [`EndQuorumEpochResponse`].
    pub struct EndQuorumEpochResponseNodeEndpoint, flexible 1 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }
}
