//! Topics are created and deleted.
//!
//! Owns names, counts, placements given by hand, and the order of checks. Leaves property values to `configs.rs`, where
//! replicas go to `assign.rs`, and partitions added later to `partitions.rs` (which shares the placement checks).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, TopicId};

use super::assign::{Places, seed_of};
use super::{
    Created, Deleted, Given, ItemError, MetadataImage, NewTopic, Outcome, Record, Reply, TopicRef,
    TopicReply, configs, record,
};

/// As in Kafka: a name becomes a directory name, with room for the partition number and a suffix.
const LONGEST_NAME: usize = 249;
/// Partitions one request may create in all, as in Kafka: more would hold the quorum up for everybody.
pub(super) const MOST_PARTITIONS: u64 = 10_000;

/// Creates topics, each on its own: one that is refused does not hold up the others.
pub(super) fn create(
    image: &MetadataImage,
    given: &mut Given<'_>,
    topics: &[NewTopic],
    validate_only: bool,
) -> Outcome {
    let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
    // The topics of this request see each other, so that two of them cannot collide.
    let mut after = image.clone();
    let mut records = Vec::new();
    let mut replies = Vec::with_capacity(topics.len());
    let mut budget = MOST_PARTITIONS;
    for topic in topics {
        let result = if twice.contains(topic.name.as_str()) {
            Err(found_twice(&topic.name))
        } else {
            create_one(&after, given, topic, &mut budget)
        };
        let result = result.map(|(created, new)| {
            after
                .apply_each(&new)
                .expect("records of a checked topic fit the image they were checked against");
            records.extend(new);
            created
        });
        replies.push(TopicReply {
            name: topic.name.as_str().into(),
            result,
        });
    }
    if validate_only {
        records.clear();
    }
    Outcome {
        records,
        reply: Reply::CreateTopics(replies),
    }
}

fn create_one(
    image: &MetadataImage,
    given: &mut Given<'_>,
    topic: &NewTopic,
    budget: &mut u64,
) -> Result<(Created, Vec<Record>), ItemError> {
    check_name(&topic.name)?;
    if image.topic_ids.contains_key(topic.name.as_str()) {
        return Err(ItemError::new(
            ErrorCode::TopicAlreadyExists,
            format!("topic {} exists already", topic.name),
        ));
    }
    if let Some(other) = image.collision(&topic.name) {
        return Err(ItemError::new(
            ErrorCode::InvalidTopicException,
            format!(
                "topic {} differs from the existing topic {other} only in . and _, which would be one name in metrics",
                topic.name
            ),
        ));
    }
    let configs = configs::of_new_topic(&topic.name, &topic.configs)?;
    let id = fresh_topic_id(given);
    let replicas = place(image, given, topic, id)?;
    spend(budget, replicas.len() as u64)?;

    let created = Created {
        id,
        partitions: replicas.len() as i32,
        replication_factor: replicas.first().map_or(0, Vec::len) as i16,
        configs: configs.clone(),
    };
    let records = records_of(image, id, &topic.name, replicas, configs);
    Ok((created, records))
}

fn records_of(
    image: &MetadataImage,
    id: TopicId,
    name: &str,
    replicas: Vec<Vec<NodeId>>,
    configs: BTreeMap<String, String>,
) -> Vec<Record> {
    let mut records = vec![
        record::TopicCreated {
            id,
            name: name.into(),
        }
        .into(),
    ];
    for (number, replicas) in replicas.into_iter().enumerate() {
        records.push(new_partition(image, id, number as i32, replicas));
    }
    for (name, value) in configs {
        records.push(
            record::TopicConfig {
                topic: id,
                name: name.into(),
                value: Some(value.into()),
            }
            .into(),
        );
    }
    records
}

/// A partition that begins: every replica whose broker serves is in sync with nothing, and the first of them leads.
pub(super) fn new_partition(
    image: &MetadataImage,
    topic: TopicId,
    partition: i32,
    replicas: Vec<NodeId>,
) -> Record {
    let alive = |node: &NodeId| image.serves(*node);
    let serving: Vec<NodeId> = replicas.iter().copied().filter(alive).collect();
    record::PartitionCreated {
        topic,
        partition,
        leader: serving.first().copied(),
        // With nobody alive, everybody is in sync with nothing: whoever comes first may lead.
        isr: if serving.is_empty() {
            replicas.clone()
        } else {
            serving
        },
        replicas,
    }
    .into()
}

