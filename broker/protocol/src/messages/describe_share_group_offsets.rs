//! DescribeShareGroupOffsets, API key 90: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DescribeShareGroupOffsets (key 90).
    pub struct DescribeShareGroupOffsetsRequest, flexible 0 {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup>, versions 0..;
    }

    /// Part of [`DescribeShareGroupOffsetsRequest`].
    pub struct DescribeShareGroupOffsetsRequestGroup, flexible 0 {
        group_id: Str, versions 0..;
        topics: Option<Vec<DescribeShareGroupOffsetsRequestGroupTopic>> = Some(Vec::new()), versions 0.., nullable 0..;
    }

    /// Part of [`DescribeShareGroupOffsetsRequestGroup`].
    pub struct DescribeShareGroupOffsetsRequestGroupTopic, flexible 0 {
        topic_name: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Response body of DescribeShareGroupOffsets (key 90).
    pub struct DescribeShareGroupOffsetsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        groups: Vec<DescribeShareGroupOffsetsResponseGroup>, versions 0..;
    }

    /// Part of [`DescribeShareGroupOffsetsResponse`].
    pub struct DescribeShareGroupOffsetsResponseGroup, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<DescribeShareGroupOffsetsResponseGroupTopic>, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }

    /// Part of [`DescribeShareGroupOffsetsResponseGroup`].
    pub struct DescribeShareGroupOffsetsResponseGroupTopic, flexible 0 {
        topic_name: Str, versions 0..;
        topic_id: Uuid, versions 0..;
        partitions: Vec<DescribeShareGroupOffsetsResponseGroupTopicPartition>, versions 0..;
    }

    /// Part of [`DescribeShareGroupOffsetsResponseGroupTopic`].
    pub struct DescribeShareGroupOffsetsResponseGroupTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        start_offset: i64, versions 0..;
        leader_epoch: i32, versions 0..;
        lag: i64 = -1, versions 1..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
