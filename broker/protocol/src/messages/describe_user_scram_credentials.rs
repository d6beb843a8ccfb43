//! DescribeUserScramCredentials, API key 50: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeUserScramCredentials (key 50).
    pub struct DescribeUserScramCredentialsRequest, flexible 0 {
        users: Option<Vec<DescribeUserScramCredentialsRequestUser>> = Some(Vec::new()), versions 0.., nullable 0..;
    }

    /// Part of [`DescribeUserScramCredentialsRequest`].
    pub struct DescribeUserScramCredentialsRequestUser, flexible 0 {
        name: Str, versions 0..;
    }

    /// Response body of DescribeUserScramCredentials (key 50).
    pub struct DescribeUserScramCredentialsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        results: Vec<DescribeUserScramCredentialsResponseResult>, versions 0..;
    }

    /// Part of [`DescribeUserScramCredentialsResponse`].
    pub struct DescribeUserScramCredentialsResponseResult, flexible 0 {
        user: Str, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        credential_infos: Vec<DescribeUserScramCredentialsResponseResultCredentialInfo>, versions 0..;
    }

    /// Part of [`DescribeUserScramCredentialsResponseResult`].
    pub struct DescribeUserScramCredentialsResponseResultCredentialInfo, flexible 0 {
        mechanism: i8, versions 0..;
        iterations: i32, versions 0..;
    }
}
