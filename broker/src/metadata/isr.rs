//! Who is in sync with a partition's leader, and who may lead without being so: changes that leaders ask for, and what
//! the end of a broker does.
//!
//! A replica that leaves the ISR while fewer than `min.insync.replicas` stay stays eligible to lead (KIP-966): nothing was
//! acknowledged without it since, because the high watermark does not move below that number (rule of
//! `replication/leader.rs`). Owns these rules. Leaves choosing among the eligible to `election.rs`, whom to fence to
//! `quorum/`.

use std::collections::BTreeSet;

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, TopicId, TopicPartition};

use super::image::{PartitionImage, changed_record};
use super::{
    Defaults, IsrChange, ItemError, MetadataImage, Outcome, PartitionState, Record, Reply, TopicImage,
    election, reassign,
};

/// What a topic's properties say about its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// `min.insync.replicas`.
    pub(super) min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub(super) unclean: bool,
    /// `flush.policy` is sync: what was acknowledged is on the disk, also after a power cut.
    pub(super) synced: bool,
}

/// The properties of a topic: its own, else the cluster's, else what the quorum's leader was given; the same on every broker,
/// and as leaders read them (`shard/topic_config.rs`). `defaults` only where no leader has published any yet.
pub(super) fn policy(image: &MetadataImage, topic: &TopicImage, defaults: &Defaults) -> Policy {
    let text = |name: &str| {
        let own = topic.configs.get(name);
        let cluster = || image.broker_configs.get(&None).and_then(|level| level.get(name));
        let published = || image.static_configs.get(name);
        own.or_else(cluster).or_else(published).map(String::as_str)
    };
    let min_isr = text("min.insync.replicas").and_then(|text| text.trim().parse().ok());
    Policy {
        min_isr: min_isr.unwrap_or(defaults.min_insync_replicas).max(1),
        unclean: text("unclean.leader.election.enable")
            .map_or(defaults.unclean_election, |text| text.trim() == "true"),
        // What the brokers themselves promise (group offsets) is always synced.
        synced: topic.internal
            || text("flush.policy").map_or(defaults.flush_synced, |text| text.trim() == "sync"),
    }
}

/// The partition with `isr` in sync: who left stays eligible if too few are left.
pub(super) fn with_isr(partition: &PartitionImage, isr: Vec<NodeId>, policy: Policy) -> PartitionImage {
    let mut changed = partition.clone();
    let enough = policy.min_isr.min(partition.copies());
    changed.elr = if isr.len() >= enough {
        Vec::new()
    } else {
        let before = partition.elr.iter().chain(&partition.isr).copied();
        let mut elr: Vec<NodeId> = before.filter(|node| !isr.contains(node)).collect();
        elr.sort_unstable();
        elr.dedup();
        elr
    };
    changed.isr = isr;
    changed
}

/// The partition without eligible replicas where enough are in sync: from here on writes are acknowledged without them.
fn settled(mut partition: PartitionImage, policy: Policy) -> PartitionImage {
    if partition.isr.len() >= policy.min_isr.min(partition.copies()) {
        partition.elr.clear();
    }
    partition
}

/// What else changes if `records` change `min.insync.replicas`: where a lower number makes the in-sync set enough, the
/// leader acknowledges without those who were eligible until now. In the same commit, so that no leader acts on the number
/// before.
pub(super) fn resettled(image: &MetadataImage, defaults: &Defaults, records: &[Record]) -> Vec<Record> {
    const NAME: &str = "min.insync.replicas";
    let mut every = false;
    let mut some: BTreeSet<TopicId> = BTreeSet::new();
    for record in records {
        match record {
            Record::TopicConfig(config) if &*config.name == NAME => _ = some.insert(config.topic),
            Record::BrokerConfig(config) if &*config.name == NAME => every = true,
            Record::StaticConfig(config) if &*config.name == NAME => every = true,
            _ => {}
        }
    }
    if !every && some.is_empty() {
        return Vec::new();
    }
    let mut after = image.clone();
    after
        .apply_each(records)
        .expect("properties of what there is always fit");
    let topics = after.topics.values();
    let touched = topics.filter(|topic| every || some.contains(&topic.id));
    let mut more = Vec::new();
    for topic in touched {
        let policy = policy(&after, topic, defaults);
        for (number, partition) in topic.partitions.iter().enumerate() {
            let mut changed = settled(partition.clone(), policy);
            if changed != *partition {
                changed.partition_epoch += 1;
                more.push(record(topic.id, number, &changed));
            }
        }
    }
    more
}

