//! ConsumerGroupDescribe, API key 69: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ConsumerGroupDescribe (key 69).
    pub struct ConsumerGroupDescribeRequest, flexible 0 {
        group_ids: Vec<Str>, versions 0..;
        include_authorized_operations: bool, versions 0..;
    }

    /// Response body of ConsumerGroupDescribe (key 69).
    pub struct ConsumerGroupDescribeResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        groups: Vec<ConsumerGroupDescribeResponseGroup>, versions 0..;
    }

    /// Part of [`ConsumerGroupDescribeResponse`].
    pub struct ConsumerGroupDescribeResponseGroup, flexible 0 {
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        group_id: Str, versions 0..;
        group_state: Str, versions 0..;
        group_epoch: i32, versions 0..;
        assignment_epoch: i32, versions 0..;
        assignor_name: Str, versions 0..;
        members: Vec<ConsumerGroupDescribeResponseGroupMember>, versions 0..;
        authorized_operations: i32 = -2147483648, versions 0..;
    }

    /// Part of [`ConsumerGroupDescribeResponseGroup`].
    pub struct ConsumerGroupDescribeResponseGroupMember, flexible 0 {
        member_id: Str, versions 0..;
        instance_id: Option<Str>, versions 0.., nullable 0..;
        rack_id: Option<Str>, versions 0.., nullable 0..;
        member_epoch: i32, versions 0..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        subscribed_topic_names: Vec<Str>, versions 0..;
        subscribed_topic_regex: Option<Str>, versions 0.., nullable 0..;
        assignment: ConsumerGroupDescribeResponseGroupMemberAssignment, versions 0..;
        target_assignment: ConsumerGroupDescribeResponseGroupMemberTargetAssignment, versions 0..;
        member_type: i8 = -1, versions 1..;
    }

    /// Part of [`ConsumerGroupDescribeResponseGroupMember`].
    pub struct ConsumerGroupDescribeResponseGroupMemberAssignment, flexible 0 {
        topic_partitions: Vec<ConsumerGroupDescribeResponseGroupMemberAssignmentTopicPartition>, versions 0..;
    }

    /// Part of [`ConsumerGroupDescribeResponseGroupMemberAssignment`].
    pub struct ConsumerGroupDescribeResponseGroupMemberAssignmentTopicPartition, flexible 0 {
        topic_id: Uuid, versions 0..;
        topic_name: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }

    /// Part of [`ConsumerGroupDescribeResponseGroupMember`].
    pub struct ConsumerGroupDescribeResponseGroupMemberTargetAssignment, flexible 0 {
        topic_partitions: Vec<ConsumerGroupDescribeResponseGroupMemberTargetAssignmentTopicPartition>, versions 0..;
    }

    /// Part of [`ConsumerGroupDescribeResponseGroupMemberTargetAssignment`].
    pub struct ConsumerGroupDescribeResponseGroupMemberTargetAssignmentTopicPartition, flexible 0 {
        topic_id: Uuid, versions 0..;
        topic_name: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}
