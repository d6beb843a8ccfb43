//! DescribeTopicPartitions (KIP-966): topics in pages of a bounded number of partitions, with the eligible leader replicas.

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::Str;
use protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponseNextCursor, DescribeTopicPartitionsResponseTopic,
    DescribeTopicPartitionsResponseTopicPartition,
};

use super::metadata::{is_up, numbers, offline};
use super::serve::Ctx;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};

/// Answers one page from this core's image.
pub async fn handle(ctx: &Ctx, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let image = ctx.shard().image();
    let mut names: Vec<Arc<str>> = match request.topics.is_empty() {
        true => image.topic_ids.keys().cloned().collect(),
        false => request
            .topics
            .iter()
            .map(|topic| Arc::from(topic.name.as_str()))
            .collect(),
    };
    names.sort();
    names.dedup();
    let (from_topic, mut from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index.max(0) as usize),
        None => ("", 0),
    };
    let largest = ctx.shard().options.describe_partitions_max;
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0);
    room = room.min(largest).max(1);
    let mut page = DescribeTopicPartitionsResponse::default();
    for name in names.iter().skip_while(|name| &***name < from_topic) {
        // The cursor's partition counts for the cursor's topic alone, which may be gone by now.
        let first = if &**name == from_topic {
            std::mem::take(&mut from_partition)
        } else {
            0
        };
        let Some(topic) = image.topic(name) else {
            if !request.topics.is_empty() {
                page.topics.push(missing(name));
            }
            continue;
        };
        if room == 0 {
            page.next_cursor = Some(cursor(name, first));
            break;
        }
        let end = topic.partitions.len().min(first.saturating_add(room));
        room -= end.saturating_sub(first);
        page.topics.push(describe(&image, topic, first..end));
        if end < topic.partitions.len() {
            page.next_cursor = Some(cursor(name, end));
            break;
        }
    }
    page
}

fn cursor(topic: &str, partition: usize) -> DescribeTopicPartitionsResponseNextCursor {
    DescribeTopicPartitionsResponseNextCursor {
        topic_name: Str::from(topic.to_string()),
        partition_index: partition as i32,
    }
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        name: Some(Str::from(name.to_string())),
        ..Default::default()
    }
}

fn describe(
    image: &MetadataImage,
    topic: &TopicImage,
    range: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions =
        range.filter_map(|number| Some(describe_partition(image, number, topic.partitions.get(number)?)));
    DescribeTopicPartitionsResponseTopic {
        name: Some(Str::from(topic.name.to_string())),
        topic_id: topic.id.0,
        is_internal: topic.internal,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn describe_partition(
    image: &MetadataImage,
    number: usize,
    partition: &PartitionImage,
) -> DescribeTopicPartitionsResponseTopicPartition {
    let leader = partition.leader.filter(|leader| is_up(image, *leader));
    let error = if leader.is_some() {
        ErrorCode::None
    } else {
        ErrorCode::LeaderNotAvailable
    };
    DescribeTopicPartitionsResponseTopicPartition {
        error_code: error.code(),
        partition_index: number as i32,
        leader_id: leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: numbers(&partition.replicas),
        isr_nodes: numbers(&partition.isr),
        eligible_leader_replicas: Some(numbers(&partition.elr)),
        last_known_elr: Some(Vec::new()),
        offline_replicas: offline(image, &partition.replicas),
    }
}
