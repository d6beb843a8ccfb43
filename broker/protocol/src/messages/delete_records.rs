//! DeleteRecords, API key 21: versions 0 to 2, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DeleteRecords (key 21).
    pub struct DeleteRecordsRequest, flexible 2 {
        topics: Vec<DeleteRecordsRequestTopic>, versions 0..;
        timeout_ms: i32, versions 0..;
    }

    /// Part of [`DeleteRecordsRequest`].
    pub struct DeleteRecordsRequestTopic, flexible 2 {
        name: Str, versions 0..;
        partitions: Vec<DeleteRecordsRequestTopicPartition>, versions 0..;
    }

    /// Part of [`DeleteRecordsRequestTopic`].
    pub struct DeleteRecordsRequestTopicPartition, flexible 2 {
        partition_index: i32, versions 0..;
        offset: i64, versions 0..;
    }

    /// Response body of DeleteRecords (key 21).
    pub struct DeleteRecordsResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        topics: Vec<DeleteRecordsResponseTopic>, versions 0..;
    }

    /// Part of [`DeleteRecordsResponse`].
    pub struct DeleteRecordsResponseTopic, flexible 2 {
        name: Str, versions 0..;
        partitions: Vec<DeleteRecordsResponseTopicPartition>, versions 0..;
    }

    /// Part of [`DeleteRecordsResponseTopic`].
    pub struct DeleteRecordsResponseTopicPartition, flexible 2 {
        partition_index: i32, versions 0..;
        low_watermark: i64, versions 0..;
        error_code: i16, versions 0..;
    }
}
