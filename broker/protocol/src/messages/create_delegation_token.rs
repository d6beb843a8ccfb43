//! CreateDelegationToken, API key 38: versions 1 to 3, flexible from 2.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of CreateDelegationToken (key 38).
    pub struct CreateDelegationTokenRequest, flexible 2 {
        owner_principal_type: Option<Str> = Some(Str::EMPTY), versions 3.., nullable 3..;
        owner_principal_name: Option<Str> = Some(Str::EMPTY), versions 3.., nullable 3..;
        renewers: Vec<CreateDelegationTokenRequestRenewer>, versions 1..;
        max_lifetime_ms: i64, versions 1..;
    }

    /// Part of [`CreateDelegationTokenRequest`].
    pub struct CreateDelegationTokenRequestRenewer, flexible 2 {
        principal_type: Str, versions 1..;
        principal_name: Str, versions 1..;
    }

    /// Response body of CreateDelegationToken (key 38).
    pub struct CreateDelegationTokenResponse, flexible 2 {
        error_code: i16, versions 1..;
        principal_type: Str, versions 1..;
        principal_name: Str, versions 1..;
        token_requester_principal_type: Str, versions 3..;
        token_requester_principal_name: Str, versions 3..;
        issue_timestamp_ms: i64, versions 1..;
        expiry_timestamp_ms: i64, versions 1..;
        max_timestamp_ms: i64, versions 1..;
        token_id: Str, versions 1..;
        hmac: Bytes, versions 1..;
        throttle_time_ms: i32, versions 1..;
    }
}
