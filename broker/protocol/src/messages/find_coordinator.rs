//! FindCoordinator, API key 10: versions 0 to 6, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of FindCoordinator (key 10).
    pub struct FindCoordinatorRequest, flexible 3 {
        key: Str, versions 0..=3;
        key_type: i8, versions 1..;
        coordinator_keys: Vec<Str>, versions 4..;
    }

    /// Response body of FindCoordinator (key 10).
    pub struct FindCoordinatorResponse, flexible 3 {
        throttle_time_ms: i32, versions 1..;
        coordinators: Vec<FindCoordinatorResponseCoordinator>, versions 4..;
        error_code: i16, versions 0..=3;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1..=3, nullable 1..=3;
        node_id: i32, versions 0..=3;
        host: Str, versions 0..=3;
        port: i32, versions 0..=3;
    }

    /// Part of [`FindCoordinatorResponse`].
    pub struct FindCoordinatorResponseCoordinator, flexible 3 {
        key: Str, versions 4..;
        node_id: i32, versions 4..;
        host: Str, versions 4..;
        port: i32, versions 4..;
        error_code: i16, versions 4..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 4.., nullable 4..;
    }
}
