//! UnregisterBroker, API key 64: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of UnregisterBroker (key 64).
    pub struct UnregisterBrokerRequest, flexible 0 {
        broker_id: i32, versions 0..;
    }

    /// Response body of UnregisterBroker (key 64).
    pub struct UnregisterBrokerResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
