//! What no client should send: every case ends in an error code or a closed connection, and the broker serves on.

use protocol::frame::RequestHeader;
use protocol::messages::api_versions::ApiVersionsRequest;
use protocol::messages::metadata::MetadataRequest;
use protocol::messages::produce::ProduceRequest;
use protocol::{ApiKey, Encoder, ErrorCode, Str};

use crate::harness::everywhere;

#[test]
fn garbage_is_answered_by_closing_and_others_are_served_on() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("socket.request.max.bytes", "1000000")
            .start();
        let mut witness = broker.client();
        witness.create_topic("orders", 1, &[]);
        let cases: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0],
            &[0, 0, 0, 3, 1, 2, 3],
            &[0x16, 0x03, 0x01, 0x02, 0x00],
            // A frame of a length that is allowed, full of nonsense.
            &[0, 0, 0, 12, 0x7a, 0x7a, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            // Produce, version 9, with a body that ends in the middle.
            &[0, 0, 0, 12, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 5],
        ];
        for case in cases {
            let mut client = broker.client();
            client.write(case);
            assert!(client.is_closed(), "{case:02x?}");
        }
        assert_eq!(witness.append("orders", 0, &["served on"]), 0);
        broker.stop();
    });
}

#[test]
fn versions_that_are_not_served_are_told_or_refused() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let served = client.call(4, &ApiVersionsRequest::default());
        assert_eq!(served.error_code, 0);
        let range = |key: ApiKey| {
            let found = served.api_keys.iter().find(|row| row.api_key == key.code());
            found.map(|row| (row.min_version, row.max_version))
        };
        assert_eq!(range(ApiKey::Produce), Some((0, 13)));
        assert_eq!(range(ApiKey::Fetch), Some((4, 18)));
        assert_eq!(range(ApiKey::InitProducerId), Some((0, 5)));
        assert_eq!(range(ApiKey::Vote), None, "what is not served is not advertised");

        // A version from the future: answered in version 0, with the real ranges.
        let mut out = Encoder::new();
        let header = RequestHeader {
            api_key: 18,
            api_version: 99,
            correlation_id: 7,
            client_id: Some(Str::from("new")),
        };
        header.encode(&mut out).unwrap();
        let body = out.finish().into_bytes();
        client.write(&(body.len() as u32).to_be_bytes());
        client.write(&body);
        let answer = client.receive::<ApiVersionsRequest>(0, 7);
        assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
        assert_eq!(answer.api_keys.len(), served.api_keys.len());

        let correlation = client.send(2, &ProduceRequest::default());
        assert!(
            client.try_receive::<ProduceRequest>(2, correlation).is_err(),
            "Produce 2 is advertised, not served"
        );
        broker.stop();
    });
}

/// librdkafka 2.11's Metadata request for all topics, byte for byte: its array has room for a number of four bytes and uses
/// one. Kafka never looks behind a message.
#[test]
fn bytes_behind_a_message_are_let_go_of() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let mut frame = vec![0, 3, 0, 13, 0, 0, 0, 9, 0, 7];
        frame.extend(b"rdkafka");
        frame.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        client.write(&(frame.len() as u32).to_be_bytes());
        client.write(&frame);
        let answer = client.receive::<MetadataRequest>(13, 9);
        assert_eq!(answer.topics.len(), 1);
        broker.stop();
    });
}

#[test]
fn idle_and_half_open_connections_are_closed() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("connections.max.idle.ms", "200")
            .start();
        let mut silent = broker.client();
        assert!(silent.is_closed(), "one that never says anything");
        let mut half = broker.client();
        half.write(&[0, 0, 1, 0, 0, 0]);
        assert!(half.is_closed(), "one that stops in the middle of a request");
        broker.stop();
    });
}
