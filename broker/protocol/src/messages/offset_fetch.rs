//! OffsetFetch, API key 9: versions 1 to 10, flexible from 6.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of OffsetFetch (key 9).
    pub struct OffsetFetchRequest, flexible 6 {
        groups: Vec<OffsetFetchRequestGroup>, versions 8..;
        group_id: Str, versions 1..=7;
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()), versions 1..=7, nullable 2..=7;
        require_stable: bool, versions 7..;
    }

    /// Part of [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestGroup, flexible 6 {
        group_id: Str, versions 8..;
        member_id: Option<Str>, versions 9.., nullable 9..;
        member_epoch: i32 = -1, versions 9..;
        topics: Option<Vec<OffsetFetchRequestGroupTopic>> = Some(Vec::new()), versions 8.., nullable 8..;
    }

    /// Part of [`OffsetFetchRequestGroup`].
    pub struct OffsetFetchRequestGroupTopic, flexible 6 {
        topic_id: Uuid, versions 10..;
        name: Str, versions 8..=9;
        partition_indexes: Vec<i32>, versions 8..;
    }

    /// Part of [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestTopic, flexible 6 {
        name: Str, versions 1..=7;
        partition_indexes: Vec<i32>, versions 1..=7;
    }

    /// Response body of OffsetFetch (key 9).
    pub struct OffsetFetchResponse, flexible 6 {
        throttle_time_ms: i32, versions 3..;
        groups: Vec<OffsetFetchResponseGroup>, versions 8..;
        topics: Vec<OffsetFetchResponseTopic>, versions 1..=7;
        error_code: i16, versions 2..=7;
    }

    /// Part of [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseGroup, flexible 6 {
        group_id: Str, versions 8..;
        topics: Vec<OffsetFetchResponseGroupTopic>, versions 8..;
        error_code: i16, versions 8..;
    }

    /// Part of [`OffsetFetchResponseGroup`].
    pub struct OffsetFetchResponseGroupTopic, flexible 6 {
        topic_id: Uuid, versions 10..;
        name: Str, versions 8..=9;
        partitions: Vec<OffsetFetchResponseGroupTopicPartition>, versions 8..;
    }

    /// Part of [`OffsetFetchResponseGroupTopic`].
    pub struct OffsetFetchResponseGroupTopicPartition, flexible 6 {
        partition_index: i32, versions 8..;
        committed_offset: i64, versions 8..;
        committed_leader_epoch: i32 = -1, versions 8..;
        metadata: Option<Str> = Some(Str::EMPTY), versions 8.., nullable 8..;
        error_code: i16, versions 8..;
    }

    /// Part of [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseTopic, flexible 6 {
        name: Str, versions 1..=7;
        partitions: Vec<OffsetFetchResponseTopicPartition>, versions 1..=7;
    }

    /// Part of [`OffsetFetchResponseTopic`].
    pub struct OffsetFetchResponseTopicPartition, flexible 6 {
        partition_index: i32, versions 1..=7;
        committed_offset: i64, versions 1..=7;
        committed_leader_epoch: i32 = -1, versions 5..=7;
        metadata: Option<Str> = Some(Str::EMPTY), versions 1..=7, nullable 1..=7;
        error_code: i16, versions 1..=7;
    }
}
