//! ListPartitionReassignments, API key 46: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ListPartitionReassignments (key 46).
    pub struct ListPartitionReassignmentsRequest, flexible 0 {
        timeout_ms: i32 = 60000, versions 0..;
        topics: Option<Vec<ListPartitionReassignmentsRequestTopic>>, versions 0.., nullable 0..;
    }

    /// Part of [`ListPartitionReassignmentsRequest`].
    pub struct ListPartitionReassignmentsRequestTopic, flexible 0 {
        name: Str, versions 0..;
        partition_indexes: Vec<i32>, versions 0..;
    }

    /// Response body of ListPartitionReassignments (key 46).
    pub struct ListPartitionReassignmentsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        topics: Vec<ListPartitionReassignmentsResponseTopic>, versions 0..;
    }

    /// Part of [`ListPartitionReassignmentsResponse`].
    pub struct ListPartitionReassignmentsResponseTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<ListPartitionReassignmentsResponseTopicPartition>, versions 0..;
    }

    /// Part of [`ListPartitionReassignmentsResponseTopic`].
    pub struct ListPartitionReassignmentsResponseTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        replicas: Vec<i32>, versions 0..;
        adding_replicas: Vec<i32>, versions 0..;
        removing_replicas: Vec<i32>, versions 0..;
    }
}
