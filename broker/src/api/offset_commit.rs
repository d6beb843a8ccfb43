//! OffsetCommit: answered when the offsets are synced and committed. Topics that do not exist are refused here, the others
//! go to the coordinator with both name and id.

use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponseTopic,
    OffsetCommitResponseTopicPartition,
};
use protocol::{ErrorCode, Str, TopicId};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};
use crate::metadata::MetadataImage;

/// From this version on topics are named by their ids.
const NAMES_TOPICS_BY_ID: i16 = 10;

/// Commits what can be committed, answers per topic in the order asked.
pub async fn handle(ctx: &Ctx, mut body: OffsetCommitRequest) -> OffsetCommitResponse {
    let version = ctx.version();
    let image = ctx.shard().image();
    let asked = std::mem::take(&mut body.topics);
    let mut refused = Vec::new();
    let mut order = Vec::with_capacity(asked.len());
    for mut topic in asked {
        match complete(&image, version, &mut topic) {
            Ok(()) => {
                order.push(true);
                body.topics.push(topic);
            }
            Err(code) => {
                order.push(false);
                refused.push(refuse(&topic, code));
            }
        }
    }
    // Nothing is left to commit, and a coordinator has nothing to add.
    let accepted = if body.topics.is_empty() {
        Vec::new()
    } else {
        commit(ctx, version, body).await
    };
    let (mut accepted, mut refused) = (accepted.into_iter(), refused.into_iter());
    let topics = order
        .into_iter()
        .filter_map(|fine| if fine { accepted.next() } else { refused.next() });
    OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// Fills in the half of a topic's identity that the client did not send.
fn complete(
    image: &MetadataImage,
    version: i16,
    topic: &mut OffsetCommitRequestTopic,
) -> Result<(), ErrorCode> {
    if version >= NAMES_TOPICS_BY_ID {
        let known = image
            .topic_by_id(TopicId(topic.topic_id))
            .ok_or(ErrorCode::UnknownTopicId)?;
        topic.name = Str::copy_from(&known.name);
    } else {
        let known = image
            .topic(&topic.name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic.topic_id = known.id.0;
    }
    Ok(())
}

async fn commit(ctx: &Ctx, version: i16, body: OffsetCommitRequest) -> Vec<OffsetCommitResponseTopic> {
    let topics = body.topics.clone();
    match groups::ask(ctx, Request::Commit { version, body }).await {
        Reply::Commit(response) => response.topics,
        reply => {
            let code = groups::refused(&reply);
            topics.iter().map(|topic| refuse(topic, code)).collect()
        }
    }
}

fn refuse(topic: &OffsetCommitRequestTopic, code: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| OffsetCommitResponseTopicPartition {
            partition_index: partition.partition_index,
            error_code: code.code(),
        });
    OffsetCommitResponseTopic {
        topic_id: topic.topic_id,
        name: topic.name.clone(),
        partitions: partitions.collect(),
    }
}
