//! UnregisterController, API key 94: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of UnregisterController (key 94).
    pub struct UnregisterControllerRequest, flexible 0 {
        controller_id: i32, versions 0..;
    }

    /// Response body of UnregisterController (key 94).
    pub struct UnregisterControllerResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
