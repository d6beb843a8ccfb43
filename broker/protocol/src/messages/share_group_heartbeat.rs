//! ShareGroupHeartbeat, API key 76: versions 1 to 1, flexible from 1.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ShareGroupHeartbeat (key 76).
    pub struct ShareGroupHeartbeatRequest, flexible 1 {
        group_id: Str, versions 1..;
        member_id: Str, versions 1..;
        member_epoch: i32, versions 1..;
        rack_id: Option<Str>, versions 1.., nullable 1..;
        subscribed_topic_names: Option<Vec<Str>>, versions 1.., nullable 1..;
    }

    /// Response body of ShareGroupHeartbeat (key 76).
    pub struct ShareGroupHeartbeatResponse, flexible 1 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        member_id: Option<Str>, versions 1.., nullable 1..;
        member_epoch: i32, versions 1..;
        heartbeat_interval_ms: i32, versions 1..;
        assignment: Option<ShareGroupHeartbeatResponseAssignment>, versions 1.., nullable 1..;
    }

    /// Part of [`ShareGroupHeartbeatResponse`].
    pub struct ShareGroupHeartbeatResponseAssignment, flexible 1 {
        topic_partitions: Vec<ShareGroupHeartbeatResponseAssignmentTopicPartition>, versions 1..;
    }

    /// Part of [`ShareGroupHeartbeatResponseAssignment`].
    pub struct ShareGroupHeartbeatResponseAssignmentTopicPartition, flexible 1 {
        topic_id: Uuid, versions 1..;
        partitions: Vec<i32>, versions 1..;
    }
}