/// How a broker ends or comes back, for the partitions it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// It does not serve any more; its disk holds what it held.
    Away,
    /// Its process ended without a clean shutdown: what was not synced may be lost.
    Unclean,
    /// Its disk is another one: it holds nothing.
    Emptied,
}

/// A partition after `node` went: out of the ISR, and led by somebody else where that is possible. None where nothing
/// changes.
pub(super) fn without(
    partition: &PartitionImage,
    node: NodeId,
    gone: Gone,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> Option<PartitionImage> {
    let is_in = |list: &[NodeId]| list.contains(&node);
    let led = partition.leader == Some(node);
    if !led && !is_in(&partition.isr) && !is_in(&partition.elr) {
        return None;
    }
    let left: Vec<NodeId> = partition
        .isr
        .iter()
        .copied()
        .filter(|other| *other != node)
        .collect();
    let mut changed = with_isr(partition, left, policy);
    let others = changed.isr.iter().chain(&changed.elr).any(|other| *other != node);
    let forgotten = match gone {
        Gone::Away => false,
        // The last one of all stays: nobody is known to have more (KIP-966's last known leader).
        Gone::Unclean => !policy.synced && others,
        Gone::Emptied => true,
    };
    if forgotten {
        changed.elr.retain(|other| *other != node);
    }
    if led {
        let serves = |other: NodeId| other != node && serves(other);
        let leader = election::elect(&changed, serves, false);
        changed = led_by(&changed, leader, policy);
    } else {
        changed.partition_epoch += 1;
    }
    let same = changed.isr == partition.isr && changed.elr == partition.elr && !led;
    (!same).then_some(changed)
}

/// A partition without a leader that `node`, which serves by now, may lead. None where nothing changes.
pub(super) fn with(
    partition: &PartitionImage,
    node: NodeId,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> Option<PartitionImage> {
    if partition.leader.is_some() || !partition.replicas.contains(&node) {
        return None;
    }
    let leader = election::elect(partition, serves, false)?;
    Some(led_by(partition, Some(leader), policy))
}

/// The partition after `leader` was elected. Whoever leads alone may be all that a reassignment was to lead to: it is
/// complete then, as no in-sync set will change to show it.
pub(super) fn led_by(partition: &PartitionImage, leader: Option<NodeId>, policy: Policy) -> PartitionImage {
    let led = settled(election::with_leader(partition, leader), policy);
    let Some(leader) = leader else { return led };
    reassign::complete(&led, policy, |node| node == leader).unwrap_or(led)
}

/// The leaders on `node` ask for other in-sync sets.
pub(super) fn alter(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    broker_epoch: i64,
    changes: &[IsrChange],
) -> Outcome {
    let refuse = |code, message: String| Outcome {
        records: Vec::new(),
        reply: Reply::AlterPartition(Err(ItemError::new(code, message))),
    };
    let Some(broker) = image.broker(node) else {
        return refuse(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {node} is not registered"),
        );
    };
    if broker.epoch != broker_epoch {
        return refuse(
            ErrorCode::StaleBrokerEpoch,
            format!(
                "broker {node} is in epoch {}, the request is of epoch {broker_epoch}",
                broker.epoch
            ),
        );
    }
    let mut records: Vec<Record> = Vec::new();
    let mut replies = Vec::with_capacity(changes.len());
    for change in changes {
        let result = alter_one(image, defaults, node, change).map(|changed| {
            let TopicPartition { topic_id, partition } = change.partition;
            let state = state_of(&changed);
            if image.partition(topic_id, partition) != Some(&changed) {
                records.push(changed_record(topic_id, partition, &changed).into());
            }
            state
        });
        replies.push(result);
    }
    Outcome {
        records,
        reply: Reply::AlterPartition(Ok(replies)),
    }
}

fn state_of(partition: &PartitionImage) -> PartitionState {
    PartitionState {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        isr: partition.isr.clone(),
        partition_epoch: partition.partition_epoch,
    }
}

fn alter_one(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    change: &IsrChange,
) -> Result<PartitionImage, ItemError> {
    let refuse = |code, message: String| Err(ItemError::new(code, message));
    let TopicPartition { topic_id, partition } = change.partition;
    let (Some(topic), Some(current)) = (image.topic_by_id(topic_id), image.partition(topic_id, partition))
    else {
        return refuse(ErrorCode::UnknownTopicOrPartition, "no such partition".into());
    };
    let named = format!("{}-{partition}", topic.name);
    if current.leader_epoch != change.leader_epoch || current.leader != Some(node) {
        return refuse(
            ErrorCode::FencedLeaderEpoch,
            format!(
                "{named}: broker {node} asks as leader of epoch {}, it is led by {} in epoch {}",
                change.leader_epoch.0,
                current
                    .leader
                    .map_or("nobody".to_string(), |leader| leader.to_string()),
                current.leader_epoch.0
            ),
        );
    }
    if current.partition_epoch != change.partition_epoch {
        return refuse(
            ErrorCode::InvalidUpdateVersion,
            format!(
                "{named}: partition epoch {} is asked for, it is at {}",
                change.partition_epoch, current.partition_epoch
            ),
        );
    }
    let wanted = |other: NodeId| change.isr.iter().any(|(node, _)| *node == other);
    if !wanted(node) {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("{named}: the leader must be in its own in-sync set"),
        );
    }
    for (replica, epoch) in &change.isr {
        let Some(broker) = image
            .broker(*replica)
            .filter(|_| current.replicas.contains(replica))
        else {
            return refuse(
                ErrorCode::InvalidRequest,
                format!("{named}: broker {replica} holds no replica"),
            );
        };
        // KIP-903: who restarted since the leader looked may have lost what made it in sync. Who is in and is asked to leave
        // may stay in for as long as too few others are.
        let stays = current.isr.contains(replica) && !broker.fenced;
        if !(broker.serves() || stays) || broker.epoch != *epoch {
            return refuse(
                ErrorCode::IneligibleReplica,
                format!(
                    "{named}: broker {replica} of epoch {epoch} cannot be in sync: it is {} in epoch {}",
                    if broker.serves() {
                        "there"
                    } else {
                        "fenced or stopping"
                    },
                    broker.epoch
                ),
            );
        }
    }
    // In order of preference, as everywhere.
    let isr: Vec<NodeId> = current
        .replicas
        .iter()
        .copied()
        .filter(|node| wanted(*node))
        .collect();
    if isr == current.isr {
        return Ok(current.clone());
    }
    let policy = policy(image, topic, defaults);
    let changed = with_isr(current, isr, policy);
    let mut changed = reassign::complete(&changed, policy, |node| image.serves(node)).unwrap_or(changed);
    changed.partition_epoch = current.partition_epoch + 1;
    Ok(changed)
}

/// Applies `change` to every partition that has a replica on `node`. One pass over all partitions: this happens once per
/// start and end of a broker.
pub(super) fn each_of(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    change: impl Fn(&PartitionImage, Policy) -> Option<PartitionImage>,
) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in image.topics.values() {
        let held = topic
            .partitions
            .iter()
            .any(|partition| partition.replicas.contains(&node));
        if !held {
            continue;
        }
        let policy = policy(image, topic, defaults);
        for (number, partition) in topic.partitions.iter().enumerate() {
            if let Some(changed) = change(partition, policy) {
                records.push(record(topic.id, number, &changed));
            }
        }
    }
    records
}

