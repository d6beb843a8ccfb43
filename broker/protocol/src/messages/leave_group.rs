//! LeaveGroup, API key 13: versions 0 to 5, flexible from 4.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of LeaveGroup (key 13).
    pub struct LeaveGroupRequest, flexible 4 {
        group_id: Str, versions 0..;
        members: Vec<LeaveGroupRequestMember>, versions 3..;
        member_id: Str, versions 0..=2;
    }

    /// Part of [`LeaveGroupRequest`].
    pub struct LeaveGroupRequestMember, flexible 4 {
        member_id: Str, versions 3..;
        group_instance_id: Option<Str>, versions 3.., nullable 3..;
        reason: Option<Str>, versions 5.., nullable 5..;
    }

    /// Response body of LeaveGroup (key 13).
    pub struct LeaveGroupResponse, flexible 4 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 0..;
        members: Vec<LeaveGroupResponseMember>, versions 3..;
    }

    /// Part of [`LeaveGroupResponse`].
    pub struct LeaveGroupResponseMember, flexible 4 {
        member_id: Str, versions 3..;
        group_instance_id: Option<Str> = Some(Str::EMPTY), versions 3.., nullable 3..;
        error_code: i16, versions 3..;
    }
}
