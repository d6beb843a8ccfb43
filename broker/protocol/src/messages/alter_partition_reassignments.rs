//! AlterPartitionReassignments, API key 45: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AlterPartitionReassignments (key 45).
    pub struct AlterPartitionReassignmentsRequest, flexible 0 {
        timeout_ms: i32 = 60000, versions 0..;
        allow_replication_factor_change: bool = true, versions 1..;
        topics: Vec<AlterPartitionReassignmentsRequestTopic>, versions 0..;
    }

    /// Part of [`AlterPartitionReassignmentsRequest`].
    pub struct AlterPartitionReassignmentsRequestTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<AlterPartitionReassignmentsRequestTopicPartition>, versions 0..;
    }

    /// Part of [`AlterPartitionReassignmentsRequestTopic`].
    pub struct AlterPartitionReassignmentsRequestTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        replicas: Option<Vec<i32>>, versions 0.., nullable 0..;
    }

    /// Response body of AlterPartitionReassignments (key 45).
    pub struct AlterPartitionReassignmentsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        allow_replication_factor_change: bool = true, versions 1..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        responses: Vec<AlterPartitionReassignmentsResponseResponse>, versions 0..;
    }

    /// Part of [`AlterPartitionReassignmentsResponse`].
    pub struct AlterPartitionReassignmentsResponseResponse, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<AlterPartitionReassignmentsResponseResponsePartition>, versions 0..;
    }

    /// Part of [`AlterPartitionReassignmentsResponseResponse`].
    pub struct AlterPartitionReassignmentsResponseResponsePartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
