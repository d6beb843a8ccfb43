//! DescribeGroups, API key 15: versions 0 to 6, flexible from 5.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeGroups (key 15).
    pub struct DescribeGroupsRequest, flexible 5 {
        groups: Vec<Str>, versions 0..;
        include_authorized_operations: bool, versions 3..;
    }

    /// Response body of DescribeGroups (key 15).
    pub struct DescribeGroupsResponse, flexible 5 {
        throttle_time_ms: i32, versions 1..;
        groups: Vec<DescribeGroupsResponseGroup>, versions 0..;
    }

    /// Part of [`DescribeGroupsResponse`].
    pub struct DescribeGroupsResponseGroup, flexible 5 {
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 6.., nullable 6..;
        group_id: Str, versions 0..;
        group_state: Str, versions 0..;
        protocol_type: Str, versions 0..;
        protocol_data: Str, versions 0..;
        members: Vec<DescribeGroupsResponseGroupMember>, versions 0..;
        authorized_operations: i32 = -2147483648, versions 3..;
    }

    /// Part of [`DescribeGroupsResponseGroup`].
    pub struct DescribeGroupsResponseGroupMember, flexible 5 {
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 4.., nullable 4..;
        client_id: Str, versions 0..;
        client_host: Str, versions 0..;
        member_metadata: Bytes, versions 0..;
        member_assignment: Bytes, versions 0..;
    }
}
