//! FetchSnapshot, API key 59: versions 0 to 1, flexible from 0.

use bytes::Bytes;

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of FetchSnapshot (key 59).
    pub struct FetchSnapshotRequest, flexible 0 {
        replica_id: i32 = -1, versions 0..;
        max_bytes: i32 = 2147483647, versions 0..;
        topics: Vec<FetchSnapshotRequestTopic>, versions 0..;
        cluster_id: Option<Str>, versions 0.., nullable 0.., tag 0;
    }

    /// Part of [`FetchSnapshotRequest`].
    pub struct FetchSnapshotRequestTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<FetchSnapshotRequestTopicPartition>, versions 0..;
    }

    /// Part of [`FetchSnapshotRequestTopic`].
    pub struct FetchSnapshotRequestTopicPartition, flexible 0 {
        partition: i32, versions 0..;
        current_leader_epoch: i32, versions 0..;
        snapshot_id: FetchSnapshotRequestTopicPartitionSnapshotId, versions 0..;
        position: i64, versions 0..;
        replica_directory_id: Uuid, versions 1.., tag 0;
    }

    /// Part of [`FetchSnapshotRequestTopicPartition`].
    pub struct FetchSnapshotRequestTopicPartitionSnapshotId, flexible 0 {
        end_offset: i64, versions 0..;
        epoch: i32, versions 0..;
    }

    /// Response body of FetchSnapshot (key 59).
    pub struct FetchSnapshotResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        topics: Vec<FetchSnapshotResponseTopic>, versions 0..;
        node_endpoints: Vec<FetchSnapshotResponseNodeEndpoint>, versions 1.., tag 0;
    }

    /// Part of [`FetchSnapshotResponse`].
    pub struct FetchSnapshotResponseTopic, flexible 0 {
        name: Str, versions 0..;
        partitions: Vec<FetchSnapshotResponseTopicPartition>, versions 0..;
    }

    /// Part of [`FetchSnapshotResponseTopic`].
    pub struct FetchSnapshotResponseTopicPartition, flexible 0 {
        index: i32, versions 0..;
        error_code: i16, versions 0..;
        snapshot_id: FetchSnapshotResponseTopicPartitionSnapshotId, versions 0..;
        size: i64, versions 0..;
        position: i64, versions 0..;
        unaligned_records: Option<Bytes>, versions 0..;
        current_leader: FetchSnapshotResponseTopicPartitionCurrentLeader, versions 0.., tag 0;
    }

    /// Part of [`FetchSnapshotResponseTopicPartition`].
    pub struct FetchSnapshotResponseTopicPartitionSnapshotId, flexible 0 {
        end_offset: i64, versions 0..;
        epoch: i32, versions 0..;
    }

    /// Part of [`FetchSnapshotResponseTopicPartition`].
    pub struct FetchSnapshotResponseTopicPartitionCurrentLeader, flexible 0 {
        leader_id: i32, versions 0..;
        leader_epoch: i32, versions 0..;
    }

    /// Part of [`FetchSnapshotResponse`].
    pub struct FetchSnapshotResponseNodeEndpoint, flexible 0 {
        node_id: i32, versions 1..;
        host: Str, versions 1..;
        port: u16, versions 1..;
    }
}
