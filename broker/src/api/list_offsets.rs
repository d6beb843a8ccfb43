//! ListOffsets: earliest, latest, by timestamp, and the record with the largest timestamp.

use protocol::ErrorCode;
use protocol::messages::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestTopicPartition, ListOffsetsResponse, ListOffsetsResponseTopic,
    ListOffsetsResponseTopicPartition,
};

use super::cut::ask_owners;
use super::error::code_of;
use super::lookup::by_name;
use super::serve::Ctx;
use crate::shard::mesh::{Answer, Message};
use crate::shard::queries::{OffsetFound, OffsetQuery, Wanted};

/// Answers per partition, in the order of the request.
pub async fn handle(ctx: &Ctx, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let shard = ctx.shard();
    let image = shard.image();
    let mut queries = Vec::new();
    // Partitions that no core need be asked about have their error already.
    let mut settled: Vec<Option<ErrorCode>> = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let found = by_name(shard, &image, &topic.name, partition.partition_index);
            settled.push(match (found, wanted(partition.timestamp)) {
                (Err(error), _) => Some(error),
                (_, None) => Some(ErrorCode::UnsupportedVersion),
                (Ok(id), Some(wanted)) => {
                    let leader_epoch = partition.current_leader_epoch;
                    queries.push((
                        id,
                        OffsetQuery {
                            partition: id,
                            leader_epoch,
                            wanted,
                        },
                    ));
                    None
                }
            });
        }
    }
    let replies = ask_owners(shard, queries, Message::ListOffsets, |answer| match answer {
        Answer::ListOffsets(replies) => Some(replies),
        _ => None,
    })
    .await;
    let mut replies = replies.into_iter();
    let mut results = settled.into_iter().map(|settled| match settled {
        Some(error) => Err(error),
        None => match replies.next().flatten() {
            Some(reply) => reply.map_err(|error| code_of(&error)),
            None => Err(ErrorCode::NotLeaderOrFollower),
        },
    });
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
