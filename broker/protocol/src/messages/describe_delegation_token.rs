//! DescribeDelegationToken, API key 41: versions 1 to 3, flexible from 2.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeDelegationToken (key 41).
    pub struct DescribeDelegationTokenRequest, flexible 2 {
        owners: Option<Vec<DescribeDelegationTokenRequestOwner>> = Some(Vec::new()), versions 1.., nullable 1..;
    }

    /// Part of [`DescribeDelegationTokenRequest`].
    pub struct DescribeDelegationTokenRequestOwner, flexible 2 {
        principal_type: Str, versions 1..;
        principal_name: Str, versions 1..;
    }

    /// Response body of DescribeDelegationToken (key 41).
    pub struct DescribeDelegationTokenResponse, flexible 2 {
        error_code: i16, versions 1..;
        tokens: Vec<DescribeDelegationTokenResponseToken>, versions 1..;
        throttle_time_ms: i32, versions 1..;
    }

    /// Part of [`DescribeDelegationTokenResponse`].
    pub struct DescribeDelegationTokenResponseToken, flexible 2 {
        principal_type: Str, versions 1..;
        principal_name: Str, versions 1..;
        token_requester_principal_type: Str, versions 3..;
        token_requester_principal_name: Str, versions 3..;
        issue_timestamp: i64, versions 1..;
        expiry_timestamp: i64, versions 1..;
        max_timestamp: i64, versions 1..;
        token_id: Str, versions 1..;
        hmac: Bytes, versions 1..;
        renewers: Vec<DescribeDelegationTokenResponseTokenRenewer>, versions 1..;
    }

    /// Part of [`DescribeDelegationTokenResponseToken`].
    pub struct DescribeDelegationTokenResponseTokenRenewer, flexible 2 {
        principal_type: Str, versions 1..;
        principal_name: Str, versions 1..;
    }
}
