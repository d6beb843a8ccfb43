//! Moving partitions to other brokers (KIP-455): what a reassignment is, when it is complete, and how it is given up.
//!
//! ```text
//! replicas [1,2]         ask for [2,3]
//! replicas [2,3,1]  adding [3]  removing [1]     3 follows; the partition has one copy more for a while
//! replicas [2,3]                                 once 2 and 3 are both in sync
//! ```
//!
//! Owns these steps. Leaves who is in sync to `isr.rs`, copying to the data plane, which follows whatever the replicas are.
//! Kafka completes as soon as the added replicas are in sync; here all of the target must be, because the copies that are
//! dropped may be those that `min.insync.replicas` counted on.

use std::collections::BTreeSet;

use protocol::error_code::ErrorCode;
use protocol::ids::NodeId;

use super::image::{PartitionImage, changed_record};
use super::isr::{Policy, led_by, policy, with_isr};
use super::topics::{MOST_PARTITIONS, check_placement};
use super::{
    Defaults, ItemError, MetadataImage, Outcome, Reassigned, Record, Reply, TopicImage, TopicReassignments,
    election,
};

/// AlterPartitionReassignments: new targets, or none to give a reassignment up.
pub(super) fn alter(
    image: &MetadataImage,
    defaults: &Defaults,
    topics: &[TopicReassignments],
    may_change_factor: bool,
) -> Outcome {
    let many: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut seen = BTreeSet::new();
    let mut records: Vec<Record> = Vec::new();
    let mut replies = Vec::with_capacity(many);
    for wanted in topics {
        for (number, target) in &wanted.partitions {
            let mut decide = || {
                if many as u64 > MOST_PARTITIONS {
                    return refuse(
                        ErrorCode::PolicyViolation,
                        format!(
                            "more than {MOST_PARTITIONS} partitions in one request: ask in several requests"
                        ),
                    );
                }
                let unknown = || {
                    let message = format!("there is no partition {}-{number}", wanted.topic);
                    ItemError::new(ErrorCode::UnknownTopicOrPartition, message)
                };
                let topic = image.topic(&wanted.topic).ok_or_else(unknown)?;
                let current = topic.partition(*number).ok_or_else(unknown)?;
                if !seen.insert((topic.id, *number)) {
                    let message = format!("{}-{number} is named twice", wanted.topic);
                    return refuse(ErrorCode::InvalidRequest, message);
                }
                let plan = Plan {
                    image,
                    topic,
                    number: *number,
                    current,
                    policy: policy(image, topic, defaults),
                };
                let changed = match target {
                    Some(target) => plan.begin(target, may_change_factor)?,
                    None => plan.cancel()?,
                };
                if changed != *current {
                    records.push(changed_record(topic.id, *number, &changed).into());
                }
                Ok(())
            };
            replies.push(Reassigned {
                topic: wanted.topic.as_str().into(),
                partition: *number,
                result: decide(),
            });
        }
    }
    Outcome {
        records,
        reply: Reply::AlterReassignments(replies),
    }
}

struct Plan<'a> {
    image: &'a MetadataImage,
    topic: &'a TopicImage,
    number: i32,
    current: &'a PartitionImage,
    policy: Policy,
}

