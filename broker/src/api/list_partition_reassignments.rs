//! ListPartitionReassignments (KIP-455): which partitions are on their way to other brokers.

use protocol::Str;
use protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    ListPartitionReassignmentsResponseTopic, ListPartitionReassignmentsResponseTopicPartition,
};

use super::serve::Ctx;
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};

/// Answers from this core's image: of the named partitions, or of all.
pub async fn handle(
    ctx: &Ctx,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = ctx.shard().image();
    let topics = match &request.topics {
        None => all(&image),
        Some(named) => named
            .iter()
            .filter_map(|wanted| {
                let topic = image.topic(&wanted.name)?;
                let moving = wanted.partition_indexes.iter().filter_map(|number| {
                    let partition = topic.partition(*number)?;
                    partition.moves().then(|| moving(*number, partition))
                });
                told(topic, moving.collect())
            })
            .collect(),
    };
    ListPartitionReassignmentsResponse {
        error_message: None,
        topics,
        ..Default::default()
    }
}

fn all(image: &MetadataImage) -> Vec<ListPartitionReassignmentsResponseTopic> {
    let topics = image.topics.values().filter_map(|topic| {
        let numbered = topic.partitions.iter().enumerate();
        let moves = numbered.filter(|(_, partition)| partition.moves());
        let moving = moves.map(|(number, partition)| moving(number as i32, partition));
        told(topic, moving.collect())
    });
    topics.collect()
}

fn told(
    topic: &TopicImage,
    partitions: Vec<ListPartitionReassignmentsResponseTopicPartition>,
) -> Option<ListPartitionReassignmentsResponseTopic> {
    (!partitions.is_empty()).then(|| ListPartitionReassignmentsResponseTopic {
        name: Str::from(topic.name.to_string()),
        partitions,
    })
}

fn moving(number: i32, partition: &PartitionImage) -> ListPartitionReassignmentsResponseTopicPartition {
    let ids = |nodes: &[protocol::NodeId]| nodes.iter().map(|node| node.0).collect();
    ListPartitionReassignmentsResponseTopicPartition {
        partition_index: number,
        replicas: ids(&partition.replicas),
        adding_replicas: ids(&partition.adding),
        removing_replicas: ids(&partition.removing),
    }
}