fn record(topic: TopicId, number: usize, changed: &PartitionImage) -> Record {
    changed_record(topic, number as i32, changed).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeaderEpoch;

    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided, done, image, new_topic};

    const SYNCED: Policy = Policy {
        min_isr: 2,
        unclean: false,
        synced: true,
    };

    fn nodes(list: &[i32]) -> Vec<NodeId> {
        list.iter().map(|&node| NodeId(node)).collect()
    }

    fn partition(isr: &[i32], elr: &[i32], leader: Option<i32>) -> PartitionImage {
        PartitionImage {
            replicas: nodes(&[0, 1, 2]),
            isr: nodes(isr),
            elr: nodes(elr),
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(4),
            partition_epoch: 9,
            adding: Vec::new(),
            removing: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_ends() {
        use Gone::{Away, Emptied, Unclean};
        // isr, elr, leader, who goes, how, synced -> isr, elr, leader
        type State = (&'static [i32], &'static [i32], Option<i32>);
        let rows: &[(State, i32, Gone, bool, State, &str)] = &[
            (
                (&[0, 1, 2], &[], Some(0)),
                0,
                Away,
                true,
                (&[1, 2], &[], Some(1)),
                "handed over",
            ),
            (
                (&[0, 1, 2], &[], Some(0)),
                2,
                Away,
                true,
                (&[0, 1], &[], Some(0)),
                "a follower",
            ),
            (
                (&[0, 1], &[], Some(0)),
                0,
                Away,
                true,
                (&[1], &[0], Some(1)),
                "below min: eligible",
            ),
            (
                (&[1], &[0], Some(1)),
                1,
                Away,
                true,
                (&[0], &[1], Some(0)),
                "the eligible one leads",
            ),
            (
                (&[0, 1], &[], Some(0)),
                0,
                Unclean,
                true,
                (&[1], &[0], Some(1)),
                "its disk holds it",
            ),
            (
                (&[0, 1], &[], Some(0)),
                0,
                Unclean,
                false,
                (&[1], &[], Some(1)),
                "its disk may not",
            ),
            (
                (&[0, 1], &[], Some(0)),
                0,
                Emptied,
                true,
                (&[1], &[], Some(1)),
                "its disk does not",
            ),
        ];
        for ((isr, elr, leader), who, gone, synced, expected, why) in rows {
            let policy = Policy {
                synced: *synced,
                ..SYNCED
            };
            let before = partition(isr, elr, *leader);
            let after = without(&before, NodeId(*who), *gone, policy, |_| true).expect(why);
            let found = (after.isr, after.elr, after.leader);
            let expected = (nodes(expected.0), nodes(expected.1), expected.2.map(NodeId));
            assert_eq!(found, expected, "{why}");
            assert_eq!(after.partition_epoch, 10);
            assert_eq!(
                after.leader_epoch.0,
                if *leader == Some(*who) { 5 } else { 4 },
                "{why}"
            );
        }
    }

    #[test]
    fn the_last_one_leaves_a_partition_that_heals_when_it_returns() {
        let alone = |node: NodeId| node == NodeId(0);
        let dead = without(
            &partition(&[0], &[], Some(0)),
            NodeId(0),
            Gone::Away,
            SYNCED,
            |_| false,
        )
        .unwrap();
        assert_eq!((dead.leader, dead.isr.len()), (None, 0));
        assert_eq!(dead.elr, nodes(&[0]));
        let other = with(&dead, NodeId(1), SYNCED, |node| node == NodeId(1));
        assert!(other.is_none(), "it may miss acknowledged records");
        let healed = with(&dead, NodeId(0), SYNCED, alone).unwrap();
        assert_eq!((healed.leader, healed.isr), (Some(NodeId(0)), nodes(&[0])));
        let unclean = Policy {
            unclean: true,
            ..SYNCED
        };
        let other = with(&dead, NodeId(1), unclean, |node| node == NodeId(1));
        assert!(other.is_none(), "which log is the longest is found out first");
    }

    #[test]
    fn nothing_changes_for_who_was_not_in_it() {
        let before = partition(&[0, 1], &[], Some(0));
        assert!(without(&before, NodeId(2), Gone::Emptied, SYNCED, |_| true).is_none());
    }

    #[test]
    fn the_table_of_requests() {
        let mut image = image(3);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 1, 3)],
            validate_only: false,
        };
        done(&mut image, &create);
        let topic = image.topic("t").unwrap().clone();
        let state = topic.partition(0).unwrap().clone();
        let leader = state.leader.unwrap();
        let follower = state.replicas[1];
        let ask =
            |isr: Vec<(NodeId, i64)>, leader_epoch: i32, partition_epoch: i32| Request::AlterPartition {
                node: leader,
                broker_epoch: 1,
                changes: vec![IsrChange {
                    partition: TopicPartition {
                        topic_id: topic.id,
                        partition: 0,
                    },
                    leader_epoch: LeaderEpoch(leader_epoch),
                    partition_epoch,
                    isr,
                }],
            };
        let code = |request: &Request| match decided(&image, request).reply {
            Reply::AlterPartition(Ok(items)) => items[0].clone().map_err(|error| error.code).err(),
            other => panic!("{other:?}"),
        };
        let pair = |epoch| vec![(leader, 1), (follower, epoch)];
        assert_eq!(code(&ask(pair(1), 0, 0)), None);
        assert_eq!(code(&ask(pair(1), 1, 0)), Some(ErrorCode::FencedLeaderEpoch));
        assert_eq!(code(&ask(pair(1), 0, 3)), Some(ErrorCode::InvalidUpdateVersion));
        assert_eq!(
            code(&ask(pair(0), 0, 0)),
            Some(ErrorCode::IneligibleReplica),
            "restarted since"
        );
        assert_eq!(
            code(&ask(vec![(follower, 1)], 0, 0)),
            Some(ErrorCode::InvalidRequest)
        );
        let stranger = vec![(leader, 1), (NodeId(9), 1)];
        assert_eq!(code(&ask(stranger, 0, 0)), Some(ErrorCode::InvalidRequest));
        done(&mut image, &ask(pair(1), 0, 0));
        let after = image.topic("t").unwrap().partition(0).unwrap();
        assert_eq!(
            (after.isr.len(), after.partition_epoch, after.leader_epoch.0),
            (2, 1, 0)
        );
    }
}
