//! AlterReplicaLogDirs, API key 34: versions 1 to 2, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AlterReplicaLogDirs (key 34).
    pub struct AlterReplicaLogDirsRequest, flexible 2 {
        dirs: Vec<AlterReplicaLogDirsRequestDir>, versions 1..;
    }

    /// Part of [`AlterReplicaLogDirsRequest`].
    pub struct AlterReplicaLogDirsRequestDir, flexible 2 {
        path: Str, versions 1..;
        topics: Vec<AlterReplicaLogDirsRequestDirTopic>, versions 1..;
    }

    /// Part of [`AlterReplicaLogDirsRequestDir`].
    pub struct AlterReplicaLogDirsRequestDirTopic, flexible 2 {
        name: Str, versions 1..;
        partitions: Vec<i32>, versions 1..;
    }

    /// Response body of AlterReplicaLogDirs (key 34).
    pub struct AlterReplicaLogDirsResponse, flexible 2 {
        throttle_time_ms: i32, versions 1..;
        results: Vec<AlterReplicaLogDirsResponseResult>, versions 1..;
    }

    /// Part of [`AlterReplicaLogDirsResponse`].
    pub struct AlterReplicaLogDirsResponseResult, flexible 2 {
        topic_name: Str, versions 1..;
        partitions: Vec<AlterReplicaLogDirsResponseResultPartition>, versions 1..;
    }

    /// Part of [`AlterReplicaLogDirsResponseResult`].
    pub struct AlterReplicaLogDirsResponseResultPartition, flexible 2 {
        partition_index: i32, versions 1..;
        error_code: i16, versions 1..;
    }
}
