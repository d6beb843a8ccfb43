//! From a topic and a partition as a request names them to a partition this broker can be asked about.

use protocol::ErrorCode;
use protocol::ids::{TopicId, TopicPartition};

use crate::metadata::image::{MetadataImage, TopicImage};
use crate::shard::Shard;

/// The partition behind a name, if this broker leads it.
pub(super) fn by_name(
    shard: &Shard,
    image: &MetadataImage,
    topic: &str,
    partition: i32,
) -> Result<TopicPartition, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    led_here(shard, topic, partition)
}

/// The partition behind an id, if this broker leads it.
pub(super) fn by_id(
    shard: &Shard,
    image: &MetadataImage,
    topic: TopicId,
    partition: i32,
) -> Result<TopicPartition, ErrorCode> {
    let topic = image.topic_by_id(topic).ok_or(ErrorCode::UnknownTopicId)?;
    led_here(shard, topic, partition)
}

fn led_here(shard: &Shard, topic: &TopicImage, partition: i32) -> Result<TopicPartition, ErrorCode> {
    let state = topic
        .partition(partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if state.leader != Some(shard.options.node_id) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(TopicPartition {
        topic_id: topic.id,
        partition,
    })
}
