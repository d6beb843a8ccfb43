//! Elections that may lose acknowledged records (`unclean.leader.election.enable`): the longest log leads, by the epoch of
//! its last record and its end, as replicas compare their histories everywhere (KIP-101).
//!
//! Brokers with a replica of a partition that nobody leads say how far their logs go, again and again while it lasts. What
//! they say is soft state of the quorum's leader, good for one leader epoch. Owns it, and the choice. Leaves replicas that
//! miss nothing to `election.rs`: those lead without this.

use std::collections::BTreeMap;

use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, NodeId, TopicPartition};

use super::image::{PartitionImage, changed_record};
use super::isr;
use super::{Given, ItemError, LogEnd, MetadataImage, Outcome, Record, Reply, UncleanLeader};

/// How long replicas that live and have not said how far they go are waited for, in ms. They say it once a second.
const PATIENCE_MS: i64 = 3_000;
/// Partitions of which something is remembered at most; brokers say it again.
const MOST: usize = 100_000;

/// What brokers said of the logs of partitions that nobody leads.
#[derive(Debug, Default)]
pub struct LogEnds(BTreeMap<TopicPartition, Known>);

#[derive(Debug)]
struct Known {
    leader_epoch: LeaderEpoch,
    /// When the first one spoke.
    since_ms: i64,
    /// By node: the life it spoke in, and its log.
    logs: BTreeMap<NodeId, (i64, LogEnd)>,
}

impl LogEnds {
    fn note(
        &mut self,
        image: &MetadataImage,
        node: NodeId,
        broker_epoch: i64,
        end: &LogEnd,
        now_ms: i64,
    ) -> Option<&Known> {
        if self.0.len() >= MOST && !self.0.contains_key(&end.partition) {
            let leaderless = |id: &TopicPartition| {
                let partition = image.partition(id.topic_id, id.partition);
                partition.is_some_and(|partition| partition.leader.is_none())
            };
            self.0.retain(|id, _| leaderless(id));
            if self.0.len() >= MOST {
                return None;
            }
        }
        let fresh = || Known {
            leader_epoch: end.leader_epoch,
            since_ms: now_ms,
            logs: BTreeMap::new(),
        };
        let known = self.0.entry(end.partition).or_insert_with(fresh);
        if known.leader_epoch != end.leader_epoch {
            *known = fresh();
        }
        known.logs.insert(node, (broker_epoch, end.clone()));
        Some(known)
    }

    /// The longest log among replicas that live, of those that spoke; the preferred one among equals.
    pub(super) fn longest(
        &self,
        image: &MetadataImage,
        id: &TopicPartition,
        partition: &PartitionImage,
    ) -> Option<(NodeId, LogEnd)> {
        let known = self
            .0
            .get(id)
            .filter(|known| known.leader_epoch == partition.leader_epoch)?;
        known.longest(image, partition)
    }
}

impl Known {
    fn of(&self, image: &MetadataImage, node: NodeId) -> Option<&LogEnd> {
        let (life, end) = self.logs.get(&node)?;
        let lives = image.serves(node) && image.broker(node).is_some_and(|broker| broker.epoch == *life);
        lives.then_some(end)
    }

    fn longest(&self, image: &MetadataImage, partition: &PartitionImage) -> Option<(NodeId, LogEnd)> {
        let mut best: Option<(NodeId, &LogEnd)> = None;
        for node in &partition.replicas {
            let Some(end) = self.of(image, *node) else {
                continue;
            };
            let length = |end: &LogEnd| (end.last_epoch, end.log_end);
            if best.is_none_or(|(_, other)| length(end) > length(other)) {
                best = Some((*node, end));
            }
        }
        best.map(|(node, end)| (node, end.clone()))
    }
}

