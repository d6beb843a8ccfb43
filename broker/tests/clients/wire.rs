//! Questions to one broker, in the words of the crate `kafka-protocol`, which shares no code with ours.
//!
//! For what no client at hand can be asked: librdkafka asks whichever broker it likes, also one that has just come back and
//! still tells what it knew when it left, and a program for each of ten thousand groups would take minutes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// Longest wait for one answer; who gets none asks again.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer of these tests is half as large.
const LARGEST_ANSWER: usize = 16 << 20;

/// To one broker. After an error it is of no use: what comes next may be the late answer.
pub(crate) struct Connection {
    stream: TcpStream,
    sent: i32,
}

impl Connection {
    pub(crate) fn to(broker: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, sent: 0 })
    }

    /// The answer to one request. An answer that cannot be read is not waited for again: it fails the test.
    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.sent += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.sent)
            .with_client_id(Some(StrBytes::from_static_str("clients")));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, R::header_version(version))
            .expect("a header of this version");
        request
            .encode(&mut frame, version)
            .expect("a request of this version");
        let length = u32::try_from(frame.len()).expect("a small request");
        self.stream.write_all(&length.to_be_bytes())?;
        self.stream.write_all(&frame)?;

        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        assert!(length <= LARGEST_ANSWER, "an answer of {length} bytes");
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        let mut answer = Bytes::from(answer);
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut answer, header_version).expect("a header of an answer");
        assert_eq!(
            header.correlation_id, self.sent,
            "the answer is to another request"
        );
        let told = <R::Response as Decodable>::decode(&mut answer, version);
        Ok(told.expect("an answer of the request's version"))
    }
}
