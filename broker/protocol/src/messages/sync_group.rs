//! SyncGroup, API key 14: versions 0 to 5, flexible from 4.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of SyncGroup (key 14).
    pub struct SyncGroupRequest, flexible 4 {
        group_id: Str, versions 0..;
        generation_id: i32, versions 0..;
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 3.., nullable 3..;
        protocol_type: Option<Str>, versions 5.., nullable 5..;
        protocol_name: Option<Str>, versions 5.., nullable 5..;
        assignments: Vec<SyncGroupRequestAssignment>, versions 0..;
    }

    /// Part of [`SyncGroupRequest`].
    pub struct SyncGroupRequestAssignment, flexible 4 {
        member_id: Str, versions 0..;
        assignment: Bytes, versions 0..;
    }

    /// Response body of SyncGroup (key 14).
    pub struct SyncGroupResponse, flexible 4 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 0..;
        protocol_type: Option<Str>, versions 5.., nullable 5..;
        protocol_name: Option<Str>, versions 5.., nullable 5..;
        assignment: Bytes, versions 0..;
    }
}
