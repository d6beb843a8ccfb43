//! Fetch, API key 1: versions 4 to 18, flexible from 12.

use bytes::Bytes;

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of Fetch (key 1).
    pub struct FetchRequest, flexible 12 {
        replica_id: i32 = -1, versions 4..=14;
        max_wait_ms: i32, versions 4..;
        min_bytes: i32, versions 4..;
        max_bytes: i32 = 2147483647, versions 4..;
        isolation_level: i8, versions 4..;
        session_id: i32, versions 7..;
        session_epoch: i32 = -1, versions 7..;
        topics: Vec<FetchRequestTopic>, versions 4..;
        forgotten_topics_data: Vec<FetchRequestForgottenTopicsData>, versions 7..;
        rack_id: Str, versions 11..;
        cluster_id: Option<Str>, versions 12.., nullable 12.., tag 0;
        replica_state: FetchRequestReplicaState, versions 15.., tag 1;
    }

    /// Part of [`FetchRequest`].
    pub struct FetchRequestTopic, flexible 12 {
        topic_id: Uuid, versions 13..;
        topic: Str, versions 4..=12;
        partitions: Vec<FetchRequestTopicPartition>, versions 4..;
    }

    /// Part of [`FetchRequestTopic`].
    pub struct FetchRequestTopicPartition, flexible 12 {
        partition: i32, versions 4..;
        current_leader_epoch: i32 = -1, versions 9..;
        fetch_offset: i64, versions 4..;
        last_fetched_epoch: i32 = -1, versions 12..;
        log_start_offset: i64 = -1, versions 5..;
        partition_max_bytes: i32, versions 4..;
        replica_directory_id: Uuid, versions 17.., tag 0;
        high_watermark: i64 = 9223372036854775807, versions 18.., tag 1;
    }

    /// Part of [`FetchRequest`].
    pub struct FetchRequestForgottenTopicsData, flexible 12 {
        topic_id: Uuid, versions 13..;
        topic: Str, versions 7..=12;
        partitions: Vec<i32>, versions 7..;
    }

    /// Part of [`FetchRequest`].
    pub struct FetchRequestReplicaState, flexible 12 {
        replica_id: i32 = -1, versions 15..;
        replica_epoch: i64 = -1, versions 15..;
    }

    /// Response body of Fetch (key 1).
    pub struct FetchResponse, flexible 12 {
        throttle_time_ms: i32, versions 4..;
        error_code: i16, versions 7..;
        session_id: i32, versions 7..;
        responses: Vec<FetchResponseResponse>, versions 4..;
        node_endpoints: Vec<FetchResponseNodeEndpoint>, versions 16.., tag 0;
    }

    /// Part of [`FetchResponse`].
    pub struct FetchResponseResponse, flexible 12 {
        topic_id: Uuid, versions 13..;
        topic: Str, versions 4..=12;
        partitions: Vec<FetchResponseResponsePartition>, versions 4..;
    }

    /// Part of [`FetchResponseResponse`].
    pub struct FetchResponseResponsePartition, flexible 12 {
        partition_index: i32, versions 4..;
        error_code: i16, versions 4..;
        high_watermark: i64, versions 4..;
        last_stable_offset: i64 = -1, versions 4..;
        log_start_offset: i64 = -1, versions 5..;
        aborted_transactions: Option<Vec<FetchResponseResponsePartitionAbortedTransaction>> = Some(Vec::new()), versions 4.., nullable 4..;
        preferred_read_replica: i32 = -1, versions 11..;
        records: Option<Bytes>, versions 4.., nullable 4..;
        diverging_epoch: FetchResponseResponsePartitionDivergingEpoch, versions 12.., tag 0;
        current_leader: FetchResponseResponsePartitionCurrentLeader, versions 12.., tag 1;
        snapshot_id: FetchResponseResponsePartitionSnapshotId, versions 12.., tag 2;
    }

    /// Part of [`FetchResponseResponsePartition`].
    pub struct FetchResponseResponsePartitionAbortedTransaction, flexible 12 {
        producer_id: i64, versions 4..;
        first_offset: i64, versions 4..;
    }

    /// Part of [`FetchResponseResponsePartition`].
    pub struct FetchResponseResponsePartitionDivergingEpoch, flexible 12 {
        epoch: i32 = -1, versions 12..;
        end_offset: i64 = -1, versions 12..;
    }

    /// Part of [`FetchResponseResponsePartition`].
    pub struct FetchResponseResponsePartitionCurrentLeader, flexible 12 {
        leader_id: i32 = -1, versions 12..;
        leader_epoch: i32 = -1, versions 12..;
    }

    /// Part of [`FetchResponseResponsePartition`].
    pub struct FetchResponseResponsePartitionSnapshotId, flexible 12 {
        end_offset: i64 = -1, versions 12..;
        epoch: i32 = -1, versions 12..;
    }

    /// Part of [`FetchResponse`].
    pub struct FetchResponseNodeEndpoint, flexible 12 {
        node_id: i32, versions 16..;
        host: Str, versions 16..;
        port: i32, versions 16..;
        rack: Option<Str>, versions 16.., nullable 16..;
    }
}
