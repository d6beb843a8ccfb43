//! Request and response headers and the length prefix: what stands before every body.
//!
//! ```text
//! request   int32 length | int16 api key | int16 api version | int32 correlation id | int16-length client id
//!           | tag section (flexible versions) | body
//! response  int32 length | int32 correlation id | tag section (flexible versions, never ApiVersions) | body
//! ```
//! The client id keeps its two-byte length in every version: a broker must be able to read it before it knows the version.

use bytes::Bytes;

use crate::api_key::ApiKey;
use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder, Field, Form, Frame, Str};
use crate::schema::{Message, check_tag};

/// Bytes of the length prefix.
pub const LENGTH_PREFIX: usize = 4;
/// The smallest request: key, version, correlation id, null client id.
pub const SMALLEST_REQUEST: usize = 10;
/// Largest frame before a connection has shown who it is.
pub const LARGEST_BEFORE_AUTHENTICATION: usize = 64 * 1024;

/// What stands before a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's wire number; it may be unknown.
    pub api_key: i16,
    /// The version of the body; it may be unknown.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// Who says to be asking.
    pub client_id: Option<Str>,
}

const CLIENT_ID: Form = Form {
    version: 1,
    flexible: false,
    nullable: true,
    field: "client_id",
};

impl RequestHeader {
    /// Reads a header (version 1, or 2 where the body is flexible).
    ///
    /// For an API or version that is not known no tag section is read: only the ids in front of it can be trusted.
    pub fn decode(input: &mut Decoder) -> Result<RequestHeader, DecodeError> {
        let header = RequestHeader {
            api_key: i16::from_be_bytes(input.array()?),
            api_version: i16::from_be_bytes(input.array()?),
            correlation_id: i32::from_be_bytes(input.array()?),
            client_id: Option::<Str>::read(CLIENT_ID, input)?,
        };
        let flexible = ApiKey::from_code(header.api_key).is_some_and(|key| {
            key.is_flexible(header.api_version) && header.api_version <= *key.versions().end()
        });
        if flexible {
            for _ in 0..input.tag_count()? {
                let tag = input.uvarint()?;
                let size = input.uvarint()? as usize;
                let start = input.position();
                input.take(size)?;
                check_tag(input, tag, start, size)?;
            }
        }
        Ok(header)
    }

    /// Writes a header in the version that the API's version asks for.
    pub fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        out.put(&self.api_key.to_be_bytes());
        out.put(&self.api_version.to_be_bytes());
        out.put(&self.correlation_id.to_be_bytes());
        self.client_id.write(CLIENT_ID, out)?;
        if ApiKey::from_code(self.api_key).is_some_and(|key| key.is_flexible(self.api_version)) {
            out.put_uvarint(0);
        }
        Ok(())
    }
}

/// A whole request frame with its length prefix; for clients.
pub fn encode_request<M: Message>(header: &RequestHeader, body: &M) -> Result<Frame, EncodeError> {
    let mut out = Encoder::new();
    header.encode(&mut out)?;
    body.encode(header.api_version, &mut out)?;
    with_length(out)
}

/// A whole response frame with its length prefix.
pub fn encode_response<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Frame, EncodeError> {
    let mut out = Encoder::new();
    out.put(&correlation_id.to_be_bytes());
    if response_header_is_flexible(key, version) {
        out.put_uvarint(0);
    }
    body.encode(version, &mut out)?;
    with_length(out)
}

/// Whether a response header ends with a tag section. ApiVersions' never does: a client that does not know the broker's
/// versions yet must be able to read it.
pub fn response_header_is_flexible(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && key.is_flexible(version)
}

/// Reads a response's header (without the length prefix) and returns its correlation id; for clients.
pub fn decode_response_header(input: &mut Decoder, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = i32::from_be_bytes(input.array()?);
    if response_header_is_flexible(key, version) {
        for _ in 0..input.tag_count()? {
            input.uvarint()?;
            let size = input.uvarint()? as usize;
            input.take(size)?;
        }
    }
    Ok(correlation_id)
}

fn with_length(body: Encoder) -> Result<Frame, EncodeError> {
    let length = body.len();
    let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong {
        what: "frame",
        length,
    })?;
    let mut out = Encoder::new();
    out.put(&prefix.to_be_bytes());
    let body = body.finish();
    // The first piece is small: copying it behind the prefix saves a piece to send.
    out.put_frame(&body);
    Ok(out.finish())
}

/// A body's bytes as read from a frame; for tests and clients.
pub fn decode_body<M: Message>(body: Bytes, version: i16) -> Result<M, DecodeError> {
    let mut input = Decoder::new(body);
    let message = M::decode(&mut input, version)?;
    input.finish()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_in_both_versions() {
        for api_version in [2, 12] {
            let header = RequestHeader {
                api_key: 3,
                api_version,
                correlation_id: 7,
                client_id: Some("me".into()),
            };
            let mut out = Encoder::new();
            header.encode(&mut out).expect("encodes");
            let bytes = out.finish().into_bytes();
            assert_eq!(bytes.len(), if api_version == 12 { 13 } else { 12 });
            let mut input = Decoder::new(bytes);
            assert_eq!(RequestHeader::decode(&mut input), Ok(header));
            assert_eq!(input.finish(), Ok(()));
        }
    }

    #[test]
    fn an_unknown_version_of_a_flexible_api_is_read_up_to_the_client_id() {
        let bytes = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'c', 9, 9, 9]);
        let mut input = Decoder::new(bytes);
        let header = RequestHeader::decode(&mut input).expect("readable");
        assert_eq!((header.api_version, input.remaining()), (99, 3));
    }

    #[test]
    fn api_versions_answers_have_the_old_header() {
        assert!(!response_header_is_flexible(ApiKey::ApiVersions, 3));
        assert!(response_header_is_flexible(ApiKey::Metadata, 9));
        assert!(!response_header_is_flexible(ApiKey::Metadata, 8));
    }
}
