//! AlterPartition, API key 56: versions 2 to 3, flexible from 2.

use crate::message;
use crate::primitives::Uuid;

message! {
    /// Request body of AlterPartition (key 56).
    pub struct AlterPartitionRequest, flexible 2 {
        broker_id: i32, versions 2..;
        broker_epoch: i64 = -1, versions 2..;
        topics: Vec<AlterPartitionRequestTopic>, versions 2..;
    }

    /// Part of [`AlterPartitionRequest`].
    pub struct AlterPartitionRequestTopic, flexible 2 {
        topic_id: Uuid, versions 2..;
        partitions: Vec<AlterPartitionRequestTopicPartition>, versions 2..;
    }

    /// Part of [`AlterPartitionRequestTopic`].
    pub struct AlterPartitionRequestTopicPartition, flexible 2 {
        partition_index: i32, versions 2..;
        leader_epoch: i32, versions 2..;
        new_isr_with_epochs: Vec<AlterPartitionRequestTopicPartitionNewIsrWithEpoch>, versions 3..;
        new_isr: Vec<i32>, versions 2..=2;
        leader_recovery_state: i8, versions 2..;
        partition_epoch: i32, versions 2..;
    }

    /// Part of [`AlterPartitionRequestTopicPartition`].
    pub struct AlterPartitionRequestTopicPartitionNewIsrWithEpoch, flexible 2 {
        broker_id: i32, versions 3..;
        broker_epoch: i64 = -1, versions 3..;
    }

    /// Response body of AlterPartition (key 56).
    pub struct AlterPartitionResponse, flexible 2 {
        throttle_time_ms: i32, versions 2..;
        error_code: i16, versions 2..;
        topics: Vec<AlterPartitionResponseTopic>, versions 2..;
    }

    /// Part of [`AlterPartitionResponse`].
    pub struct AlterPartitionResponseTopic, flexible 2 {
        topic_id: Uuid, versions 2..;
        partitions: Vec<AlterPartitionResponseTopicPartition>, versions 2..;
    }

    /// Part of [`AlterPartitionResponseTopic`].
    pub struct AlterPartitionResponseTopicPartition, flexible 2 {
        partition_index: i32, versions 2..;
        error_code: i16, versions 2..;
        leader_id: i32, versions 2..;
        leader_epoch: i32, versions 2..;
        isr: Vec<i32>, versions 2..;
        leader_recovery_state: i8, versions 2..;
        partition_epoch: i32, versions 2..;
    }
}