impl Plan<'_> {
    fn begin(&self, target: &[NodeId], may_change_factor: bool) -> Result<PartitionImage, ItemError> {
        let number = usize::try_from(self.number).unwrap_or_default();
        check_placement(self.image, number, target.len(), &[target.to_vec()])?;
        let current = self.current;
        let original = without(&current.replicas, &current.adding);
        if !may_change_factor && target.len() != original.len() {
            return refuse(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "{}-{number} has {} replicas, the target has {}, and the request does not allow that",
                    self.topic.name,
                    original.len(),
                    target.len()
                ),
            );
        }
        // What an earlier target was still bringing goes at once: going back must lead to the original replicas.
        let leaving = without(&original, target);
        let mut changed = current.clone();
        changed.adding = without(target, &original);
        changed.replicas = [target, &leaving].concat();
        changed.removing = leaving;
        // In order of preference, as everywhere.
        let isr = within(&changed.replicas, &current.isr);
        if isr.is_empty() && !current.isr.is_empty() {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "{}-{number}: only replicas of the target before are in sync; wait, or name one of them",
                    self.topic.name
                ),
            );
        }
        let changed = regroup(changed, isr, self.policy, |node| self.image.serves(node));
        let complete = complete(&changed, self.policy, |node| self.image.serves(node));
        Ok(self.numbered(complete.unwrap_or(changed)))
    }

    fn cancel(&self) -> Result<PartitionImage, ItemError> {
        let current = self.current;
        let named = format!("{}-{}", self.topic.name, self.number);
        if !current.moves() {
            let message = format!("{named} is not being reassigned");
            return refuse(ErrorCode::NoReassignmentInProgress, message);
        }
        let mut changed = current.clone();
        changed.replicas = without(&current.replicas, &current.adding);
        let isr = without(&current.isr, &current.adding);
        // Who is eligible misses nothing that was acknowledged, whoever else is in sync by now.
        let eligible = !within(&changed.replicas, &current.elr).is_empty();
        if isr.is_empty() && !eligible {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "{named}: of the replicas it had, none is in sync or eligible to lead; going back would lose records. Wait, or complete it"
                ),
            );
        }
        let settled = settle(changed, isr, self.policy, |node| self.image.serves(node));
        Ok(self.numbered(settled))
    }

    /// One partition epoch further, if anything changed.
    fn numbered(&self, mut changed: PartitionImage) -> PartitionImage {
        changed.partition_epoch = self.current.partition_epoch;
        if changed != *self.current {
            changed.partition_epoch += 1;
        }
        changed
    }
}

