//! AssignReplicasToDirs, API key 73: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Uuid;

message! {
    /// Request body of AssignReplicasToDirs (key 73).
    pub struct AssignReplicasToDirsRequest, flexible 0 {
        broker_id: i32, versions 0..;
        broker_epoch: i64 = -1, versions 0..;
        directories: Vec<AssignReplicasToDirsRequestDirectory>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsRequest`].
    pub struct AssignReplicasToDirsRequestDirectory, flexible 0 {
        id: Uuid, versions 0..;
        topics: Vec<AssignReplicasToDirsRequestDirectoryTopic>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsRequestDirectory`].
    pub struct AssignReplicasToDirsRequestDirectoryTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<AssignReplicasToDirsRequestDirectoryTopicPartition>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsRequestDirectoryTopic`].
    pub struct AssignReplicasToDirsRequestDirectoryTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
    }

    /// Response body of AssignReplicasToDirs (key 73).
    pub struct AssignReplicasToDirsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        directories: Vec<AssignReplicasToDirsResponseDirectory>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsResponse`].
    pub struct AssignReplicasToDirsResponseDirectory, flexible 0 {
        id: Uuid, versions 0..;
        topics: Vec<AssignReplicasToDirsResponseDirectoryTopic>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsResponseDirectory`].
    pub struct AssignReplicasToDirsResponseDirectoryTopic, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<AssignReplicasToDirsResponseDirectoryTopicPartition>, versions 0..;
    }

    /// Part of [`AssignReplicasToDirsResponseDirectoryTopic`].
    pub struct AssignReplicasToDirsResponseDirectoryTopicPartition, flexible 0 {
        partition_index: i32, versions 0..;
        error_code: i16, versions 0..;
    }
}
