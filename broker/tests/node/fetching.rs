//! Fetch: waiting, limits, sessions, ids, epochs.

use protocol::messages::fetch::{
    FetchRequest, FetchRequestForgottenTopicsData, FetchRequestTopic, FetchRequestTopicPartition,
};
use protocol::messages::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestTopic, ListOffsetsRequestTopicPartition,
};
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestTopic, OffsetForLeaderEpochRequestTopicPartition,
};
use protocol::{ErrorCode, Str};

use crate::client::{Client, batch_of, fetch_request, values_of};
use crate::harness::everywhere;

#[test]
fn every_version_of_fetch_is_served() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let id = client.create_topic("orders", 1, &[]);
        client.append("orders", 0, &["a", "b"]);
        for version in 4..=18 {
            let mut request = fetch_request("orders", 0, 1);
            request.topics[0].topic_id = id;
            let answer = client.call(version, &request);
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(
                (partition.error_code, partition.high_watermark),
                (0, 2),
                "version {version}"
            );
            let values = values_of(&partition.records.clone().unwrap_or_default(), 1);
            assert_eq!(values, [(1, "b".to_string())], "version {version}");
        }
        broker.stop();
    });
}

#[test]
fn a_waiting_fetch_is_answered_by_the_next_append() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let (mut reader, mut writer) = (broker.client(), broker.client());
        writer.create_topic("orders", 4, &[]);
        for partition in 0..4 {
            // Waits far longer than the test may take: only the append can answer it.
            let mut request = fetch_all(4, 0);
            request.max_wait_ms = 600_000;
            if partition > 0 {
                request.topics[0]
                    .partitions
                    .iter_mut()
                    .take(partition as usize)
                    .for_each(|wanted| wanted.fetch_offset = 1);
            }
            let correlation = reader.send(12, &request);
            writer.append("orders", partition, &["news"]);
            let answer = reader.receive::<FetchRequest>(12, correlation);
            let found: Vec<i32> = answer.responses[0]
                .partitions
                .iter()
                .filter(|found| !found.records.clone().unwrap_or_default().is_empty())
                .map(|found| found.partition_index)
                .collect();
            assert_eq!(found, [partition]);
        }
        broker.stop();
    });
}

fn fetch_all(partitions: i32, offset: i64) -> FetchRequest {
    let wanted = (0..partitions).map(|partition| FetchRequestTopicPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic = FetchRequestTopic {
        topic: Str::from("orders"),
        partitions: wanted.collect(),
        ..Default::default()
    };
    FetchRequest {
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

#[test]
fn limits_hold_and_the_first_batch_comes_always() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let large = "x".repeat(10_000);
        for _ in 0..5 {
            client.append("orders", 0, &[&large]);
        }
        let mut request = fetch_request("orders", 0, 0);
        request.max_bytes = 100;
        request.topics[0].partitions[0].partition_max_bytes = 100;
        let found = client.fetch_with(&request).records.unwrap_or_default();
        assert_eq!(
            values_of(&found, 0).len(),
            1,
            "one batch, though it is larger than asked for"
        );
        request.max_bytes = i32::MAX;
        request.topics[0].partitions[0].partition_max_bytes = 25_000;
        let found = client.fetch_with(&request).records.unwrap_or_default();
        assert_eq!(values_of(&found, 0).len(), 2);
        broker.stop();
    });
}

#[test]
fn a_session_tells_only_what_is_new() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 3, &[]);
        client.append("orders", 0, &["a"]);
        let mut request = fetch_all(3, 0);
        request.session_epoch = 0;
        let first = client.call(12, &request);
        assert_ne!(first.session_id, 0);
        assert_eq!(
            first.responses[0].partitions.len(),
            3,
            "the first answer names every partition"
        );
        let next = |epoch| FetchRequest {
            session_id: first.session_id,
            session_epoch: epoch,
            ..Default::default()
        };

        let mut advance = next(1);
        advance.topics = fetch_all(1, 1).topics;
        let calm = client.call(12, &advance);
        assert_eq!((calm.error_code, calm.responses.len()), (0, 0), "nothing new");

        client.append("orders", 2, &["b"]);
        let news = client.call(12, &next(2));
        assert_eq!(news.responses[0].partitions.len(), 1);
        assert_eq!(news.responses[0].partitions[0].partition_index, 2);

        let mut forget = next(3);
        forget.forgotten_topics_data = vec![FetchRequestForgottenTopicsData {
            topic: Str::from("orders"),
            partitions: vec![2],
            ..Default::default()
        }];
        assert_eq!(client.call(12, &forget).responses.len(), 0);

        assert_eq!(
            client.call(12, &next(3)).error_code,
            ErrorCode::InvalidFetchSessionEpoch.code()
        );
        let mut other = next(4);
        other.session_id = first.session_id.wrapping_add(1).max(1);
        assert_eq!(
            client.call(12, &other).error_code,
            ErrorCode::FetchSessionIdNotFound.code()
        );
        broker.stop();
    });
}

