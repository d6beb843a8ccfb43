//! ExpireDelegationToken, API key 40: versions 1 to 2, flexible from 2.

use bytes::Bytes;

use crate::message;

message! {
    /// Request body of ExpireDelegationToken (key 40).
    pub struct ExpireDelegationTokenRequest, flexible 2 {
        hmac: Bytes, versions 1..;
        expiry_time_period_ms: i64, versions 1..;
    }

    /// Response body of ExpireDelegationToken (key 40).
    pub struct ExpireDelegationTokenResponse, flexible 2 {
        error_code: i16, versions 1..;
        expiry_timestamp_ms: i64, versions 1..;
        throttle_time_ms: i32, versions 1..;
    }
}
