//! Topics come, grow, change and go; what the cluster says about them.

use protocol::messages::api_versions::ApiVersionsRequest;
use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsRequestTopic};
use protocol::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsRequestTopic};
use protocol::messages::describe_cluster::DescribeClusterRequest;
use protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsRequestResource};
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsRequestTopic};
use protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestCursor, DescribeTopicPartitionsRequestTopic,
};
use protocol::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestResource,
    IncrementalAlterConfigsRequestResourceConfig,
};
use protocol::messages::metadata::MetadataRequest;
use protocol::messages::update_features::{UpdateFeaturesRequest, UpdateFeaturesRequestFeatureUpdate};
use protocol::{ErrorCode, Str};

use crate::client::{Client, batch_of};
use crate::harness::everywhere;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

#[test]
fn a_topic_made_again_under_its_name_is_another_topic() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let first = client.create_topic("orders", 2, &[]);
        client.append("orders", 0, &["old"]);
        let by_name = DeleteTopicsRequestTopic {
            name: Some(Str::from("orders")),
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            topics: vec![by_name],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let deleted = client.call(6, &request).responses.remove(0);
        assert_eq!((deleted.error_code, deleted.topic_id), (0, first));
        assert_eq!(client.topic_id("orders"), None);
        let answer = client.produce("orders", 0, batch_of(&["late"]));
        assert_eq!(answer.error_code, ErrorCode::UnknownTopicOrPartition.code());

        let second = client.create_topic("orders", 2, &[]);
        assert_ne!(first, second);
        assert_eq!(client.read_all("orders", 0, 0).len(), 0, "nothing of the old one");
        assert_eq!(client.append("orders", 0, &["new"]), 0);
        let by_id = DeleteTopicsRequestTopic {
            topic_id: second,
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            topics: vec![by_id],
            timeout_ms: 30_000,
            ..Default::default()
        };
        assert_eq!(client.call(6, &request).responses.remove(0).error_code, 0);
        broker.stop();

        let broker = setup.start(dir.path());
        assert_eq!(broker.client().topic_id("orders"), None, "and it stays gone");
        broker.stop();
    });
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let mut grow = |count| {
            let topic = CreatePartitionsRequestTopic {
                name: Str::from("orders"),
                count,
                assignments: None,
            };
            let request = CreatePartitionsRequest {
                topics: vec![topic],
                timeout_ms: 30_000,
                ..Default::default()
            };
            ErrorCode::from_code(client.call(3, &request).results.remove(0).error_code)
        };
        assert_eq!(grow(5), ErrorCode::None);
        assert_eq!(grow(3), ErrorCode::InvalidPartitions);
        for partition in 0..5 {
            assert_eq!(client.append("orders", partition, &["x"]), 0);
        }
        broker.stop();
    });
}

#[test]
fn what_cannot_be_created_is_refused_by_name() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        let mut create = |name: &str, partitions, replicas, config: Option<(&str, &str)>| {
            use protocol::messages::create_topics::*;
            let configs = config.map(|(name, value)| CreateTopicsRequestTopicConfig {
                name: Str::copy_from(name),
                value: Some(Str::copy_from(value)),
            });
            let topic = CreateTopicsRequestTopic {
                name: Str::copy_from(name),
                num_partitions: partitions,
                replication_factor: replicas,
                configs: configs.into_iter().collect(),
                ..Default::default()
            };
            let request = CreateTopicsRequest {
                topics: vec![topic],
                ..Default::default()
            };
            let answer = client.call(7, &request).topics.remove(0);
            (
                ErrorCode::from_code(answer.error_code),
                answer.error_message.unwrap_or_default().to_string(),
            )
        };
        assert_eq!(create("orders", 1, 1, None).0, ErrorCode::TopicAlreadyExists);
        assert_eq!(create("or/ders", 1, 1, None).0, ErrorCode::InvalidTopicException);
        assert_eq!(create("fine", 0, 1, None).0, ErrorCode::InvalidPartitions);
        assert_eq!(create("fine", 1, 3, None).0, ErrorCode::InvalidReplicationFactor);
        let (code, words) = create("fine", 1, 1, Some(("retention.msec", "1")));
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(
            words.contains("retention.ms"),
            "names the nearest known one: {words}"
        );
        assert_eq!(
            create("__consumer_offsets", 1, 1, None).0,
            ErrorCode::InvalidTopicException
        );
        broker.stop();
    });
}

