//! OffsetForLeaderEpoch: where an epoch ended in the leader's log, so that a client can tell whether it was truncated.

use protocol::ErrorCode;
use protocol::ids::LeaderEpoch;
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderEpochResponseTopic,
    OffsetForLeaderEpochResponseTopicPartition,
};

use super::cut::ask_owners;
use super::error::code_of;
use super::lookup::by_name;
use super::serve::Ctx;
use crate::replication::epochs::EpochEnd;
use crate::shard::mesh::{Answer, Message};
use crate::shard::queries::EpochQuery;

/// Answers per partition, in the order of the request.
pub async fn handle(ctx: &Ctx, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let shard = ctx.shard();
    let image = shard.image();
    let mut queries = Vec::new();
    let mut settled: Vec<Option<ErrorCode>> = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            settled.push(match by_name(shard, &image, &topic.topic, partition.partition) {
                Err(error) => Some(error),
                Ok(id) => {
                    let epoch = LeaderEpoch(partition.leader_epoch);
                    let current_epoch = partition.current_leader_epoch;
                    queries.push((
                        id,
                        EpochQuery {
                            partition: id,
                            current_epoch,
                            epoch,
                        },
                    ));
                    None
                }
            });
        }
    }
    let replies = ask_owners(shard, queries, Message::EpochEnds, |answer| match answer {
        Answer::EpochEnds(replies) => Some(replies),
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
    let topics = request
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderEpochResponseTopic {
            topic: topic.topic,
            partitions: topic
                .partitions
                .iter()
                .map(|asked| answer(asked.partition, results.next()))
                .collect(),
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn answer(
    partition: i32,
    result: Option<Result<Option<EpochEnd>, ErrorCode>>,
) -> OffsetForLeaderEpochResponseTopicPartition {
    let error = OffsetForLeaderEpochResponseTopicPartition {
        partition,
        ..Default::default()
    };
    match result.unwrap_or(Err(ErrorCode::UnknownServerError)) {
        Ok(Some(end)) => OffsetForLeaderEpochResponseTopicPartition {
            leader_epoch: end.epoch.0,
            end_offset: end.end_offset.0,
            ..error
        },
        // An epoch the log never had: epoch and offset stay -1.
        Ok(None) => error,
        Err(code) => OffsetForLeaderEpochResponseTopicPartition {
            error_code: code.code(),
            ..error
        },
    }
}
