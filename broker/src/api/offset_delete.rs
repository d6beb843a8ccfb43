//! OffsetDelete: takes committed offsets away, for topics that no consumer of the group reads.

use protocol::ErrorCode;
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponseTopic,
    OffsetDeleteResponseTopicPartition,
};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// Asks the coordinator about the topics that exist.
pub async fn handle(ctx: &Ctx, mut body: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let image = ctx.shard().image();
    let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut body.topics)
        .into_iter()
        .partition(|topic| image.topic(&topic.name).is_some());
    body.topics = known;
    let mut response = match groups::ask(ctx, Request::DeleteOffsets(body)).await {
        Reply::DeleteOffsets(response) => response,
        reply => OffsetDeleteResponse {
            error_code: groups::refused(&reply).code(),
            ..Default::default()
        },
    };
    if response.error_code == 0 {
        response.topics.extend(unknown.iter().map(refuse));
    }
    response
}

fn refuse(topic: &OffsetDeleteRequestTopic) -> OffsetDeleteResponseTopic {
    let code = ErrorCode::UnknownTopicOrPartition.code();
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| OffsetDeleteResponseTopicPartition {
            partition_index: partition.partition_index,
            error_code: code,
        });
    OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: partitions.collect(),
    }
}