fn place(
    image: &MetadataImage,
    given: &Given<'_>,
    topic: &NewTopic,
    id: TopicId,
) -> Result<Vec<Vec<NodeId>>, ItemError> {
    if !topic.assignments.is_empty() {
        return placed_by_hand(image, topic);
    }
    let partitions = match topic.partitions {
        -1 => given.defaults.partitions,
        count if count < 1 => {
            return Err(ItemError::new(
                ErrorCode::InvalidPartitions,
                format!("{count} partitions: a topic has at least 1 (-1 means the default)"),
            ));
        }
        count => count,
    };
    if partitions as u64 > MOST_PARTITIONS {
        return Err(too_many_partitions());
    }
    let wanted = match topic.replication_factor {
        -1 => given.defaults.replication_factor,
        factor if factor < 1 => {
            return Err(ItemError::new(
                ErrorCode::InvalidReplicationFactor,
                format!("replication factor {factor}: it is at least 1 (-1 means the default)"),
            ));
        }
        factor => factor,
    } as usize;
    let places = Places::of(image, wanted);
    if places.len() < wanted {
        return Err(ItemError::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "replication factor {wanted} is larger than the number of brokers, {}",
                places.len()
            ),
        ));
    }
    let seed = seed_of(id);
    Ok((0..partitions as usize)
        .map(|number| places.replicas(seed, number, wanted))
        .collect())
}

fn placed_by_hand(image: &MetadataImage, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, ItemError> {
    if topic.partitions != -1 || topic.replication_factor != -1 {
        return Err(ItemError::new(
            ErrorCode::InvalidRequest,
            "with replicas placed by hand, partition count and replication factor must both be -1",
        ));
    }
    let mut by_number: BTreeMap<i32, &Vec<NodeId>> = BTreeMap::new();
    for (number, replicas) in &topic.assignments {
        if by_number.insert(*number, replicas).is_some() {
            return Err(bad_placement(format!("partition {number} is placed twice")));
        }
    }
    let consecutive = by_number
        .keys()
        .enumerate()
        .all(|(index, number)| index as i32 == *number);
    if !consecutive {
        return Err(bad_placement(
            "partitions placed by hand must be numbered 0, 1, 2, … without a gap".into(),
        ));
    }
    let replicas: Vec<Vec<NodeId>> = by_number.into_values().cloned().collect();
    check_placement(image, 0, replicas[0].len(), &replicas)?;
    Ok(replicas)
}

/// Placements given by hand for partitions from `first` on: real brokers, no broker twice, all of one size.
pub(super) fn check_placement(
    image: &MetadataImage,
    first: usize,
    factor: usize,
    replicas: &[Vec<NodeId>],
) -> Result<(), ItemError> {
    for (index, nodes) in replicas.iter().enumerate() {
        let number = first + index;
        if nodes.is_empty() {
            return Err(bad_placement(format!(
                "partition {number} is placed on no broker"
            )));
        }
        if nodes.len() != factor {
            return Err(bad_placement(format!(
                "partition {number} has {} replicas where the others have {factor}",
                nodes.len()
            )));
        }
        if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
            return Err(bad_placement(format!("partition {number} names a broker twice")));
        }
        if let Some(unknown) = nodes.iter().find(|node| image.broker(**node).is_none()) {
            return Err(bad_placement(format!(
                "partition {number} is placed on broker {unknown}, which is not registered"
            )));
        }
    }
    Ok(())
}

/// Deletes topics by name or id, each on its own.
pub(super) fn delete(image: &MetadataImage, topics: &[TopicRef]) -> Outcome {
    let mut gone = BTreeSet::new();
    let mut records = Vec::new();
    let mut replies = Vec::with_capacity(topics.len());
    for topic in topics {
        let (name, result) = delete_one(image, topic);
        let result = result.and_then(|deleted| {
            if !gone.insert(deleted.id) {
                return Err(found_twice(&name));
            }
            records.push(record::TopicDeleted { id: deleted.id }.into());
            Ok(deleted)
        });
        replies.push(TopicReply { name, result });
    }
    Outcome {
        records,
        reply: Reply::DeleteTopics(replies),
    }
}

fn delete_one(image: &MetadataImage, topic: &TopicRef) -> (Arc<str>, Result<Deleted, ItemError>) {
    match topic {
        TopicRef::Name(name) => {
            let found = image.topic(name).map(|topic| Deleted { id: topic.id });
            let unknown = || {
                ItemError::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic {name}"),
                )
            };
            (name.as_str().into(), found.ok_or_else(unknown))
        }
        TopicRef::Id(id) => match image.topic_by_id(*id) {
            Some(topic) => (topic.name.clone(), Ok(Deleted { id: *id })),
            None => {
                let message = format!("there is no topic with id {id}");
                ("".into(), Err(ItemError::new(ErrorCode::UnknownTopicId, message)))
            }
        },
    }
}

