//! Whether a broker may be stopped without taking availability from anybody: read from the image.

use std::sync::Arc;

use protocol::ids::NodeId;

use super::{Defaults, MetadataImage, PartitionImage, TopicImage, isr};

/// What stopping one broker would mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stopping {
    /// Partitions that would lose availability although they have other replicas: wait for those.
    pub blocking: Vec<BlockingPartition>,
    /// Partitions whose only replica is here: they are away while the broker is, whenever it is stopped.
    pub only_here: u64,
    /// Replicas on this broker.
    pub replicas: u64,
    /// Partitions it leads.
    pub leads: u64,
    /// Partitions it leads whose ISR is smaller than their replica set.
    pub under_replicated: u64,
}

/// One reason to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockingPartition {
    pub topic: Arc<str>,
    pub partition: i32,
    pub reason: String,
}

/// What it means to stop `node` now. `default_min_insync` holds where nobody has set `min.insync.replicas`.
pub fn stopping(image: &MetadataImage, node: NodeId, default_min_insync: usize) -> Stopping {
    let mut stopping = Stopping::default();
    let defaults = Defaults {
        min_insync_replicas: default_min_insync,
        ..Defaults::default()
    };
    for topic in image.topics.values() {
        let min_insync = isr::policy(image, topic, &defaults).min_isr;
        for (number, partition) in topic.partitions.iter().enumerate() {
            if partition.replicas.contains(&node) {
                look_at(&mut stopping, topic, number as i32, partition, node, min_insync);
            }
        }
    }
    stopping
}

fn look_at(
    stopping: &mut Stopping,
    topic: &TopicImage,
    number: i32,
    partition: &PartitionImage,
    node: NodeId,
    min_insync: usize,
) {
    stopping.replicas += 1;
    if partition.leader == Some(node) {
        stopping.leads += 1;
        stopping.under_replicated += u64::from(partition.isr.len() < partition.replicas.len());
    }
    if partition.copies() == 1 {
        stopping.only_here += 1;
        return;
    }
    let left = partition.isr.iter().filter(|other| **other != node).count();
    // More can never be had than there are replicas beside this one.
    let needed = min_insync.min(partition.copies() - 1).max(1);
    if partition.isr.contains(&node) && left < needed {
        stopping.blocking.push(BlockingPartition {
            topic: topic.name.clone(),
            partition: number,
            reason: format!("{left} other replicas are in sync, {needed} are needed"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::{Build, image, topic_id};
    use crate::metadata::record::{BrokerConfig, PartitionCreated, TopicConfig, TopicCreated};

    /// Three brokers and a topic of one partition, led by the first that is in sync.
    fn with_topic(replicas: &[i32], isr: &[i32]) -> MetadataImage {
        let nodes = |list: &[i32]| list.iter().map(|&node| NodeId(node)).collect::<Vec<_>>();
        let mut image = image(3);
        image.apply_all(&[
            TopicCreated {
                id: topic_id(1),
                name: "t".into(),
            }
            .into(),
            PartitionCreated {
                topic: topic_id(1),
                partition: 0,
                replicas: nodes(replicas),
                isr: nodes(isr),
                leader: nodes(isr).first().copied(),
            }
            .into(),
        ]);
        image
    }

    #[test]
    fn the_table_of_stops() {
        // replicas, isr, min.insync.replicas, blocked
        type Row = (&'static [i32], &'static [i32], &'static str, bool);
        let rows: &[Row] = &[
            (&[0], &[0], "1", false),
            (&[0, 1], &[0, 1], "1", false),
            (&[0, 1], &[0], "1", true),
            (&[0, 1, 2], &[0, 1, 2], "2", false),
            (&[0, 1, 2], &[0, 1], "2", true),
            (&[0, 1, 2], &[1, 2], "2", false),
            (&[0, 1], &[0, 1], "2", false),
            (&[1, 2], &[1], "1", false),
        ];
        for (replicas, isr, min_insync, blocked) in rows {
            let mut image = with_topic(replicas, isr);
            image.apply_all(&[TopicConfig {
                topic: topic_id(1),
                name: "min.insync.replicas".into(),
                value: Some((*min_insync).into()),
            }
            .into()]);
            let found = stopping(&image, NodeId(0), 1);
            assert_eq!(
                !found.blocking.is_empty(),
                *blocked,
                "{replicas:?} {isr:?} min {min_insync}: {found:?}"
            );
        }
    }

    #[test]
    fn a_cluster_wide_number_counts_where_the_topic_has_none() {
        let mut image = with_topic(&[0, 1, 2], &[0, 1]);
        assert!(stopping(&image, NodeId(0), 1).blocking.is_empty());
        image.apply_all(&[BrokerConfig {
            node: None,
            name: "min.insync.replicas".into(),
            value: Some("2".into()),
        }
        .into()]);
        assert_eq!(stopping(&image, NodeId(0), 1).blocking.len(), 1);
    }
}
