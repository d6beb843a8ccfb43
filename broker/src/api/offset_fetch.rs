//! OffsetFetch: one group up to version 7, many since; topics by name, or by id since version 10. Inside, all of it is a list
//! of groups with topics by name and id.

use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponseGroupTopic, OffsetFetchResponseGroupTopicPartition,
    OffsetFetchResponseTopic, OffsetFetchResponseTopicPartition,
};
use protocol::{ErrorCode, Str, TopicId};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};
use crate::metadata::MetadataImage;

/// From this version on a request is about many groups.
const MANY_GROUPS: i16 = 8;
/// From this version on topics are named by their ids.
const NAMES_TOPICS_BY_ID: i16 = 10;
/// From this version on an answer about one group has room for an error of the whole.
const WHOLE_ERROR: i16 = 2;

/// Asks the coordinators. `require_stable` changes nothing until there are transactions that could be pending.
pub async fn handle(ctx: &Ctx, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let version = ctx.version();
    if version >= MANY_GROUPS {
        let groups = request.groups.into_iter().map(|group| fetch(ctx, group));
        return OffsetFetchResponse {
            groups: futures::future::join_all(groups).await,
            ..Default::default()
        };
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestGroupTopic {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topics.collect::<Vec<_>>()
    });
    let asked = topics.clone();
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        ..Default::default()
    };
    let mut found = fetch(ctx, group).await;
    if version < WHOLE_ERROR && found.error_code != 0 {
        found.topics = failed(asked.unwrap_or_default(), ErrorCode::from_code(found.error_code));
    }
    OffsetFetchResponse {
        topics: found.topics.into_iter().map(plain_topic).collect(),
        error_code: found.error_code,
        ..Default::default()
    }
}

/// One group; the topics that do not exist any more are answered here, in their places.
async fn fetch(ctx: &Ctx, mut group: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let by_id = ctx.version() >= NAMES_TOPICS_BY_ID;
    let image = ctx.shard().image();
    let group_id = group.group_id.clone();
    let everything = group.topics.is_none();
    let mut unknown = Vec::new();
    let mut order = Vec::new();
    if let Some(topics) = group.topics.take() {
        let mut known = Vec::with_capacity(topics.len());
        for mut topic in topics {
            let fine = complete(&image, by_id, &mut topic);
            order.push(fine);
            if fine {
                known.push(topic)
            } else {
                unknown.push(topic)
            }
        }
        group.topics = Some(known);
    }
    let mut found = match groups::ask(ctx, Request::Fetch(group)).await {
        Reply::Fetch(found) => found,
        reply => {
            let error_code = groups::refused(&reply).code();
            return OffsetFetchResponseGroup {
                group_id,
                error_code,
                ..Default::default()
            };
        }
    };
    if everything {
        if by_id {
            name_by_id(&image, &mut found.topics);
        }
    } else if !unknown.is_empty() {
        let mut known = std::mem::take(&mut found.topics).into_iter();
        let mut unknown = failed(unknown, ErrorCode::UnknownTopicId).into_iter();
        found.topics = order
            .into_iter()
            .filter_map(|fine| if fine { known.next() } else { unknown.next() })
            .collect();
    }
    found
}

/// Fills in the half of a topic's identity that the client did not send. False for an id nobody has; a name nobody has may
/// still have offsets.
fn complete(image: &MetadataImage, by_id: bool, topic: &mut OffsetFetchRequestGroupTopic) -> bool {
    if by_id {
        let Some(known) = image.topic_by_id(TopicId(topic.topic_id)) else {
            return false;
        };
        topic.name = Str::copy_from(&known.name);
    } else if let Some(known) = image.topic(&topic.name) {
        topic.topic_id = known.id.0;
    }
    true
}

/// Tells all topics of a group by id; one that was deleted has none, and its offsets are about to go.
fn name_by_id(image: &MetadataImage, topics: &mut Vec<OffsetFetchResponseGroupTopic>) {
    topics.retain_mut(|topic| match image.topic(&topic.name) {
        Some(known) => {
            topic.topic_id = known.id.0;
            true
        }
        None => false,
    });
}

fn failed(topics: Vec<OffsetFetchRequestGroupTopic>, code: ErrorCode) -> Vec<OffsetFetchResponseGroupTopic> {
    let partition = |partition_index: i32| OffsetFetchResponseGroupTopicPartition {
        partition_index,
        committed_offset: -1,
        error_code: code.code(),
        ..Default::default()
    };
    let topic = |topic: OffsetFetchRequestGroupTopic| OffsetFetchResponseGroupTopic {
        topic_id: topic.topic_id,
        name: topic.name,
        partitions: topic.partition_indexes.into_iter().map(partition).collect(),
    };
    topics.into_iter().map(topic).collect()
}

fn plain_topic(topic: OffsetFetchResponseGroupTopic) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponseGroupTopicPartition| OffsetFetchResponseTopicPartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}