#[test]
fn properties_are_told_with_their_sources_and_change_while_running() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.plan(dir.path()).with("log.retention.hours", "2").start();
        let mut client = broker.client();
        client.create_topic("orders", 1, &[("max.message.bytes", "2000")]);
        assert_eq!(
            described(&mut client, TOPIC, "orders", "max.message.bytes"),
            ("2000".into(), 1)
        );
        assert_eq!(
            described(&mut client, TOPIC, "orders", "retention.ms"),
            ("7200000".into(), 4)
        );
        assert_eq!(
            described(&mut client, TOPIC, "orders", "segment.bytes"),
            ("1073741824".into(), 5)
        );
        assert_eq!(
            client
                .produce("orders", 0, batch_of(&[&"x".repeat(3000)]))
                .error_code,
            ErrorCode::MessageTooLarge.code()
        );

        assert_eq!(
            altered(&mut client, TOPIC, "orders", "max.message.bytes", Some("5000")),
            ErrorCode::None
        );
        assert_eq!(
            client
                .produce("orders", 0, batch_of(&[&"x".repeat(3000)]))
                .error_code,
            0
        );
        assert_eq!(
            altered(&mut client, BROKER, "", "log.segment.bytes", Some("1048576")),
            ErrorCode::None
        );
        assert_eq!(
            described(&mut client, TOPIC, "orders", "segment.bytes"),
            ("1048576".into(), 3)
        );
        assert_eq!(
            altered(&mut client, TOPIC, "orders", "max.message.bytes", None),
            ErrorCode::None
        );
        assert_eq!(
            described(&mut client, TOPIC, "orders", "max.message.bytes"),
            ("1048588".into(), 5)
        );
        assert_eq!(
            altered(&mut client, TOPIC, "orders", "retention.ms", Some("soon")),
            ErrorCode::InvalidConfig
        );
        assert_eq!(
            altered(&mut client, TOPIC, "nobody", "retention.ms", Some("1")),
            ErrorCode::UnknownTopicOrPartition
        );
        broker.stop();

        let broker = setup.start(dir.path());
        let mut client = broker.client();
        assert_eq!(
            described(&mut client, TOPIC, "orders", "segment.bytes"),
            ("1048576".into(), 3),
            "kept"
        );
        broker.stop();
    });
}

fn described(client: &mut Client, kind: i8, name: &str, property: &str) -> (String, i8) {
    let resource = DescribeConfigsRequestResource {
        resource_type: kind,
        resource_name: Str::copy_from(name),
        configuration_keys: Some(vec![Str::copy_from(property)]),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let mut result = client.call(4, &request).results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let config = result.configs.remove(0);
    (config.value.unwrap_or_default().to_string(), config.config_source)
}

/// Sets (or takes away) a property of a topic (2) or of brokers (4).
pub(crate) fn altered(
    client: &mut Client,
    kind: i8,
    name: &str,
    property: &str,
    value: Option<&str>,
) -> ErrorCode {
    let config = IncrementalAlterConfigsRequestResourceConfig {
        name: Str::copy_from(property),
        config_operation: i8::from(value.is_none()),
        value: value.map(Str::copy_from),
    };
    let resource = IncrementalAlterConfigsRequestResource {
        resource_type: kind,
        resource_name: Str::copy_from(name),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: false,
    };
    ErrorCode::from_code(client.call(1, &request).responses.remove(0).error_code)
}

#[test]
fn the_cluster_and_its_topics_are_told_in_every_version() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let id = client.create_topic("orders", 3, &[]);
        for version in 0..=13 {
            let topics = if version > 0 { None } else { Some(Vec::new()) };
            let answer = client.call(
                version,
                &MetadataRequest {
                    topics,
                    ..Default::default()
                },
            );
            assert_eq!(answer.brokers.len(), 1, "version {version}");
            assert_eq!(answer.brokers[0].port, i32::from(broker.address.port()));
            assert_eq!(answer.topics.len(), 1);
            assert_eq!(answer.topics[0].partitions.len(), 3);
            assert!(version < 10 || answer.topics[0].topic_id == id);
        }
        for version in 0..=2 {
            let answer = client.call(version, &DescribeClusterRequest::default());
            assert_eq!(
                (answer.error_code, answer.brokers.len()),
                (0, 1),
                "version {version}"
            );
        }
        broker.stop();
    });
}

#[test]
fn replicas_and_the_room_of_their_disk_are_told_in_every_version() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 3, &[]);
        client.create_topic("other", 1, &[]);
        for _ in 0..3 {
            client.append("orders", 1, &[&"x".repeat(1000)]);
        }
        for version in 1..=5 {
            let mut ask = |topics: Option<Vec<(&'static str, Vec<i32>)>>| {
                let topics = topics.map(|topics| {
                    let topic = |(topic, partitions)| DescribeLogDirsRequestTopic {
                        topic: Str::from(topic),
                        partitions,
                    };
                    topics.into_iter().map(topic).collect()
                });
                let answer = client.call(version, &DescribeLogDirsRequest { topics });
                assert_eq!(
                    (answer.error_code, answer.results.len()),
                    (0, 1),
                    "version {version}"
                );
                answer.results.into_iter().next().unwrap()
            };
            let all = ask(None);
            assert_eq!(all.error_code, 0);
            assert!(
                dir.path().ends_with(&*all.log_dir) || all.log_dir.starts_with(dir.path().to_str().unwrap())
            );
            assert_eq!(version >= 4, all.total_bytes > 0, "KIP-827");
            assert!(all.usable_bytes <= all.total_bytes);
            let names: Vec<&str> = all.topics.iter().map(|topic| &*topic.name).collect();
            assert_eq!(names, ["orders", "other"]);
            let numbers: Vec<i32> = all.topics[0]
                .partitions
                .iter()
                .map(|p| p.partition_index)
                .collect();
            assert_eq!(numbers, [0, 1, 2]);
            let sizes: Vec<i64> = all.topics[0]
                .partitions
                .iter()
                .map(|p| p.partition_size)
                .collect();
            assert!(
                sizes[0] == 0 && (3000..4000).contains(&sizes[1]) && sizes[2] == 0,
                "{sizes:?}"
            );
            assert!(
                all.topics[0]
                    .partitions
                    .iter()
                    .all(|p| p.offset_lag == 0 && !p.is_future_key)
            );

            let some = ask(Some(vec![("orders", vec![1, 9]), ("nobody", vec![0])]));
            assert_eq!(some.topics.len(), 1);
            assert_eq!(some.topics[0].partitions, [all.topics[0].partitions[1].clone()]);
            assert!(ask(Some(Vec::new())).topics.is_empty());
        }
        broker.stop();
    });
}

