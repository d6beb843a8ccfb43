//! A replica whose log has a corrupt middle: it leaves the in-sync set before it cuts and fetches again, and only where
//! another replica has what it gives up.
//!
//! The partition always begins a new leader epoch, also under the same leader: what the replica said of its progress before
//! counts for nothing in it, so that no leader lets it back in on the strength of records that it is about to cut. Owns this
//! decision. Leaves finding damage and cutting to `shard/damage.rs`.

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, TopicPartition};

use super::image::{PartitionImage, changed_record};
use super::isr::{self, Policy, with_isr};
use super::{DamagedReplica, Defaults, ItemError, MetadataImage, Outcome, Record, Reply, election};

/// `node` asks to give up its replicas of `damaged`.
pub(super) fn give_up(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    broker_epoch: i64,
    damaged: &[DamagedReplica],
) -> Outcome {
    if image
        .broker(node)
        .is_none_or(|broker| broker.epoch != broker_epoch)
    {
        let message = format!("broker {node} is not registered in epoch {broker_epoch}");
        return Outcome {
            records: Vec::new(),
            reply: Reply::GiveUpDamaged(Err(ItemError::new(ErrorCode::StaleBrokerEpoch, message))),
        };
    }
    let mut records: Vec<Record> = Vec::new();
    let mut replies = Vec::with_capacity(damaged.len());
    for replica in damaged {
        let TopicPartition { topic_id, partition } = replica.partition;
        replies.push(give_up_one(image, defaults, node, replica).map(|changed| {
            records.push(changed_record(topic_id, partition, &changed).into());
        }));
    }
    Outcome {
        records,
        reply: Reply::GiveUpDamaged(Ok(replies)),
    }
}

/// Whether another replica of the partition could serve what `node` gives up, as far as this image knows.
pub fn others_have_it(image: &MetadataImage, node: NodeId, id: &TopicPartition) -> bool {
    // What the properties say only decides who stays eligible.
    let policy = Policy {
        min_isr: 1,
        unclean: false,
        synced: true,
    };
    image
        .partition(id.topic_id, id.partition)
        .is_some_and(|partition| without(image, partition, node, policy).is_some())
}

fn give_up_one(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    replica: &DamagedReplica,
) -> Result<PartitionImage, ItemError> {
    let TopicPartition { topic_id, partition } = replica.partition;
    let (Some(topic), Some(current)) = (image.topic_by_id(topic_id), image.partition(topic_id, partition))
    else {
        return Err(ItemError::new(
            ErrorCode::UnknownTopicOrPartition,
            "no such partition",
        ));
    };
    let refuse = |code, words: String| {
        Err(ItemError::new(
            code,
            format!("{}-{partition}: {words}", topic.name),
        ))
    };
    if !current.replicas.contains(&node) {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("broker {node} holds no replica"),
        );
    }
    if current.leader_epoch != replica.leader_epoch {
        let words = format!(
            "leader epoch {} is asked for, it is at {}",
            replica.leader_epoch.0, current.leader_epoch.0
        );
        return refuse(ErrorCode::FencedLeaderEpoch, words);
    }
    match without(image, current, node, isr::policy(image, topic, defaults)) {
        Some(changed) => Ok(changed),
        None => refuse(
            ErrorCode::EligibleLeadersNotAvailable,
            format!("no other replica that is there has what broker {node} has"),
        ),
    }
}

