//! PushTelemetry, API key 72: versions 0 to 0, flexible from 0.

use bytes::Bytes;

use crate::message;
use crate::primitives::Uuid;

message! {
    /// Request body of PushTelemetry (key 72).
    pub struct PushTelemetryRequest, flexible 0 {
        client_instance_id: Uuid, versions 0..;
        subscription_id: i32, versions 0..;
        terminating: bool, versions 0..;
        compression_type: i8, versions 0..;
        metrics: Bytes, versions 0..;
    }

    /// Response body of PushTelemetry (key 72).
    pub struct PushTelemetryResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
    }
}
