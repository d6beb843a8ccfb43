//! SaslHandshake, API key 17: versions 0 to 1, never flexible.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of SaslHandshake (key 17).
    pub struct SaslHandshakeRequest, flexible none {
        mechanism: Str, versions 0..;
    }

    /// Response body of SaslHandshake (key 17).
    pub struct SaslHandshakeResponse, flexible none {
        error_code: i16, versions 0..;
        mechanisms: Vec<Str>, versions 0..;
    }
}
