//! ConsumerGroupHeartbeat, API key 68: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ConsumerGroupHeartbeat (key 68).
    pub struct ConsumerGroupHeartbeatRequest, flexible 0 {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
        member_epoch: i32, versions 0..;
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        rebalance_timeout_ms: i32 = -1, versions 0..;
        subscribed_topic_names: Option<Vec<Str>>, versions 0.., nullable 0..;
        subscribed_topic_regex: Option<Str>, versions 1.., nullable 1..;
        server_assignor: Option<Str>, versions 0.., nullable 0..;
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartition>>, versions 0.., nullable 0..;
    }

    /// Part of [`ConsumerGroupHeartbeatRequest`].
    pub struct ConsumerGroupHeartbeatRequestTopicPartition, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Response body of ConsumerGroupHeartbeat (key 68).
    pub struct ConsumerGroupHeartbeatResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        member_id: Option<Str>, versions 0.., nullable 0..;
        member_epoch: i32, versions 0..;
        heartbeat_interval_ms: i32, versions 0..;
        assignment: Option<ConsumerGroupHeartbeatResponseAssignment>, versions 0.., nullable 0..;
    }

    /// Part of [`ConsumerGroupHeartbeatResponse`].
    pub struct ConsumerGroupHeartbeatResponseAssignment, flexible 0 {
        topic_partitions: Vec<ConsumerGroupHeartbeatResponseAssignmentTopicPartition>, versions 0..;
    }

    /// Part of [`ConsumerGroupHeartbeatResponseAssignment`].
    pub struct ConsumerGroupHeartbeatResponseAssignmentTopicPartition, flexible 0 {
        topic_id: Uuid, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}
