//! BrokerHeartbeat, API key 63: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::Uuid;

message! {
    /// Request body of BrokerHeartbeat (key 63).
    pub struct BrokerHeartbeatRequest, flexible 0 {
        broker_id: i32, versions 0..;
        broker_epoch: i64 = -1, versions 0..;
        current_metadata_offset: i64, versions 0..;
        want_fence: bool, versions 0..;
        want_shut_down: bool, versions 0..;
        offline_log_dirs: Vec<Uuid>, versions 1.., tag 0;
        cordoned_log_dirs: Option<Vec<Uuid>>, versions 2.., nullable 2.., tag 1;
    }

    /// Response body of BrokerHeartbeat (key 63).
    pub struct BrokerHeartbeatResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        is_caught_up: bool, versions 0..;
        is_fenced: bool = true, versions 0..;
        should_shut_down: bool, versions 0..;
    }
}
