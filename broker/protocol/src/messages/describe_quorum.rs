//! DescribeQuorum, API key 55: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DescribeQuorum (key 55).
    pub struct DescribeQuorumRequest, flexible 0 {
        topics: Vec<DescribeQuorumRequestTopic>, versions 0..;
    }

    /// Part of [`DescribeQuorumRequest`].
    pub struct DescribeQuorumRequestTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<DescribeQuorumRequestTopicPartition>, versions 0..;
    }

    /// Part of [`DescribeQuorumRequestTopic`].
    pub struct DescribeQuorumRequestTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
    }

    /// Response body of DescribeQuorum (key 55).
    pub struct DescribeQuorumResponse, flexible 0 {
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 2.., nullable 2..;
        topics: Vec<DescribeQuorumResponseTopic>, versions 0..;
        nodes: Vec<DescribeQuorumResponseNode>, versions 2..;
    }

    /// Part of [`DescribeQuorumResponse`].
    pub struct DescribeQuorumResponseTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<DescribeQuorumResponseTopicPartition>, versions 0..;
    }

    /// Part of [`DescribeQuorumResponseTopic`].
    pub struct DescribeQuorumResponseTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 2.., nullable 2..;
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        high_watermark: i64, versions 0..;
        current_voters: Vec<DescribeQuorumResponseTopicPartitionCurrentVoter>, versions 0..;
        observers: Vec<DescribeQuorumResponseTopicPartitionObserver>, versions 0..;
    }

    /// Part of [`DescribeQuorumResponseTopicPartition`].
    pub struct DescribeQuorumResponseTopicPartitionCurrentVoter, flexible 0 {
        replica_id: i32, versions 0..;
        replica_directory_id: Uuid, versions 2..;
        log_end_offset: i64, versions 0..;
        last_fetch_timestamp: i64 = -1, versions 1..;
        last_caught_up_timestamp: i64 = -1, versions 1..;
    }

    /// Part of [`DescribeQuorumResponseTopicPartition`].
    pub struct DescribeQuorumResponseTopicPartitionObserver, flexible 0 {
        replica_id: i32, versions 0..;
        replica_directory_id: Uuid, versions 2..;
        log_end_offset: i64, versions 0..;
        last_fetch_timestamp: i64 = -1, versions 1..;
        last_caught_up_timestamp: i64 = -1, versions 1..;
    }

    /// Part of [`DescribeQuorumResponse`].
    pub struct DescribeQuorumResponseNode, flexible 0 {
        node_id: i32, versions 2..;
        listeners: Vec<DescribeQuorumResponseNodeListener>, versions 2..;
    }

    /// Part of [`DescribeQuorumResponseNode`].
    pub struct DescribeQuorumResponseNodeListener, flexible 0 {
        name: Str, versions 2..;
        host: Str, versions 2..;
        port: u16, versions 2..;
    }
}
