//! Heartbeat, API key 12: versions 0 to 4, flexible from 4.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of Heartbeat (key 12).
    pub struct HeartbeatRequest, flexible 4 {
        group_id: Str, versions 0..;
        generation_id: i32, versions 0..;
        member_id: Str, versions 0..;
        group_instance_id: Option<Str>, versions 3.., nullable 3..;
    }

    /// Response body of Heartbeat (key 12).
    pub struct HeartbeatResponse, flexible 4 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 0..;
    }
}
