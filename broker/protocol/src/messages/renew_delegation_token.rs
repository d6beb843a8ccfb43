//! RenewDelegationToken, API key 39: versions 1 to 2, flexible from 2.

use bytes::Bytes;

use crate::message;

message! {
    /// Request body of RenewDelegationToken (key 39).
    pub struct RenewDelegationTokenRequest, flexible 2 {
        hmac: Bytes, versions 1..;
        renew_period_ms: i64, versions 1..;
    }

    /// Response body of RenewDelegationToken (key 39).
    pub struct RenewDelegationTokenResponse, flexible 2 {
        error_code: i16, versions 1..;
        expiry_timestamp_ms: i64, versions 1..;
        throttle_time_ms: i32, versions 1..;
    }
}
