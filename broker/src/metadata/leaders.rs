//! Leaders that somebody asks for: the preferred one where another leads, and, where that is wanted, one that may miss
//! acknowledged records.
//!
//! Owns when an election is needed and possible. Leaves who is chosen to `election.rs`.

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, TopicId, TopicPartition};

use super::image::{PartitionImage, changed_record};
use super::isr::{self, Policy};
use super::{
    ElectedPartition, Given, ItemError, MetadataImage, Outcome, Record, Reply, TopicImage, TopicPartitions,
    UncleanLeader, election,
};

/// ElectLeaders (KIP-460): of the named partitions, or of all. Of all, only those are answered for where something was to
/// be done.
pub(super) fn elect(
    image: &MetadataImage,
    given: &Given<'_>,
    unclean: bool,
    named: Option<&[TopicPartitions]>,
) -> Outcome {
    let mut records = Vec::new();
    let mut replies = Vec::new();
    let mut decide = |topic: &TopicImage, number: i32, always: bool| {
        let result = match topic.partition(number) {
            Some(partition) if unclean => {
                let id = TopicPartition {
                    topic_id: topic.id,
                    partition: number,
                };
                let policy = || isr::policy(image, topic, given.defaults);
                anybody(image, given, &id, partition, policy)
            }
            Some(partition) => preferred(image, partition),
            None => Err(unknown(&topic.name, number)),
        };
        let needless = matches!(&result, Err(error) if error.code == ErrorCode::ElectionNotNeeded);
        if always || !needless {
            let before = topic.partition(number).filter(|_| unclean);
            let elected = before.zip(result.as_ref().ok());
            let unclean = elected
                .and_then(|(before, after)| may_miss_records(image, given, topic, number, before, after));
            let result = result.map(|changed| records.push(record(topic.id, number, &changed)));
            replies.push(ElectedPartition {
                topic: topic.name.clone(),
                partition: number,
                result,
                unclean,
            });
        }
    };
    match named {
        None => {
            for topic in image.topics.values() {
                (0..topic.partitions.len() as i32).for_each(|number| decide(topic, number, false));
            }
        }
        Some(named) => {
            for wanted in named {
                let Some(topic) = image.topic(&wanted.topic) else {
                    continue;
                };
                wanted
                    .partitions
                    .iter()
                    .for_each(|number| decide(topic, *number, true));
            }
        }
    }
    for wanted in named.into_iter().flatten() {
        if image.topic(&wanted.topic).is_none() {
            replies.extend(wanted.partitions.iter().map(|number| ElectedPartition {
                topic: wanted.topic.as_str().into(),
                partition: *number,
                result: Err(unknown(&wanted.topic, *number)),
                unclean: None,
            }));
        }
    }
    Outcome {
        records,
        reply: Reply::ElectLeaders(replies),
    }
}

/// The new leader, where it was not among those that have all that was acknowledged.
fn may_miss_records(
    image: &MetadataImage,
    given: &Given<'_>,
    topic: &TopicImage,
    number: i32,
    before: &PartitionImage,
    after: &PartitionImage,
) -> Option<UncleanLeader> {
    let missing: Vec<NodeId> = before.isr.iter().chain(&before.elr).copied().collect();
    let leader = after.leader.filter(|leader| !missing.contains(leader))?;
    let id = TopicPartition {
        topic_id: topic.id,
        partition: number,
    };
    let said = given.log_ends.longest(image, &id, before);
    let said = said.filter(|(node, _)| *node == leader);
    let (last_epoch, log_end) = said.map_or((-1, -1), |(_, end)| (end.last_epoch, end.log_end));
    Some(UncleanLeader {
        topic: topic.name.clone(),
        partition: number,
        leader,
        last_epoch,
        log_end,
        missing,
    })
}

/// Gives partitions back to their preferred leaders, at most so many at once (`auto.leader.rebalance.enable`).
pub(super) fn balance(image: &MetadataImage, most: usize) -> Outcome {
    let mut records = Vec::new();
    'all: for topic in image.topics.values() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if records.len() == most {
                break 'all;
            }
            if let Ok(changed) = preferred(image, partition) {
                records.push(record(topic.id, number as i32, &changed));
            }
        }
    }
    let moved = records.len() as u64;
    Outcome {
        records,
        reply: Reply::BalanceLeaders(moved),
    }
}

/// A leader where there is none, also one that may miss acknowledged records.
fn anybody(
    image: &MetadataImage,
    given: &Given<'_>,
    id: &TopicPartition,
    partition: &PartitionImage,
    policy: impl FnOnce() -> Policy,
) -> Result<PartitionImage, ItemError> {
    if partition.leader.is_some() {
        return refuse(ErrorCode::ElectionNotNeeded, "the partition has a leader");
    }
    let serves = |node: NodeId| image.serves(node);
    let longest = || given.log_ends.longest(image, id, partition).map(|(node, _)| node);
    let leader = election::elect(partition, serves, false).or_else(longest);
    // Asked for by hand: whoever lives, also where nobody has said yet how far its log goes.
    match leader.or_else(|| election::elect(partition, serves, true)) {
        Some(leader) => Ok(isr::led_by(partition, Some(leader), policy())),
        None => refuse(ErrorCode::EligibleLeadersNotAvailable, "no replica is alive"),
    }
}

