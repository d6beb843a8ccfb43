//! Idempotent producers: ids, duplicates, gaps, fenced epochs, also across a restart.

use bytes::Bytes;
use protocol::messages::init_producer_id::InitProducerIdRequest;
use protocol::record::batch::BatchBuilder;
use protocol::record::compression::Compression;
use protocol::{ErrorCode, ProducerEpoch, ProducerId, Str};

use crate::client::{Client, now_ms};
use crate::harness::{eventually, everywhere};

fn batch(id: i64, epoch: i16, sequence: i32, values: usize) -> Bytes {
    let mut builder = BatchBuilder::new(now_ms()).producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    for _ in 0..values {
        builder.record(now_ms(), None, Some(b"x"));
    }
    builder
        .build(Compression::None)
        .expect("no compression cannot fail")
}

fn new_id(client: &mut Client) -> i64 {
    let request = InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    let answer = client.call(4, &request);
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    answer.producer_id
}

#[test]
fn ids_are_given_once_also_over_a_restart() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2 {
            let broker = setup.start(dir.path());
            let (mut one, mut two) = (broker.client(), broker.client());
            for version in 0..=5 {
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    ..Default::default()
                };
                assert!(seen.insert(one.call(version, &request).producer_id));
                assert!(seen.insert(new_id(&mut two)));
            }
            broker.stop();
        }
    });
}

#[test]
fn a_retry_is_answered_with_the_first_offset_and_a_gap_is_refused() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let id = new_id(&mut client);
        let outcome = |client: &mut Client, batch| {
            let answer = client.produce("orders", 0, batch);
            (ErrorCode::from_code(answer.error_code), answer.base_offset)
        };
        assert_eq!(outcome(&mut client, batch(id, 0, 0, 2)), (ErrorCode::None, 0));
        assert_eq!(outcome(&mut client, batch(id, 0, 2, 1)), (ErrorCode::None, 2));
        assert_eq!(
            outcome(&mut client, batch(id, 0, 0, 2)),
            (ErrorCode::None, 0),
            "a retry"
        );
        assert_eq!(
            outcome(&mut client, batch(id, 0, 7, 1)).0,
            ErrorCode::OutOfOrderSequenceNumber
        );
        assert_eq!(
            outcome(&mut client, batch(id, 1, 0, 1)),
            (ErrorCode::None, 3),
            "a new epoch starts over"
        );
        assert_eq!(
            outcome(&mut client, batch(id, 0, 3, 1)).0,
            ErrorCode::InvalidProducerEpoch
        );
        broker.stop();

        let broker = setup.start(dir.path());
        let mut client = broker.client();
        assert_eq!(
            outcome(&mut client, batch(id, 1, 0, 1)),
            (ErrorCode::None, 3),
            "a retry after the restart"
        );
        assert_eq!(outcome(&mut client, batch(id, 1, 1, 1)), (ErrorCode::None, 4));
        broker.stop();
    });
}

#[test]
fn a_producer_that_appends_nothing_for_long_is_forgotten() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("producer.id.expiration.ms", "1")
            .with("producer.id.expiration.check.interval.ms", "5")
            .start();
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let id = new_id(&mut client);
        let mut append = || client.produce("orders", 0, batch(id, 0, 0, 1)).base_offset;
        assert_eq!(append(), 0);
        // Its first batch is a retry for as long as it is known, and then a new one.
        eventually("it is forgotten", || (append() == 1).then_some(()));
        broker.stop();
    });
}

#[test]
fn transactional_ids_are_refused_and_said_so() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let request = InitProducerIdRequest {
            transactional_id: Some(Str::from("t")),
            ..Default::default()
        };
        assert_eq!(
            broker.client().call(4, &request).error_code,
            ErrorCode::UnsupportedVersion.code()
        );
        broker.stop();
    });
}
