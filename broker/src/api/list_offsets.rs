//! ListOffsets: earliest, latest, by timestamp, and the record with the largest timestamp.

use protocol::ErrorCode;
use protocol::messages::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestTopicPartition, ListOffsetsResponse, ListOffsetsResponseTopic,
    ListOffsetsResponseTopicPartition,
};

use super::cut::ask_about;
use super::lookup::{Claim, by_name};
use super::serve::Ctx;
use crate::shard::mesh::{Answer, Message};
use crate::shard::queries::{OffsetFound, OffsetQuery, Wanted};

/// Answers per partition, in the order of the request.
pub async fn handle(ctx: &Ctx, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let shard = ctx.shard();
    let image = shard.image();
    let question = |topic: &str, asked: &ListOffsetsRequestTopicPartition| {
        let partition = by_name(
            shard,
            &image,
            topic,
            asked.partition_index,
            Claim::of(asked.current_leader_epoch),
        )?;
        let query = OffsetQuery {
            partition,
            leader_epoch: asked.current_leader_epoch,
            wanted: wanted(asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?,
        };
        Ok((partition, query))
    };
    let questions = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|asked| question(&topic.name, asked))
    });
    let replies = ask_about(
        shard,
        questions.collect(),
        Message::ListOffsets,
        |answer| match answer {
            Answer::ListOffsets(replies) => Some(replies),
            _ => None,
        },
    );
    let mut results = replies.await;
    let topics = request.topics.into_iter().map(|topic| ListOffsetsResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| answer(partition, results.next()))
            .collect(),
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// What a timestamp, or one of the names that are written as negative ones, asks for.
fn wanted(timestamp: i64) -> Option<Wanted> {
    Some(match timestamp {
        -1 => Wanted::Latest,
        // Nothing lives on remote storage, so the local log begins where the log begins.
        -2 | -4 => Wanted::Earliest,
        -3 => Wanted::MaxTimestamp,
        // Last tiered, earliest pending upload: there is none.
        -5 | -6 => Wanted::LatestTiered,
        time if time >= 0 => Wanted::AtTime(time),
        _ => return None,
    })
}

fn answer(
    asked: &ListOffsetsRequestTopicPartition,
    result: Option<Result<OffsetFound, ErrorCode>>,
) -> ListOffsetsResponseTopicPartition {
    let partition_index = asked.partition_index;
    match result.unwrap_or(Err(ErrorCode::UnknownServerError)) {
        Ok(found) => ListOffsetsResponseTopicPartition {
            partition_index,
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: found.leader_epoch.map_or(-1, |epoch| epoch.0),
            ..Default::default()
        },
        Err(error) => ListOffsetsResponseTopicPartition {
            partition_index,
            error_code: error.code(),
            ..Default::default()
        },
    }
}
