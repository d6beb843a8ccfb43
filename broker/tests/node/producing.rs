//! Produce: what is taken, what is refused, in which order answers come.

use bytes::{Bytes, BytesMut};
use protocol::messages::produce::ProduceRequest;
use protocol::record::batch::BatchBuilder;
use protocol::record::compression::Compression;
use protocol::{ErrorCode, Str};

use crate::client::{batch_of, now_ms, produce_request};
use crate::harness::{eventually, everywhere};

#[test]
fn what_is_produced_is_read_back_on_every_partition() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 4, &[]);
        for partition in 0..4 {
            assert_eq!(client.append("orders", partition, &["a", "b"]), 0);
            assert_eq!(client.append("orders", partition, &["c"]), 2);
        }
        for partition in 0..4 {
            let values: Vec<String> = client
                .read_all("orders", partition, 0)
                .into_iter()
                .map(|(_, v)| v)
                .collect();
            assert_eq!(values, ["a", "b", "c"]);
            assert_eq!(
                client.read_all("orders", partition, 1).len(),
                2,
                "from the middle of a batch"
            );
        }
        broker.stop();
    });
}

#[test]
fn every_version_of_produce_is_served() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let id = client.create_topic("orders", 1, &[]);
        for (sent, version) in (3..=13).enumerate() {
            let mut request = produce_request("orders", 0, -1, batch_of(&["x"]));
            request.topic_data[0].topic_id = id;
            if version >= 13 {
                request.topic_data[0].name = Str::EMPTY;
            }
            let answer = client
                .call(version, &request)
                .responses
                .remove(0)
                .partition_responses
                .remove(0);
            assert_eq!(
                (answer.error_code, answer.base_offset),
                (0, sent as i64),
                "version {version}"
            );
        }
        broker.stop();
    });
}

#[test]
fn requests_of_one_connection_are_appended_and_answered_in_order() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 3, &[]);
        let sent: Vec<(i32, i32)> = (0..300)
            .map(|i| {
                let partition = i % 3;
                let request = produce_request("orders", partition, -1, batch_of(&[&i.to_string()]));
                (client.send(9, &request), partition)
            })
            .collect();
        let mut next = [0; 3];
        for (correlation, partition) in sent {
            let answer = client.receive::<ProduceRequest>(9, correlation);
            let placed = &answer.responses[0].partition_responses[0];
            assert_eq!(
                (placed.error_code, placed.base_offset),
                (0, next[partition as usize])
            );
            next[partition as usize] += 1;
        }
        let values: Vec<String> = client
            .read_all("orders", 1, 0)
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        let expected: Vec<String> = (0..300).filter(|i| i % 3 == 1).map(|i| i.to_string()).collect();
        assert_eq!(values, expected);
        broker.stop();
    });
}

#[test]
fn without_acks_nothing_is_answered_and_the_records_are_there() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        for _ in 0..10 {
            client.send(9, &produce_request("orders", 0, 0, batch_of(&["x"])));
        }
        // The next answer on this connection is that of the next request that has one.
        assert_eq!(client.append("orders", 0, &["last"]), 10);
        broker.stop();
    });
}

#[test]
fn batches_that_break_a_rule_are_refused_by_name() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[("max.message.bytes", "1000")]);
        let good = batch_of(&["x"]);
        let changed = |at: usize, byte: u8| {
            let mut batch = BytesMut::from(&good[..]);
            batch[at] ^= byte;
            batch.freeze()
        };
        let twice: Bytes = [good.clone(), good.clone()].concat().into();
        let far = {
            let mut builder = BatchBuilder::new(now_ms() + 7_200_000);
            builder.record(now_ms() + 7_200_000, None, Some(b"x"));
            builder.build(Compression::None).unwrap()
        };
        let cases = [
            ("checksum", changed(65, 1), ErrorCode::CorruptMessage),
            (
                "old format",
                changed(16, 3),
                ErrorCode::UnsupportedForMessageFormat,
            ),
            ("cut off", good.slice(..good.len() - 1), ErrorCode::CorruptMessage),
            ("two batches", twice, ErrorCode::InvalidRecord),
            ("nothing", Bytes::new(), ErrorCode::InvalidRecord),
            (
                "too large",
                batch_of(&[&"x".repeat(1000)]),
                ErrorCode::MessageTooLarge,
            ),
            ("far future", far, ErrorCode::InvalidTimestamp),
        ];
        for (what, batch, expected) in cases {
            let answer = client.produce("orders", 0, batch);
            assert_eq!(
                ErrorCode::from_code(answer.error_code),
                expected,
                "{what}: {:?}",
                answer.error_message
            );
        }
        assert_eq!(
            client.append("orders", 0, &["good"]),
            0,
            "and nothing of it was stored"
        );
        let answer = client.produce("orders", 7, batch_of(&["x"]));
        assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition.code());
        let mut request = produce_request("orders", 0, 5, batch_of(&["x"]));
        let refused = client
            .call(9, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        assert_eq!(refused.error_code, ErrorCode::InvalidRequiredAcks.code());
        request.acks = -1;
        request.transactional_id = Some(Str::from("t"));
        let refused = client
            .call(9, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0);
        assert_eq!(refused.error_code, ErrorCode::InvalidTxnState.code());
        broker.stop();
    });
}

#[test]
fn a_topic_may_ask_for_its_own_compression_and_its_own_clock() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let configs = [
            ("compression.type", "zstd"),
            ("message.timestamp.type", "LogAppendTime"),
        ];
        client.create_topic("orders", 1, &configs);
        let before = now_ms();
        let answer = client.produce("orders", 0, batch_of(&["aaaa", "bbbb"]));
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        assert!(answer.log_append_time_ms >= before);
        let values: Vec<String> = client
            .read_all("orders", 0, 0)
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        assert_eq!(values, ["aaaa", "bbbb"]);
        broker.stop();
    });
}

#[test]
fn a_missing_topic_is_created_on_first_use_where_that_is_allowed() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.plan(dir.path()).with("num.partitions", "2").start();
        let mut client = broker.client();
        let topic = protocol::messages::metadata::MetadataRequestTopic {
            name: Some("fresh".into()),
            ..Default::default()
        };
        let mut request = protocol::messages::metadata::MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let refused = client.call(9, &request).topics.remove(0);
        assert_eq!(refused.error_code, ErrorCode::UnknownTopicOrPartition.code());
        request.allow_auto_topic_creation = true;
        let created = eventually("the topic is created", || {
            let topic = client.call(9, &request).topics.remove(0);
            (topic.error_code == 0).then_some(topic)
        });
        assert_eq!(created.partitions.len(), 2);
        assert_eq!(client.append("fresh", 1, &["x"]), 0);
        broker.stop();
    });
}