/// Kafka's rules for topic names: they become directory names and metric names.
pub(super) fn check_name(name: &str) -> Result<(), ItemError> {
    let refuse = |message: String| Err(ItemError::new(ErrorCode::InvalidTopicException, message));
    if name.is_empty() {
        return refuse("a topic name is not empty".into());
    }
    if name == "." || name == ".." {
        return refuse(format!("a topic cannot be called {name:?}"));
    }
    if name.len() > LONGEST_NAME {
        return refuse(format!(
            "topic name of {} characters: at most {LONGEST_NAME} are allowed",
            name.len()
        ));
    }
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    match name.chars().find(|&letter| !allowed(letter)) {
        Some(wrong) => refuse(format!(
            "topic name {name:?} contains {wrong:?}: only ASCII letters, digits, '.', '_' and '-' are allowed"
        )),
        None => Ok(()),
    }
}

pub(super) fn spend(budget: &mut u64, partitions: u64) -> Result<(), ItemError> {
    match budget.checked_sub(partitions) {
        Some(left) => {
            *budget = left;
            Ok(())
        }
        None => Err(too_many_partitions()),
    }
}

fn too_many_partitions() -> ItemError {
    ItemError::new(
        ErrorCode::PolicyViolation,
        format!("more than {MOST_PARTITIONS} partitions in one request: ask in several requests"),
    )
}

fn bad_placement(message: String) -> ItemError {
    ItemError::new(ErrorCode::InvalidReplicaAssignment, message)
}

/// An id no topic should ever have had: random, and neither of Kafka's two reserved ones (zero, and one for the metadata
/// topic).
fn fresh_topic_id(given: &mut Given<'_>) -> TopicId {
    loop {
        let id = (given.fresh_id)();
        let reserved = id[..15].iter().all(|&byte| byte == 0) && id[15] <= 1;
        if !reserved {
            return TopicId(id);
        }
    }
}

/// Names that occur more than once. Kafka refuses all of their items: which one was meant?
pub(super) fn named_twice<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

