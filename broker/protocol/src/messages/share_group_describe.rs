//! ShareGroupDescribe, API key 77: versions 1 to 1, flexible from 1.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of ShareGroupDescribe (key 77).
    pub struct ShareGroupDescribeRequest, flexible 1 {
        group_ids: Vec<Str>, versions 1..;
        include_authorized_operations: bool, versions 1..;
    }

    /// Response body of ShareGroupDescribe (key 77).
    pub struct ShareGroupDescribeResponse, flexible 1 {
        throttle_time_ms: i32, versions 1..;
        groups: Vec<ShareGroupDescribeResponseGroup>, versions 1..;
    }

    /// Part of [`ShareGroupDescribeResponse`].
    pub struct ShareGroupDescribeResponseGroup, flexible 1 {
        error_code: i16, versions 1..;
        error_message: Option<Str>, versions 1.., nullable 1..;
        group_id: Str, versions 1..;
        group_state: Str, versions 1..;
        group_epoch: i32, versions 1..;
        assignment_epoch: i32, versions 1..;
        assignor_name: Str, versions 1..;
        members: Vec<ShareGroupDescribeResponseGroupMember>, versions 1..;
        authorized_operations: i32 = -2147483648, versions 1..;
    }

    /// Part of [`ShareGroupDescribeResponseGroup`].
    pub struct ShareGroupDescribeResponseGroupMember, flexible 1 {
        member_id: Str, versions 1..;
        rack_id: Option<Str>, versions 1.., nullable 1..;
        member_epoch: i32, versions 1..;
        client_id: Str, versions 1..;
        client_host: Str, versions 1..;
        subscribed_topic_names: Vec<Str>, versions 1..;
        assignment: ShareGroupDescribeResponseGroupMemberAssignment, versions 1..;
    }

    /// Part of [`ShareGroupDescribeResponseGroupMember`].
    pub struct ShareGroupDescribeResponseGroupMemberAssignment, flexible 1 {
        topic_partitions: Vec<ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition>, versions 1..;
    }

    /// Part of [`ShareGroupDescribeResponseGroupMemberAssignment`].
    pub struct ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition, flexible 1 {
        topic_id: Uuid, versions 1..;
        topic_name: Str, versions 1..;
        partitions: Vec<i32>, versions 1..;
    }
}