/// The partition led by another replica, with `node` neither in sync nor eligible. None if nobody else can lead it without
/// losing what was acknowledged.
fn without(
    image: &MetadataImage,
    partition: &PartitionImage,
    node: NodeId,
    policy: Policy,
) -> Option<PartitionImage> {
    let left = partition.isr.iter().copied().filter(|other| *other != node);
    let mut changed = with_isr(partition, left.collect(), policy);
    changed.elr.retain(|other| *other != node);
    let serves = |other: NodeId| other != node && image.serves(other);
    // Who leads goes on leading.
    let leader = partition
        .leader
        .filter(|leader| serves(*leader))
        .or_else(|| election::elect(&changed, serves, false))?;
    Some(isr::led_by(&changed, Some(leader), policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeaderEpoch;

    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided, done, image, new_topic};

    fn created(min_isr: &str) -> (MetadataImage, TopicPartition) {
        let mut image = image(3);
        let mut topic = new_topic("t", 1, 3);
        topic.configs = vec![("min.insync.replicas".into(), Some(min_isr.into()))];
        let create = Request::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        done(&mut image, &create);
        let topic_id = image.topic("t").expect("it was created").id;
        let id = TopicPartition {
            topic_id,
            partition: 0,
        };
        (image, id)
    }

    fn state(image: &MetadataImage, id: TopicPartition) -> PartitionImage {
        image
            .partition(id.topic_id, id.partition)
            .expect("it is there")
            .clone()
    }

    fn ask(image: &MetadataImage, id: TopicPartition, node: NodeId) -> Request {
        Request::GiveUpDamaged {
            node,
            broker_epoch: 1,
            damaged: vec![DamagedReplica {
                partition: id,
                leader_epoch: state(image, id).leader_epoch,
            }],
        }
    }

    fn fence(image: &mut MetadataImage, node: NodeId) {
        let request = Request::FenceBroker {
            node,
            epoch: None,
            fenced: true,
        };
        done(image, &request);
    }

    fn code(image: &MetadataImage, request: &Request) -> Option<ErrorCode> {
        match decided(image, request).reply {
            Reply::GiveUpDamaged(Ok(replies)) => replies[0].as_ref().err().map(|error| error.code),
            Reply::GiveUpDamaged(Err(error)) => Some(error.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_follower_leaves_and_its_leader_begins_a_new_epoch() {
        let (mut image, id) = created("2");
        let before = state(&image, id);
        let request = ask(&image, id, before.replicas[1]);
        done(&mut image, &request);
        let after = state(&image, id);
        assert_eq!(after.leader, before.leader);
        assert_eq!(after.isr, [before.replicas[0], before.replicas[2]]);
        assert_eq!(after.leader_epoch, LeaderEpoch(before.leader_epoch.0 + 1));
        assert_eq!(
            code(&image, &request),
            Some(ErrorCode::FencedLeaderEpoch),
            "once is enough"
        );
    }

    #[test]
    fn a_leader_is_followed_by_one_that_has_everything_also_by_one_that_is_only_eligible() {
        let (mut image, id) = created("2");
        let before = state(&image, id);
        let [first, second, third] = before.replicas[..] else {
            panic!("{before:?}")
        };
        let request = ask(&image, id, first);
        done(&mut image, &request);
        let after = state(&image, id);
        assert_eq!(
            (after.leader, &after.isr[..]),
            (Some(second), &[second, third][..])
        );

        // Too few are left: it is not eligible either.
        let request = ask(&image, id, second);
        done(&mut image, &request);
        let after = state(&image, id);
        assert_eq!(
            (after.leader, &after.isr[..], &after.elr[..]),
            (Some(third), &[third][..], &[][..])
        );

        let (mut image, id) = created("3");
        fence(&mut image, second);
        fence(&mut image, third);
        let unfence = Request::FenceBroker {
            node: third,
            epoch: None,
            fenced: false,
        };
        done(&mut image, &unfence);
        assert_eq!(state(&image, id).isr, [first]);
        let request = ask(&image, id, first);
        done(&mut image, &request);
        let after = state(&image, id);
        assert_eq!(
            (after.leader, &after.isr[..], &after.elr[..]),
            (Some(third), &[third][..], &[second][..])
        );
    }

    #[test]
    fn the_last_one_that_has_it_keeps_it() {
        let (mut image, id) = created("1");
        let before = state(&image, id);
        let [first, second, third] = before.replicas[..] else {
            panic!("{before:?}")
        };
        fence(&mut image, second);
        fence(&mut image, third);
        let request = ask(&image, id, first);
        assert_eq!(
            code(&image, &request),
            Some(ErrorCode::EligibleLeadersNotAvailable)
        );
        assert!(!others_have_it(&image, first, &id));
        assert!(decided(&image, &request).records.is_empty());
        // A replica that is not in sync has nobody to fetch from while nobody leads.
        fence(&mut image, first);
        let request = ask(&image, id, second);
        assert_eq!(
            code(&image, &request),
            Some(ErrorCode::EligibleLeadersNotAvailable)
        );
    }

    #[test]
    fn of_an_earlier_life_nothing_is_taken() {
        let (image, id) = created("2");
        let node = state(&image, id).replicas[0];
        let Request::GiveUpDamaged { damaged, .. } = ask(&image, id, node) else {
            panic!("another request")
        };
        let request = Request::GiveUpDamaged {
            node,
            broker_epoch: 0,
            damaged,
        };
        assert_eq!(code(&image, &request), Some(ErrorCode::StaleBrokerEpoch));
    }
}