#[test]
fn offsets_out_of_range_unknown_ids_and_wrong_epochs_are_told_apart() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let id = client.create_topic("orders", 1, &[]);
        client.append("orders", 0, &["a"]);
        assert_eq!(
            client.fetch_with(&fetch_request("orders", 0, 99)).error_code,
            ErrorCode::OffsetOutOfRange.code()
        );
        assert_eq!(
            client.fetch_with(&fetch_request("orders", 9, 0)).error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        let mut by_id = fetch_request("", 0, 0);
        by_id.topics[0].topic_id = [9; 16];
        let answer = client.call(13, &by_id).responses.remove(0).partitions.remove(0);
        assert_eq!(answer.error_code, ErrorCode::UnknownTopicId.code());
        by_id.topics[0].topic_id = id;
        assert_eq!(
            client
                .call(13, &by_id)
                .responses
                .remove(0)
                .partitions
                .remove(0)
                .error_code,
            0
        );

        let mut early = fetch_request("orders", 0, 0);
        early.topics[0].partitions[0].current_leader_epoch = 99;
        assert_eq!(
            client.fetch_with(&early).error_code,
            ErrorCode::UnknownLeaderEpoch.code()
        );
        let mut diverged = fetch_request("orders", 0, 1);
        diverged.topics[0].partitions[0].last_fetched_epoch = 98;
        assert_eq!(
            client.fetch_with(&diverged).error_code,
            ErrorCode::OffsetOutOfRange.code(),
            "an epoch that this log never had"
        );
        let mut ahead = fetch_request("orders", 0, 1);
        ahead.topics[0].partitions[0].last_fetched_epoch = 0;
        assert_eq!(client.fetch_with(&ahead).error_code, 0, "the same history");
        broker.stop();
    });
}

#[test]
fn offsets_are_listed_by_name_and_by_time() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        assert_eq!(list(&mut client, -1), (0, 0, -1));
        assert_eq!(list(&mut client, -3), (0, -1, -1), "nothing is there yet");
        let before = crate::client::now_ms();
        client.append("orders", 0, &["a", "b"]);
        client.append("orders", 0, &["c"]);
        assert_eq!(list(&mut client, -2), (0, 0, -1));
        assert_eq!(list(&mut client, -4), (0, 0, -1));
        assert_eq!(list(&mut client, -1), (0, 3, -1));
        let (error, offset, timestamp) = list(&mut client, before);
        assert_eq!((error, offset), (0, 0));
        assert!(timestamp >= before);
        assert_eq!(list(&mut client, before + 3_600_000).1, -1, "no record that late");
        assert!(list(&mut client, -3).1 >= 0);
        assert_eq!(list(&mut client, -5).1, -1, "nothing is tiered");

        let asked = OffsetForLeaderEpochRequestTopicPartition {
            leader_epoch: 0,
            ..Default::default()
        };
        let topic = OffsetForLeaderEpochRequestTopic {
            topic: "orders".into(),
            partitions: vec![asked],
        };
        let request = OffsetForLeaderEpochRequest {
            topics: vec![topic],
            ..Default::default()
        };
        for version in 2..=4 {
            let answer = client
                .call(version, &request)
                .topics
                .remove(0)
                .partitions
                .remove(0);
            assert_eq!(
                (answer.error_code, answer.end_offset),
                (0, 3),
                "version {version}"
            );
        }
        broker.stop();
    });
}

/// (error, offset, timestamp), the same in every version.
fn list(client: &mut Client, timestamp: i64) -> (i16, i64, i64) {
    let asked = ListOffsetsRequestTopicPartition {
        timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsRequestTopic {
        name: Str::from("orders"),
        partitions: vec![asked],
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let mut answers = (1..=11).map(|version| {
        let answer = client
            .call(version, &request)
            .topics
            .remove(0)
            .partitions
            .remove(0);
        (answer.error_code, answer.offset, answer.timestamp)
    });
    let first = answers.next().expect("versions");
    assert!(answers.all(|answer| answer == first), "all versions agree");
    first
}

#[test]
fn consumers_that_do_not_take_their_answers_hold_nobody_up() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let plan = || setup.plan(dir.path()).with("memory.limit.bytes", "16777216");
        let broker = plan().start();
        let mut client = broker.client();
        client.create_topic("orders", 4, &[]);
        let value = "v".repeat(500_000);
        for partition in 0..4 {
            (0..6).for_each(|at| assert_eq!(client.append("orders", partition, &[&value]), at));
        }
        broker.stop();

        // Nothing is in memory now. Each of the slow ones asks for far more than a core lets all of them hold.
        let broker = plan().start();
        let slow: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = broker.client();
                for _ in 0..8 {
                    let mut request = fetch_request("orders", 0, 0);
                    request.topics[0].partitions = (0..4)
                        .map(|partition| FetchRequestTopicPartition {
                            partition,
                            partition_max_bytes: 3_000_000,
                            ..Default::default()
                        })
                        .collect();
                    client.send(12, &request);
                }
                client
            })
            .collect();
        let mut client = broker.client();
        for partition in 0..4 {
            let found = client.fetch_with(&fetch_request("orders", partition, 3));
            assert!(!found.records.unwrap_or_default().is_empty());
        }
        drop(slow);
        broker.stop();
    });
}

#[test]
fn a_consumer_catches_up_from_disk() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("memory.limit.bytes", "16777216")
            .start();
        let mut client = broker.client();
        client.create_topic("orders", 1, &[("segment.bytes", "1048576")]);
        let value = "v".repeat(100_000);
        let count = 200;
        for _ in 0..count {
            let answer = client.produce("orders", 0, batch_of(&[&value]));
            assert_eq!(answer.error_code, 0);
        }
        let all = client.read_all("orders", 0, 0);
        assert_eq!(all.len(), count);
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, (offset, found))| *offset == at as i64 && *found == value)
        );
        broker.stop();
    });
}
