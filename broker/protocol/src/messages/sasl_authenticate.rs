//! SaslAuthenticate, API key 36: versions 0 to 2, flexible from 2.

use bytes::Bytes;

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of SaslAuthenticate (key 36).
    pub struct SaslAuthenticateRequest, flexible 2 {
        auth_bytes: Bytes, versions 0..;
    }

    /// Response body of SaslAuthenticate (key 36).
    pub struct SaslAuthenticateResponse, flexible 2 {
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        auth_bytes: Bytes, versions 0..;
        session_lifetime_ms: i64, versions 1..;
    }
}
