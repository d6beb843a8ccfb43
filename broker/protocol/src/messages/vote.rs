//! Vote, API key 52: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of Vote (key 52).
    pub struct VoteRequest, flexible 0 {
        cluster_id: Option<Str>, versions 0.., nullable 0..;
        voter_id: i32 = -1, versions 1..;
        topics: Vec<VoteRequestTopic>, versions 0..;
    }

    /// Part of [`VoteRequest`].
    pub struct VoteRequestTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<VoteRequestTopicPartition>, versions 0..;
    }

    /// Part of [`VoteRequestTopic`].
    pub struct VoteRequestTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        replica_epoch: i32, versions 0..;
        replica_id: i32, versions 0..;
        replica_directory_id: Uuid, versions 1..;
        voter_directory_id: Uuid, versions 1..;
        last_offset_epoch: i32, versions 0..;
        last_offset: i64, versions 0..;
        pre_vote: bool, versions 2..;
    }

    /// Response body of Vote (key 52).
    pub struct VoteResponse, flexible 0 {
        error_code: i16, versions 0..;
        topics: Vec<VoteResponseTopic>, versions 0..;
        node_endpoints: Vec<VoteResponseNodeEndpoint>, versions 1.., tag 0;
    }

    /// Part of [`VoteResponse`].
    pub struct VoteResponseTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<VoteResponseTopicPartition>, versions 0..;
    }

    /// Part of [`VoteResponseTopic`].
    pub struct VoteResponseTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        vote_granted: bool, versions 0..;
    }

    /// Part of [`VoteResponse`].
    pub struct VoteResponseNodeEndpoint, flexible 0 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }
}
