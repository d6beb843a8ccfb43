//! JoinGroup, API key 11: versions 0 to 9, flexible from 6.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of JoinGroup (key 11).
    pub struct JoinGroupRequest, flexible 6 {
        group_id: Str, versions 0..;
        session_timeout_ms: i32, versions 0..;
        rebalance_timeout_ms: i32 = -1, versions 1..;
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 5.., nullable 5..;
        protocol_type: Str, versions 0..;
        protocols: Vec<JoinGroupRequestProtocol>, versions 0..;
        reason: Option<Str>, versions 8.., nullable 8..;
    }

    /// Part of [`JoinGroupRequest`].
    pub struct JoinGroupRequestProtocol, flexible 6 {
        name: Str, versions 0..;
        metadata: Bytes, versions 0..;
    }

    /// Response body of JoinGroup (key 11).
    pub struct JoinGroupResponse, flexible 6 {
        throttle_time_ms: i32, versions 2..;
        error_code: i16, versions 0..;
        generation_id: i32 = -1, versions 0..;
        protocol_type: Option<Str>, versions 7.., nullable 7..;
        protocol_name: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 7..;
        leader: Str, versions 0..;
        skip_assignment: bool, versions 9..;
        member_id: Str, versions 0..;
        members: Vec<JoinGroupResponseMember>, versions 0..;
    }

    /// Part of [`JoinGroupResponse`].
    pub struct JoinGroupResponseMember, flexible 6 {
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 5.., nullable 5..;
        metadata: Bytes, versions 0..;
    }
}
