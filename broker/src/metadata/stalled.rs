//! A broker whose disk answers no more, though its process lives: it can acknowledge nothing, so that others had better lead
//! and its place in the in-sync sets only holds them up.
//!
//! Less than a fence: the broker goes on serving what nobody else can lead, and stays in sets that would be too small without
//! it (`min.insync.replicas`), where nothing would be won. Owns this decision. Leaves noticing the disk to `quorum/`.

use protocol::error_code::ErrorCode;
use protocol::ids::NodeId;

use super::image::PartitionImage;
use super::isr::{self, Gone, Policy};
use super::{Defaults, ItemError, MetadataImage, Outcome, Record, Reply, brokers, record};

/// `node` says that its disk is stalled, or is so no longer.
pub(super) fn decide(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    epoch: i64,
    stalled: bool,
) -> Outcome {
    let Some(broker) = brokers::meant(image, node, Some(epoch)) else {
        return Outcome {
            records: Vec::new(),
            reply: Reply::DiskStalled(Err(brokers::not_registered(node))),
        };
    };
    if broker.fenced {
        let message = format!("broker {node} is fenced already");
        return Outcome {
            records: Vec::new(),
            reply: Reply::DiskStalled(Err(ItemError::new(ErrorCode::InvalidRequest, message))),
        };
    }
    let others = image
        .brokers
        .values()
        .any(|other| other.node != node && other.serves());
    // Where all disks are stalled, or there is one broker, nobody is better than it.
    let marked = stalled && (others || broker.stopping);
    let mut records: Vec<Record> = Vec::new();
    if broker.stopping != marked {
        let mark = record::BrokerFenced {
            node,
            fenced: false,
            stopping: marked,
        };
        records.push(mark.into());
    }
    let marks = records.len();
    let serves = |other: NodeId| other != node && image.serves(other);
    match (stalled, broker.stopping) {
        (true, _) => records.extend(isr::each_of(image, defaults, node, |partition, policy| {
            spared(partition, node, policy, serves)
        })),
        (false, true) => records.extend(isr::each_of(image, defaults, node, |partition, policy| {
            isr::with(partition, node, policy, |other| other == node || serves(other))
        })),
        (false, false) => {}
    }
    let changed = (records.len() - marks) as u64;
    Outcome {
        records,
        reply: Reply::DiskStalled(Ok(changed)),
    }
}

/// The partition without `node` in sync. None where too few would be left that serve.
fn spared(
    partition: &PartitionImage,
    node: NodeId,
    policy: Policy,
    serves: impl Fn(NodeId) -> bool,
) -> Option<PartitionImage> {
    if !partition.isr.contains(&node) {
        return None;
    }
    let left = partition.isr.iter().filter(|other| serves(**other)).count();
    let enough = policy.min_isr.min(partition.copies()).max(1);
    (left >= enough)
        .then(|| isr::without(partition, node, Gone::Away, policy, serves))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Request;
    use crate::metadata::fixtures::{done, image, new_topic};

    fn says(image: &mut MetadataImage, node: i32, stalled: bool) -> u64 {
        let epoch = image.broker(NodeId(node)).expect("it is registered").epoch;
        let request = Request::DiskStalled {
            node: NodeId(node),
            epoch,
            stalled,
        };
        match done(image, &request) {
            Reply::DiskStalled(Ok(changed)) => changed,
            other => panic!("{other:?}"),
        }
    }

    fn cluster(brokers: u8, replicas: i16, min_isr: &str) -> MetadataImage {
        let mut image = image(brokers.into());
        let mut topic = new_topic("t", 1, replicas);
        topic.configs = vec![("min.insync.replicas".into(), Some(min_isr.into()))];
        topic.assignments = vec![(0, (0..i32::from(replicas)).map(NodeId).collect())];
        topic.partitions = -1;
        topic.replication_factor = -1;
        let create = Request::CreateTopics {
            topics: vec![topic],
            validate_only: false,
        };
        done(&mut image, &create);
        image
    }

    fn state(image: &MetadataImage) -> (Option<i32>, Vec<i32>) {
        let partition = &image.topic("t").expect("it was created").partitions[0];
        let isr = partition.isr.iter().map(|node| node.0).collect();
        (partition.leader.map(|leader| leader.0), isr)
    }

    #[test]
    fn leaders_and_followers_leave_where_enough_others_serve() {
        let mut image = cluster(3, 3, "2");
        assert_eq!(says(&mut image, 0, true), 1);
        assert_eq!(state(&image), (Some(1), vec![1, 2]), "the leader leaves");
        assert!(!image.serves(NodeId(0)));
        assert_eq!(says(&mut image, 0, true), 0, "said again it changes nothing");
        assert_eq!(
            says(&mut image, 1, true),
            0,
            "a second one stays: one would be too few"
        );
        assert_eq!(state(&image), (Some(1), vec![1, 2]));
        assert_eq!(says(&mut image, 0, false), 0, "its way back is by being in sync");
        assert!(image.serves(NodeId(0)));
        let mut image = cluster(3, 3, "2");
        assert_eq!(says(&mut image, 2, true), 1);
        assert_eq!(state(&image), (Some(0), vec![0, 1]), "a follower leaves");
    }

    #[test]
    fn what_nobody_else_can_lead_stays() {
        let mut image = cluster(3, 1, "1");
        assert_eq!(says(&mut image, 0, true), 0);
        assert_eq!(state(&image), (Some(0), vec![0]));
        let mut image = cluster(1, 1, "1");
        assert_eq!(says(&mut image, 0, true), 0);
        assert!(image.serves(NodeId(0)), "a lone broker has nobody to leave to");
    }

    #[test]
    fn one_that_comes_back_leads_what_nobody_leads() {
        let mut image = cluster(2, 2, "2");
        says(&mut image, 0, true);
        let epoch = image.broker(NodeId(1)).expect("it is registered").epoch;
        let fence = Request::FenceBroker {
            node: NodeId(1),
            epoch: Some(epoch),
            fenced: true,
        };
        done(&mut image, &fence);
        assert_eq!(state(&image).0, Some(0), "the one that is there goes on leading");
        says(&mut image, 0, false);
        assert_eq!(state(&image).0, Some(0));
    }
}