/// The partition after its reassignment, if it is complete: all of the target are in sync. Leaves the partition epoch to
/// the caller.
pub(super) fn complete(
    partition: &PartitionImage,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> Option<PartitionImage> {
    if !partition.moves() {
        return None;
    }
    let target = without(&partition.replicas, &partition.removing);
    if !target.iter().all(|node| partition.isr.contains(node)) {
        return None;
    }
    let mut changed = partition.clone();
    let isr = without(&partition.isr, &partition.removing);
    changed.replicas = target;
    Some(settle(changed, isr, policy, serves))
}

/// Ends a reassignment with these replicas; whoever leads must be one of them. Leaves the partition epoch to the caller.
fn settle(
    mut changed: PartitionImage,
    isr: Vec<NodeId>,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> PartitionImage {
    changed.adding.clear();
    changed.removing.clear();
    regroup(changed, isr, policy, serves)
}

/// The partition with other replicas than before, and `isr` in sync of them: somebody of those leads, if anybody can.
fn regroup(
    changed: PartitionImage,
    isr: Vec<NodeId>,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> PartitionImage {
    let mut changed = with_isr(&changed, isr, policy);
    let replicas = changed.replicas.clone();
    changed.elr.retain(|node| replicas.contains(node));
    if changed.leader.is_some_and(|leader| changed.isr.contains(&leader)) {
        return changed;
    }
    let leader = election::elect(&changed, serves, false);
    if leader == changed.leader {
        return changed;
    }
    led_by(&changed, leader, policy)
}

/// Those of `nodes` that are in `others`, in their order.
fn within(nodes: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    nodes
        .iter()
        .copied()
        .filter(|node| others.contains(node))
        .collect()
}

fn without(nodes: &[NodeId], gone: &[NodeId]) -> Vec<NodeId> {
    nodes
        .iter()
        .copied()
        .filter(|node| !gone.contains(node))
        .collect()
}

fn refuse<T>(code: ErrorCode, message: String) -> Result<T, ItemError> {
    Err(ItemError::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::{decided, done, image, new_topic};
    use crate::metadata::{IsrChange, Request};
    use protocol::ids::TopicPartition;

    fn nodes(list: &[i32]) -> Vec<NodeId> {
        list.iter().map(|node| NodeId(*node)).collect()
    }

    fn request(target: Option<&[i32]>) -> Request {
        Request::AlterReassignments {
            topics: vec![TopicReassignments {
                topic: "t".into(),
                partitions: vec![(0, target.map(nodes))],
            }],
            may_change_factor: true,
        }
    }

    /// Partition 0 on brokers 0 and 1 of five, led by 0.
    fn begin() -> MetadataImage {
        let mut image = image(5);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 1, 2)],
            validate_only: false,
        };
        done(&mut image, &create);
        done(&mut image, &request(Some(&[0, 1])));
        join(&mut image, &[0, 1]);
        done(&mut image, &request(Some(&[0, 1])));
        done(
            &mut image,
            &Request::ElectLeaders {
                unclean: false,
                partitions: None,
            },
        );
        let there = partition(&image);
        assert_eq!(
            (&there.replicas, &there.isr, there.moves()),
            (&nodes(&[0, 1]), &nodes(&[0, 1]), false)
        );
        image
    }

    fn partition(image: &MetadataImage) -> PartitionImage {
        image.topic("t").unwrap().partition(0).unwrap().clone()
    }

    fn code(image: &MetadataImage, request: &Request) -> Option<ErrorCode> {
        match decided(image, request).reply {
            Reply::AlterReassignments(mut replies) => replies.remove(0).result.err().map(|error| error.code),
            other => panic!("{other:?}"),
        }
    }

    /// The leader finds those in sync, beside itself.
    fn join(image: &mut MetadataImage, isr: &[i32]) {
        let now = partition(image);
        let leader = now.leader.unwrap();
        let wanted = |node: &NodeId| *node == leader || isr.contains(&node.0);
        let isr = now.replicas.iter().copied().filter(wanted);
        let change = Request::AlterPartition {
            node: leader,
            broker_epoch: image.broker(leader).unwrap().epoch,
            changes: vec![IsrChange {
                partition: TopicPartition {
                    topic_id: image.topic("t").unwrap().id,
                    partition: 0,
                },
                leader_epoch: now.leader_epoch,
                partition_epoch: now.partition_epoch,
                isr: isr
                    .map(|node| (node, image.broker(node).unwrap().epoch))
                    .collect(),
            }],
        };
        done(image, &change);
    }

    #[test]
    fn a_partition_moves_once_its_new_replicas_are_in_sync() {
        let mut image = begin();
        let before = partition(&image);
        done(&mut image, &request(Some(&[2, 3])));
        let moving = partition(&image);
        assert_eq!(moving.replicas, nodes(&[2, 3, 0, 1]));
        assert_eq!(
            (&moving.adding, &moving.removing),
            (&nodes(&[2, 3]), &nodes(&[0, 1]))
        );
        assert_eq!(
            (&moving.isr, moving.leader, moving.copies()),
            (&nodes(&[0, 1]), before.leader, 2)
        );
        assert_eq!(moving.partition_epoch, before.partition_epoch + 1);
        join(&mut image, &[0, 1, 2]);
        assert!(partition(&image).moves(), "one of two is there");
        join(&mut image, &[0, 1, 2, 3]);
        let moved = partition(&image);
        assert_eq!((&moved.replicas, &moved.isr), (&nodes(&[2, 3]), &nodes(&[2, 3])));
        assert!(!moved.moves() && moved.elr.is_empty());
        assert_eq!(moved.leader, Some(NodeId(2)), "the leader left");
        assert!(moved.leader_epoch > before.leader_epoch);
    }

    #[test]
    fn a_reassignment_is_given_up_or_replaced() {
        let mut image = begin();
        assert_eq!(
            code(&image, &request(None)),
            Some(ErrorCode::NoReassignmentInProgress)
        );
        done(&mut image, &request(Some(&[1, 2])));
        done(&mut image, &request(None));
        let back = partition(&image);
        assert!(!back.moves());
        assert_eq!((back.replicas.len(), &back.isr.len()), (2, &2));
        done(&mut image, &request(Some(&[1, 2])));
        done(&mut image, &request(Some(&[1, 4])));
        let other = partition(&image);
        assert_eq!((&other.adding, &other.removing), (&nodes(&[4]), &nodes(&[0])));
        assert_eq!((other.replicas.clone(), other.copies()), (nodes(&[1, 4, 0]), 2));
        done(&mut image, &request(None));
        let mut back = partition(&image).replicas;
        back.sort_unstable();
        assert_eq!(back, nodes(&[0, 1]), "the original ones");
        done(&mut image, &request(Some(&[1, 4])));
        join(&mut image, &[0, 1, 4]);
        assert_eq!(partition(&image).replicas, nodes(&[1, 4]));
    }

    #[test]
    fn going_back_to_replicas_that_are_not_in_sync_is_refused() {
        let mut image = begin();
        done(&mut image, &request(Some(&[2, 3])));
        join(&mut image, &[0, 1, 2]);
        for node in [0, 1] {
            let fence = Request::FenceBroker {
                node: NodeId(node),
                epoch: None,
                fenced: true,
            };
            done(&mut image, &fence);
        }
        assert_eq!(partition(&image).isr, nodes(&[2]));
        let refused = code(&image, &request(None));
        assert_eq!(refused, Some(ErrorCode::InvalidReplicaAssignment));
    }

    /// Broker `node` is fenced, or serves again.
    fn fence(image: &mut MetadataImage, node: i32, fenced: bool) {
        let fence = Request::FenceBroker {
            node: NodeId(node),
            epoch: None,
            fenced,
        };
        done(image, &fence);
    }

    #[test]
    fn an_election_that_leaves_the_target_alone_in_sync_completes_the_move() {
        let mut image = begin();
        done(&mut image, &request(Some(&[2])));
        join(&mut image, &[0, 1]);
        for node in [0, 1, 2] {
            fence(&mut image, node, true);
        }
        fence(&mut image, 2, false);
        let waiting = partition(&image);
        assert!(waiting.leader.is_none() && waiting.moves(), "{waiting:?}");
        let elect = Request::ElectLeaders {
            unclean: true,
            partitions: None,
        };
        done(&mut image, &elect);
        let moved = partition(&image);
        assert_eq!(
            (&moved.replicas, &moved.isr, moved.leader),
            (&nodes(&[2]), &nodes(&[2]), Some(NodeId(2)))
        );
        assert!(!moved.moves());
        assert_eq!(moved.partition_epoch, waiting.partition_epoch + 1, "one change");
    }

    #[test]
    fn going_back_to_a_replica_that_is_eligible_is_possible() {
        let mut image = begin();
        done(&mut image, &request(Some(&[2, 3])));
        fence(&mut image, 0, true);
        fence(&mut image, 1, true);
        let dead = partition(&image);
        assert!(dead.isr.is_empty() && !dead.elr.is_empty(), "{dead:?}");
        assert_eq!(code(&image, &request(None)), None);
        done(&mut image, &request(None));
        let back = partition(&image);
        assert!(!back.moves() && back.leader.is_none());
        assert_eq!((back.replicas.len(), &back.elr), (2, &dead.elr));
        let eligible = dead.elr[0];
        fence(&mut image, eligible.0, false);
        assert_eq!(partition(&image).leader, Some(eligible));
    }

    #[test]
    fn bad_targets_are_refused() {
        let image = begin();
        let bad = Some(ErrorCode::InvalidReplicaAssignment);
        for target in [&[][..], &[0, 0], &[0, 9]] {
            assert_eq!(code(&image, &request(Some(target))), bad, "{target:?}");
        }
        let rigid = Request::AlterReassignments {
            topics: vec![TopicReassignments {
                topic: "t".into(),
                partitions: vec![(0, Some(nodes(&[0, 1, 2])))],
            }],
            may_change_factor: false,
        };
        assert_eq!(code(&image, &rigid), Some(ErrorCode::InvalidReplicationFactor));
        let unknown = Request::AlterReassignments {
            topics: vec![TopicReassignments {
                topic: "t".into(),
                partitions: vec![(7, None)],
            }],
            may_change_factor: true,
        };
        assert_eq!(code(&image, &unknown), Some(ErrorCode::UnknownTopicOrPartition));
    }
}