pub(super) fn found_twice(name: &str) -> ItemError {
    ItemError::new(
        ErrorCode::InvalidRequest,
        format!("topic {name} is named twice in one request"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided, done, image, new_topic};

    fn create(topics: Vec<NewTopic>) -> Request {
        Request::CreateTopics {
            topics,
            validate_only: false,
        }
    }

    /// The code of each topic of a reply; none where it went well.
    fn codes(reply: Reply) -> Vec<Option<ErrorCode>> {
        match reply {
            Reply::CreateTopics(topics) => topics
                .into_iter()
                .map(|t| t.result.err().map(|e| e.code))
                .collect(),
            Reply::DeleteTopics(topics) => topics
                .into_iter()
                .map(|t| t.result.err().map(|e| e.code))
                .collect(),
            other => panic!("not about topics: {other:?}"),
        }
    }

    #[test]
    fn the_table_of_creations() {
        let mut existing = image(3);
        done(&mut existing, &create(vec![new_topic("a.b", 1, 1)]));
        let by_hand = |assignments: Vec<(i32, Vec<i32>)>| NewTopic {
            assignments: assignments
                .into_iter()
                .map(|(number, nodes)| (number, nodes.into_iter().map(NodeId).collect()))
                .collect(),
            ..new_topic("t", -1, -1)
        };
        let long = "x".repeat(249);
        let rows: Vec<(NewTopic, Option<ErrorCode>)> = vec![
            (new_topic("t", 1, 1), None),
            (new_topic("t", -1, -1), None),
            (new_topic("t", 5, 3), None),
            (new_topic(&long, 1, 1), None),
            (
                new_topic(&format!("{long}x"), 1, 1),
                Some(ErrorCode::InvalidTopicException),
            ),
            (new_topic("", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic(".", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic("..", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic("a/b", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic("größe", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic("a.b", 1, 1), Some(ErrorCode::TopicAlreadyExists)),
            (new_topic("a_b", 1, 1), Some(ErrorCode::InvalidTopicException)),
            (new_topic("t", 0, 1), Some(ErrorCode::InvalidPartitions)),
            (new_topic("t", -2, 1), Some(ErrorCode::InvalidPartitions)),
            (new_topic("t", 10_001, 1), Some(ErrorCode::PolicyViolation)),
            (new_topic("t", i32::MAX, 1), Some(ErrorCode::PolicyViolation)),
            (new_topic("t", 1, 0), Some(ErrorCode::InvalidReplicationFactor)),
            (new_topic("t", 1, 4), Some(ErrorCode::InvalidReplicationFactor)),
            (by_hand(vec![(0, vec![1, 0]), (1, vec![2, 1])]), None),
            (by_hand(vec![(1, vec![1]), (0, vec![2])]), None),
            (
                by_hand(vec![(0, vec![1]), (2, vec![2])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                by_hand(vec![(0, vec![1]), (0, vec![2])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                by_hand(vec![(0, vec![])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                by_hand(vec![(0, vec![1, 1])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                by_hand(vec![(0, vec![1, 2]), (1, vec![1])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                by_hand(vec![(0, vec![9])]),
                Some(ErrorCode::InvalidReplicaAssignment),
            ),
            (
                NewTopic {
                    partitions: 1,
                    ..by_hand(vec![(0, vec![1])])
                },
                Some(ErrorCode::InvalidRequest),
            ),
        ];
        for (topic, expected) in rows {
            let outcome = decided(&existing, &create(vec![topic.clone()]));
            assert_eq!(codes(outcome.reply), [expected], "{topic:?}");
            assert_eq!(outcome.records.is_empty(), expected.is_some(), "{topic:?}");
        }
    }

    #[test]
    fn a_created_topic_is_as_its_reply_says() {
        let mut image = image(3);
        let Reply::CreateTopics(replies) = done(&mut image, &create(vec![new_topic("orders", -1, 2)])) else {
            panic!("a reply about topics");
        };
        let created = replies[0].result.as_ref().unwrap();
        assert_eq!((created.partitions, created.replication_factor), (3, 2));
        let topic = image.topic("orders").unwrap();
        assert_eq!((topic.id, topic.partitions.len()), (created.id, 3));
        for partition in &topic.partitions {
            assert_eq!(partition.leader, Some(partition.replicas[0]));
            assert_eq!((partition.isr.len(), partition.leader_epoch.0), (2, 0));
        }
    }

    #[test]
    fn topics_of_one_request_see_each_other() {
        let image = image(1);
        let topics = ["x.y", "x_y", "d", "d", "ok"]
            .map(|name| new_topic(name, 1, 1))
            .to_vec();
        let outcome = decided(&image, &create(topics));
        let collides = Some(ErrorCode::InvalidTopicException);
        let twice = Some(ErrorCode::InvalidRequest);
        assert_eq!(codes(outcome.reply), [None, collides, twice, twice, None]);
    }

    #[test]
    fn partitions_are_counted_over_the_whole_request() {
        let image = image(1);
        let topics = vec![
            new_topic("a", 9_000, 1),
            new_topic("b", 2_000, 1),
            new_topic("c", 1_000, 1),
        ];
        let outcome = decided(&image, &create(topics));
        assert_eq!(
            codes(outcome.reply),
            [None, Some(ErrorCode::PolicyViolation), None]
        );
    }

    #[test]
    fn validate_only_answers_the_same_and_writes_nothing() {
        let image = image(1);
        let request = Request::CreateTopics {
            topics: vec![new_topic("t", 2, 1), new_topic("t/", 2, 1)],
            validate_only: true,
        };
        let outcome = decided(&image, &request);
        assert!(outcome.records.is_empty());
        assert_eq!(
            codes(outcome.reply),
            [None, Some(ErrorCode::InvalidTopicException)]
        );
    }

    #[test]
    fn topics_are_deleted_by_name_or_id_once() {
        let mut image = image(1);
        done(
            &mut image,
            &create(vec![new_topic("a", 1, 1), new_topic("b", 1, 1)]),
        );
        let id = image.topic("b").unwrap().id;
        let request = Request::DeleteTopics(vec![
            TopicRef::Name("a".into()),
            TopicRef::Id(id),
            TopicRef::Name("b".into()),
            TopicRef::Name("nobody".into()),
            TopicRef::Id(TopicId([9; 16])),
        ]);
        let reply = done(&mut image, &request);
        let expected = [
            None,
            None,
            Some(ErrorCode::InvalidRequest),
            Some(ErrorCode::UnknownTopicOrPartition),
            Some(ErrorCode::UnknownTopicId),
        ];
        assert_eq!(codes(reply), expected);
        assert!(image.topics.is_empty() && image.topic_ids.is_empty());
    }

    #[test]
    fn reserved_ids_are_not_given_to_topics() {
        let mut ids = vec![[7; 16], [0; 16], {
            let mut one = [0; 16];
            one[15] = 1;
            one
        }];
        let mut fresh_id = || ids.pop().unwrap();
        let defaults = crate::metadata::Defaults::default();
        let mut given = Given {
            now_ms: 0,
            fresh_id: &mut fresh_id,
            defaults: &defaults,
            log_ends: &mut Default::default(),
            lives: &|_| false,
        };
        assert_eq!(fresh_topic_id(&mut given), TopicId([7; 16]));
    }
}