/// `node` says how far the logs of some partitions that nobody leads go.
pub(super) fn noted(
    image: &MetadataImage,
    given: &mut Given<'_>,
    node: NodeId,
    broker_epoch: i64,
    ends: &[LogEnd],
) -> Outcome {
    let lives = image.serves(node)
        && image
            .broker(node)
            .is_some_and(|broker| broker.epoch == broker_epoch);
    if !lives {
        let message = format!("broker {node} does not serve in epoch {broker_epoch}");
        return Outcome {
            records: Vec::new(),
            reply: Reply::LogEnds(Err(ItemError::new(ErrorCode::StaleBrokerEpoch, message))),
        };
    }
    let mut records: Vec<Record> = Vec::new();
    let mut elected = Vec::new();
    for end in ends {
        if let Some((changed, leader)) = decide_one(image, given, node, broker_epoch, end) {
            let TopicPartition { topic_id, partition } = end.partition;
            records.push(changed_record(topic_id, partition, &changed).into());
            elected.push(leader);
        }
    }
    Outcome {
        records,
        reply: Reply::LogEnds(Ok(elected)),
    }
}

fn decide_one(
    image: &MetadataImage,
    given: &mut Given<'_>,
    node: NodeId,
    broker_epoch: i64,
    end: &LogEnd,
) -> Option<(PartitionImage, UncleanLeader)> {
    let id = end.partition;
    let topic = image.topic_by_id(id.topic_id)?;
    let partition = image.partition(id.topic_id, id.partition)?;
    if partition.leader.is_some()
        || partition.leader_epoch != end.leader_epoch
        || !partition.replicas.contains(&node)
    {
        given.log_ends.0.remove(&id);
        return None;
    }
    let known = given
        .log_ends
        .note(image, node, broker_epoch, end, given.now_ms)?;
    let policy = isr::policy(image, topic, given.defaults);
    let silent = |node: &&NodeId| image.serves(**node) && known.of(image, **node).is_none();
    let waits =
        partition.replicas.iter().any(|node| silent(&node)) && given.now_ms - known.since_ms < PATIENCE_MS;
    if !policy.unclean || waits {
        return None;
    }
    let (leader, end) = known.longest(image, partition)?;
    let changed = isr::led_by(partition, Some(leader), policy);
    let told = UncleanLeader {
        topic: topic.name.clone(),
        partition: id.partition,
        leader,
        last_epoch: end.last_epoch,
        log_end: end.log_end,
        missing: partition.isr.iter().chain(&partition.elr).copied().collect(),
    };
    given.log_ends.0.remove(&id);
    Some((changed, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided_at, done, image, new_topic};

    struct Case {
        image: MetadataImage,
        id: TopicPartition,
        log_ends: LogEnds,
    }

    /// A partition of three whose only replica in sync is gone.
    fn leaderless(unclean: bool) -> (Case, [NodeId; 3]) {
        let mut image = image(4);
        let mut topic = new_topic("t", 1, 3);
        topic.configs = vec![
            ("min.insync.replicas".into(), Some("1".into())),
            ("unclean.leader.election.enable".into(), Some(unclean.to_string())),
        ];
        let create = Request::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        done(&mut image, &create);
        let id = TopicPartition {
            topic_id: image.topic("t").expect("it was created").id,
            partition: 0,
        };
        let mut case = Case {
            image,
            id,
            log_ends: LogEnds::default(),
        };
        let replicas = <[NodeId; 3]>::try_from(case.partition().replicas).expect("three");
        let [first, second, third] = replicas;
        for (node, fenced) in [
            (first, true),
            (second, true),
            (third, true),
            (first, false),
            (second, false),
        ] {
            case.fence(node, fenced);
        }
        assert_eq!(
            (case.partition().leader, &case.partition().elr[..]),
            (None, &[third][..])
        );
        (case, replicas)
    }

    impl Case {
        fn partition(&self) -> PartitionImage {
            let found = self.image.partition(self.id.topic_id, self.id.partition);
            found.expect("it is there").clone()
        }

        fn fence(&mut self, node: NodeId, fenced: bool) {
            let request = Request::FenceBroker {
                node,
                epoch: None,
                fenced,
            };
            done(&mut self.image, &request);
        }

        fn say(
            &mut self,
            node: NodeId,
            (last_epoch, log_end): (i32, i64),
            now_ms: i64,
        ) -> Vec<UncleanLeader> {
            let request = Request::LogEnds {
                node,
                broker_epoch: 1,
                ends: vec![LogEnd {
                    partition: self.id,
                    leader_epoch: self.partition().leader_epoch,
                    last_epoch,
                    log_end,
                }],
            };
            let outcome = decided_at(&self.image, &request, now_ms, &mut self.log_ends);
            self.image.apply_each(&outcome.records).expect("they fit");
            match outcome.reply {
                Reply::LogEnds(Ok(elected)) => elected,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_longest_log_leads_by_epoch_and_then_by_end() {
        for (one, other, second_leads) in [
            ((3, 10), (3, 11), true),
            ((3, 10), (4, 2), true),
            ((3, 10), (3, 10), false),
            ((3, 10), (2, 50), false),
            ((-1, 0), (0, 1), true),
        ] {
            let (mut case, [first, second, third]) = leaderless(true);
            assert!(
                case.say(first, one, 0).is_empty(),
                "another one lives and has not spoken"
            );
            let elected = case.say(second, other, 10);
            let leader = if second_leads { second } else { first };
            assert_eq!(elected.len(), 1);
            assert_eq!(
                (elected[0].leader, &elected[0].missing[..]),
                (leader, &[third][..])
            );
            let partition = case.partition();
            assert_eq!(
                (partition.leader, &partition.isr[..]),
                (Some(leader), &[leader][..])
            );
            assert!(case.log_ends.0.is_empty(), "nothing is kept of it");
        }
    }

    #[test]
    fn who_says_nothing_is_not_waited_for_for_ever() {
        let (mut case, [first, ..]) = leaderless(true);
        assert!(case.say(first, (1, 5), 0).is_empty());
        assert!(case.say(first, (1, 5), PATIENCE_MS - 1).is_empty());
        let elected = case.say(first, (1, 5), PATIENCE_MS);
        assert_eq!(elected[0].leader, first);
    }

    #[test]
    fn nobody_leads_where_losses_are_not_allowed_until_it_is_asked_for() {
        let (mut case, [first, second, third]) = leaderless(false);
        for now_ms in [0, 10_000] {
            assert!(case.say(first, (1, 5), now_ms).is_empty());
            assert!(case.say(second, (1, 6), now_ms).is_empty());
        }
        let request = Request::ElectLeaders {
            unclean: true,
            partitions: None,
        };
        let outcome = decided_at(&case.image, &request, 20_000, &mut case.log_ends);
        case.image.apply_each(&outcome.records).expect("they fit");
        assert_eq!(case.partition().leader, Some(second), "the longest known");
        let told = told_by_hand(outcome.reply).expect("it may miss records");
        assert_eq!((told.leader, told.last_epoch, told.log_end), (second, 1, 6));
        assert_eq!(told.missing, [third]);
    }

    fn told_by_hand(reply: Reply) -> Option<UncleanLeader> {
        match reply {
            Reply::ElectLeaders(mut elected) => elected.remove(0).unclean,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_election_by_hand_says_so_only_where_records_may_be_missed() {
        for eligible_is_back in [false, true] {
            let (mut case, [first, _, third]) = leaderless(false);
            if eligible_is_back {
                // It comes back in the image only: a heartbeat would have made it lead.
                let back = crate::metadata::record::BrokerFenced {
                    node: third,
                    fenced: false,
                    stopping: false,
                };
                case.image.apply(&back.into()).expect("it fits");
            }
            let request = Request::ElectLeaders {
                unclean: true,
                partitions: None,
            };
            let outcome = decided_at(&case.image, &request, 0, &mut case.log_ends);
            let told = told_by_hand(outcome.reply);
            match eligible_is_back {
                true => assert_eq!(told, None),
                false => assert_eq!(
                    told.map(|told| (told.leader, told.log_end)),
                    Some((first, -1)),
                    "nobody has said how far its log goes"
                ),
            }
        }
    }

    #[test]
    fn what_was_said_in_an_earlier_life_or_epoch_counts_for_nothing() {
        let (mut case, [first, second, third]) = leaderless(true);
        assert!(case.say(first, (1, 5), 0).is_empty());
        case.fence(first, true);
        let elected = case.say(second, (1, 1), 1);
        assert_eq!(elected[0].leader, second, "who is gone does not lead");
        case.fence(second, true);
        case.fence(first, false);
        assert_eq!(case.partition().leader, None);
        let elected = case.say(first, (1, 2), 2);
        assert_eq!((elected[0].leader, elected[0].log_end), (first, 2));
        assert!(elected[0].missing.contains(&second) && !elected[0].missing.contains(&third));
    }
}
