//! GetTelemetrySubscriptions, API key 71: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of GetTelemetrySubscriptions (key 71).
    pub struct GetTelemetrySubscriptionsRequest, flexible 0 {
        client_instance_id: Uuid, versions 0..;
    }

    /// Response body of GetTelemetrySubscriptions (key 71).
    pub struct GetTelemetrySubscriptionsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        client_instance_id: Uuid, versions 0..;
        subscription_id: i32, versions 0..;
        accepted_compression_types: Vec<i8>, versions 0..;
        push_interval_ms: i32, versions 0..;
        telemetry_max_bytes: i32, versions 0..;
        delta_temporality: bool, versions 0..;
        requested_metrics: Vec<Str>, versions 0..;
    }
}