fn preferred(image: &MetadataImage, partition: &PartitionImage) -> Result<PartitionImage, ItemError> {
    let first = partition.replicas.first().copied();
    if partition.leader == first {
        return refuse(ErrorCode::ElectionNotNeeded, "the preferred replica leads");
    }
    match first.filter(|node| partition.isr.contains(node) && image.serves(*node)) {
        Some(leader) => Ok(election::with_leader(partition, Some(leader))),
        None => refuse(
            ErrorCode::PreferredLeaderNotAvailable,
            "the preferred replica is not in sync, or not alive",
        ),
    }
}

fn refuse<T>(code: ErrorCode, message: &str) -> Result<T, ItemError> {
    Err(ItemError::new(code, message))
}

fn unknown(topic: &str, partition: i32) -> ItemError {
    ItemError::new(
        ErrorCode::UnknownTopicOrPartition,
        format!("there is no partition {topic}-{partition}"),
    )
}

fn record(topic: TopicId, number: i32, changed: &PartitionImage) -> Record {
    changed_record(topic, number, changed).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metadata::fixtures::{decided, done, image, new_topic};
    use crate::metadata::{IsrChange, Request};

    fn create(image: &mut MetadataImage) -> (NodeId, NodeId) {
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 1, 2)],
            validate_only: false,
        };
        done(image, &create);
        let partition = image.topic("t").unwrap().partition(0).unwrap().clone();
        (partition.replicas[0], partition.replicas[1])
    }

    fn fence(image: &mut MetadataImage, node: NodeId, fenced: bool) {
        let request = Request::FenceBroker {
            node,
            epoch: None,
            fenced,
        };
        done(image, &request);
    }

    fn ask(unclean: bool) -> Request {
        Request::ElectLeaders {
            unclean,
            partitions: Some(vec![TopicPartitions {
                topic: "t".into(),
                partitions: vec![0, 9],
            }]),
        }
    }

    fn codes(image: &MetadataImage, request: &Request) -> Vec<Option<ErrorCode>> {
        match decided(image, request).reply {
            Reply::ElectLeaders(replies) => replies
                .into_iter()
                .map(|reply| reply.result.err().map(|error| error.code))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_preferred_leader_comes_back_once_it_is_in_sync() {
        let mut image = image(2);
        let (first, second) = create(&mut image);
        let unknown = Some(ErrorCode::UnknownTopicOrPartition);
        assert_eq!(
            codes(&image, &ask(false)),
            [Some(ErrorCode::ElectionNotNeeded), unknown]
        );
        fence(&mut image, first, true);
        fence(&mut image, first, false);
        let away = Some(ErrorCode::PreferredLeaderNotAvailable);
        assert_eq!(codes(&image, &ask(false)), [away, unknown], "not in sync yet");
        let partition = image.topic("t").unwrap().partition(0).unwrap().clone();
        let joined = Request::AlterPartition {
            node: second,
            broker_epoch: 1,
            changes: vec![IsrChange {
                partition: TopicPartition {
                    topic_id: image.topic("t").unwrap().id,
                    partition: 0,
                },
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: vec![(first, 1), (second, 1)],
            }],
        };
        done(&mut image, &joined);
        let balanced = decided(&image, &Request::BalanceLeaders { most: 10 });
        assert_eq!(balanced.reply, Reply::BalanceLeaders(1));
        assert_eq!(codes(&image, &ask(false))[0], None);
        done(&mut image, &ask(false));
        assert_eq!(
            image.topic("t").unwrap().partition(0).unwrap().leader,
            Some(first)
        );
        let again = decided(&image, &Request::BalanceLeaders { most: 10 });
        assert!(again.records.is_empty());
    }

    #[test]
    fn an_unclean_leader_only_where_there_is_none_and_it_is_asked_for() {
        let mut image = image(2);
        let (first, second) = create(&mut image);
        assert_eq!(codes(&image, &ask(true))[0], Some(ErrorCode::ElectionNotNeeded));
        fence(&mut image, first, true);
        fence(&mut image, second, true);
        assert_eq!(
            codes(&image, &ask(true))[0],
            Some(ErrorCode::EligibleLeadersNotAvailable)
        );
        fence(&mut image, first, false);
        assert!(
            image.topic("t").unwrap().partition(0).unwrap().leader.is_none(),
            "it may miss records"
        );
        done(&mut image, &ask(true));
        assert_eq!(
            image.topic("t").unwrap().partition(0).unwrap().leader,
            Some(first)
        );
    }
}
