//! AlterUserScramCredentials, API key 51: versions 0 to 0, flexible from 0.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AlterUserScramCredentials (key 51).
    pub struct AlterUserScramCredentialsRequest, flexible 0 {
        deletions: Vec<AlterUserScramCredentialsRequestDeletion>, versions 0..;
        upsertions: Vec<AlterUserScramCredentialsRequestUpsertion>, versions 0..;
    }

    /// Part of [`AlterUserScramCredentialsRequest`].
    pub struct AlterUserScramCredentialsRequestDeletion, flexible 0 {
        name: Str, versions 0..;
        mechanism: i8, versions 0..;
    }

    /// Part of [`AlterUserScramCredentialsRequest`].
    pub struct AlterUserScramCredentialsRequestUpsertion, flexible 0 {
        name: Str, versions 0..;
        mechanism: i8, versions 0..;
        iterations: i32, versions 0..;
        salt: Bytes, versions 0..;
        salted_password: Bytes, versions 0..;
    }

    /// Response body of AlterUserScramCredentials (key 51).
    pub struct AlterUserScramCredentialsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        results: Vec<AlterUserScramCredentialsResponseResult>, versions 0..;
    }

    /// Part of [`AlterUserScramCredentialsResponse`].
    pub struct AlterUserScramCredentialsResponseResult, flexible 0 {
        user: Str, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
