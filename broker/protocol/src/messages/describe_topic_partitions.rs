//! DescribeTopicPartitions, API key 75: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DescribeTopicPartitions (key 75).
    pub struct DescribeTopicPartitionsRequest, flexible 0 {
        topics: Vec<DescribeTopicPartitionsRequestTopic>, versions 0..;
        response_partition_limit: i32 = 2000, versions 0..;
        cursor: Option<DescribeTopicPartitionsRequestCursor>, versions 0.., nullable 0..;
    }

    /// Part of [`DescribeTopicPartitionsRequest`].
    pub struct DescribeTopicPartitionsRequestTopic, flexible 0 {
        name: Str, versions 0..;
    }

    /// Part of [`DescribeTopicPartitionsRequest`].
    pub struct DescribeTopicPartitionsRequestCursor, flexible 0 {
        topic_name: Str, versions 0..;
        partition_index: i32, versions 0..;
    }

    /// Response body of DescribeTopicPartitions (key 75).
    pub struct DescribeTopicPartitionsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        topics: Vec<DescribeTopicPartitionsResponseTopic>, versions 0..;
        next_cursor: Option<DescribeTopicPartitionsResponseNextCursor>, versions 0.., nullable 0..;
    }

    /// Part of [`DescribeTopicPartitionsResponse`].
    pub struct DescribeTopicPartitionsResponseTopic, flexible 0 {
        error_code: i16, versions 0..;
        name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        topic_id: Uuid, versions 0..;
        is_internal: bool, versions 0..;
        partitions: Vec<DescribeTopicPartitionsResponseTopicPartition>, versions 0..;
        topic_authorized_operations: i32 = -2147483648, versions 0..;
    }

    /// Part of [`DescribeTopicPartitionsResponseTopic`].
    pub struct DescribeTopicPartitionsResponseTopicPartition, flexible 0 {
        error_code: i16, versions 0..;
        partition_index: i32, versions 0..;
        leader_id: i32, versions 0..;
        leader_epoch: i32 = -1, versions 0..;
        replica_nodes: Vec<i32>, versions 0..;
        isr_nodes: Vec<i32>, versions 0..;
        eligible_leader_replicas: Option<Vec<i32>>, versions 0.., nullable 0..;
        last_known_elr: Option<Vec<i32>>, versions 0.., nullable 0..;
        offline_replicas: Vec<i32>, versions 0..;
    }

    /// Part of [`DescribeTopicPartitionsResponse`].
    pub struct DescribeTopicPartitionsResponseNextCursor, flexible 0 {
        topic_name: Str, versions 0..;
        partition_index: i32, versions 0..;
    }
}
