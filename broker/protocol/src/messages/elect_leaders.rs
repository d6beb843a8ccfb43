//! ElectLeaders, API key 43: versions 0 to 2, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ElectLeaders (key 43).
    pub struct ElectLeadersRequest, flexible 2 {
        election_type: i8, versions 1..;
        topic_partitions: Option<Vec<ElectLeadersRequestTopicPartition>> = Some(Vec::new()), versions 0.., nullable 0..;
        timeout_ms: i32 = 60000, versions 0..;
    }

    /// Part of [`ElectLeadersRequest`].
    pub struct ElectLeadersRequestTopicPartition, flexible 2 {
        topic: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Response body of ElectLeaders (key 43).
    pub struct ElectLeadersResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 1..;
        replica_election_results: Vec<ElectLeadersResponseReplicaElectionResult>, versions 0..;
    }

    /// Part of [`ElectLeadersResponse`].
    pub struct ElectLeadersResponseReplicaElectionResult, flexible 2 {
        topic: Str, versions 0..;
        partition_result: Vec<ElectLeadersResponseReplicaElectionResultPartitionResult>, versions 0..;
    }

    /// Part of [`ElectLeadersResponseReplicaElectionResult`].
    pub struct ElectLeadersResponseReplicaElectionResultPartitionResult, flexible 2 {
        partition_id: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
