//! DescribeProducers, API key 61: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeProducers (key 61).
    pub struct DescribeProducersRequest, flexible 0 {
        topics: Vec<DescribeProducersRequestTopic>, versions 0..;
    }

    /// Part of [`DescribeProducersRequest`].
    pub struct DescribeProducersRequestTopic, flexible 0 {
        name: Str, versions 0..;
        partition_indexes: Vec<i32>, versions 0..;
    }

    /// Response body of DescribeProducers (key 61).
    pub struct DescribeProducersResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        topics: Vec<DescribeProducersResponseTopic>, versions 0..;
    }

    /// Part of [`DescribeProducersResponse`].
    pub struct DescribeProducersResponseTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<DescribeProducersResponseTopicPartition>, versions 0..;
    }

    /// Part of [`DescribeProducersResponseTopic`].
    pub struct DescribeProducersResponseTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        active_producers: Vec<DescribeProducersResponseTopicPartitionActiveProducer>, versions 0..;
    }

    /// Part of [`DescribeProducersResponseTopicPartition`].
    pub struct DescribeProducersResponseTopicPartitionActiveProducer, flexible 0 {
        producer_id: i64, versions 0..;
        producer_epoch: i32, versions 0..;
        last_sequence: i32 = -1, versions 0..;
        last_timestamp: i64 = -1, versions 0..;
        coordinator_epoch: i32, versions 0..;
        current_txn_start_offset: i64 = -1, versions 0..;
    }
}
