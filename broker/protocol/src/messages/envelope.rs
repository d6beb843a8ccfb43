//! Envelope, API key 58: versions 0 to 0, flexible from 0.

use bytes::Bytes;

use crate::message;

message! {
    /// Request body of Envelope (key 58).
    pub struct EnvelopeRequest, flexible 0 {
        request_data: Bytes, versions 0..;
        request_principal: Option<Bytes> = Some(Bytes::new()), versions 0.., nullable 0..;
        client_host_address: Bytes, versions 0..;
    }

    /// Response body of Envelope (key 58).
    pub struct EnvelopeResponse, flexible 0 {
        response_data: Option<Bytes>, versions 0.., nullable 0..;
        error_code: i16, versions 0..;
    }
}