#[test]
fn features_are_told_and_other_levels_are_refused_by_name() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let told = client.call(3, &ApiVersionsRequest::default());
        assert!(told.finalized_features_epoch >= 0);
        let level = |name: &str| {
            let found = told.finalized_features.iter().find(|found| *found.name == *name);
            found.map(|found| (found.min_version_level, found.max_version_level))
        };
        assert_eq!(level("kraft.version"), Some((1, 1)));
        let (_, metadata) = level("metadata.version").unwrap();
        assert_eq!(level("transaction.version"), None, "not served");
        for version in 0..=2 {
            let mut ask = |features: &[(&'static str, i16)]| {
                let update = |(feature, level): &(&'static str, i16)| UpdateFeaturesRequestFeatureUpdate {
                    feature: Str::from(*feature),
                    max_version_level: *level,
                    ..Default::default()
                };
                let request = UpdateFeaturesRequest {
                    feature_updates: features.iter().map(update).collect(),
                    ..Default::default()
                };
                let answer = client.call(version, &request);
                let of_features = answer.results.iter().map(|result| result.error_code);
                let message = answer.error_message.clone().unwrap_or_default();
                let words = answer
                    .results
                    .iter()
                    .filter_map(|result| result.error_message.clone());
                let words: String = words.map(|word| word.to_string()).collect();
                (
                    answer.error_code,
                    of_features.collect::<Vec<_>>(),
                    format!("{message}{words}"),
                )
            };
            let (code, results, _) = ask(&[("metadata.version", metadata)]);
            assert_eq!((code, results.iter().sum::<i16>()), (0, 0), "version {version}");
            let invalid = ErrorCode::InvalidUpdateVersion.code();
            let (code, results, words) = ask(&[("kraft.version", 1), ("metadata.version", metadata + 1)]);
            match version {
                2 => assert_eq!((code, results), (invalid, vec![])),
                _ => assert_eq!((code, results), (0, vec![0, invalid])),
            }
            assert!(
                words.contains("metadata.version") && words.contains(&metadata.to_string()),
                "{words}"
            );
            let (code, results, words) = ask(&[("nonsense.version", 1)]);
            assert!(code == invalid || results == [invalid]);
            assert!(words.contains("nonsense.version"), "{words}");
        }
        broker.stop();
    });
}

#[test]
fn many_partitions_are_told_in_pages() {
    for (asked, limit, most) in [(2, "2000", 2), (1000, "3", 3), (-1, "3", 1)] {
        told_in_pages(asked, limit, most);
    }
}

/// A client asks for pages of `asked` partitions, the broker is told `limit`, and no page is larger than `most`.
fn told_in_pages(asked: i32, limit: &str, most: usize) {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("max.request.partition.size.limit", limit)
            .start();
        let mut client = broker.client();
        client.create_topic("a", 3, &[]);
        client.create_topic("b", 4, &[]);
        let topics = ["a", "b"].map(|name| DescribeTopicPartitionsRequestTopic {
            name: Str::from(name),
        });
        let mut request = DescribeTopicPartitionsRequest {
            topics: topics.to_vec(),
            response_partition_limit: asked,
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = client.call(0, &request);
            let count: usize = page.topics.iter().map(|topic| topic.partitions.len()).sum();
            assert!(count <= most);
            for topic in &page.topics {
                let name = topic.name.clone().unwrap_or_default().to_string();
                seen.extend(
                    topic
                        .partitions
                        .iter()
                        .map(|partition| (name.clone(), partition.partition_index)),
                );
            }
            let Some(next) = page.next_cursor else { break };
            request.cursor = Some(DescribeTopicPartitionsRequestCursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
            });
        }
        let expected: Vec<(String, i32)> = [("a", 3), ("b", 4)]
            .iter()
            .flat_map(|(name, n)| (0..*n).map(|p| (name.to_string(), p)))
            .collect();
        assert_eq!(seen, expected);
        broker.stop();
    });
}
