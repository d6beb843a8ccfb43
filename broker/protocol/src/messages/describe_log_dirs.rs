//! DescribeLogDirs, API key 35: versions 1 to 5, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeLogDirs (key 35).
    pub struct DescribeLogDirsRequest, flexible 2 {
        topics: Option<Vec<DescribeLogDirsRequestTopic>> = Some(Vec::new()), versions 1.., nullable 1..;
    }

    /// Part of [`DescribeLogDirsRequest`].
    pub struct DescribeLogDirsRequestTopic, flexible 2 {
        topic: Str, versions 1..;
        partitions: Vec<i32>, versions 1..;
    }

    /// Response body of DescribeLogDirs (key 35).
    pub struct DescribeLogDirsResponse, flexible 2 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 3..;
        results: Vec<DescribeLogDirsResponseResult>, versions 1..;
    }

    /// Part of [`DescribeLogDirsResponse`].
    pub struct DescribeLogDirsResponseResult, flexible 2 {
        error_code: i16, versions 1..;
        log_dir: Str, versions 1..;
        topics: Vec<DescribeLogDirsResponseResultTopic>, versions 1..;
        total_bytes: i64 = -1, versions 4..;
        usable_bytes: i64 = -1, versions 4..;
        is_cordoned: bool, versions 5..;
    }

    /// Part of [`DescribeLogDirsResponseResult`].
    pub struct DescribeLogDirsResponseResultTopic, flexible 2 {
        name: Str, versions 1..;
        partitions: Vec<DescribeLogDirsResponseResultTopicPartition>, versions 1..;
    }

    /// Part of [`DescribeLogDirsResponseResultTopic`].
    pub struct DescribeLogDirsResponseResultTopicPartition, flexible 2 {
        partition_index: i32, versions 1..;
        partition_size: i64, versions 1..;
        offset_lag: i64, versions 1..;
        is_future_key: bool, versions 1..;
    }
}
