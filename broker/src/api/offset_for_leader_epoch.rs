//! OffsetForLeaderEpoch: where an epoch ended in the leader's log, so that a client can tell whether it was truncated.

use protocol::ErrorCode;
use protocol::ids::LeaderEpoch;
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestTopicPartition, OffsetForLeaderEpochResponse,
    OffsetForLeaderEpochResponseTopic, OffsetForLeaderEpochResponseTopicPartition,
};

use super::cut::ask_about;
use super::lookup::{Claim, by_name};
use super::serve::Ctx;
use crate::replication::epochs::EpochEnd;
use crate::shard::mesh::{Answer, Message};
use crate::shard::queries::EpochQuery;

/// Answers per partition, in the order of the request.
pub async fn handle(ctx: &Ctx, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let shard = ctx.shard();
    let image = shard.image();
    let question = |topic: &str, asked: &OffsetForLeaderEpochRequestTopicPartition| {
        let partition = by_name(
            shard,
            &image,
            topic,
            asked.partition,
            Claim::of(asked.current_leader_epoch),
        )?;
        let query = EpochQuery {
            partition,
            current_epoch: asked.current_leader_epoch,
            epoch: LeaderEpoch(asked.leader_epoch),
        };
        Ok((partition, query))
    };
    let questions = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|asked| question(&topic.topic, asked))
    });
    let replies = ask_about(
        shard,
        questions.collect(),
        Message::EpochEnds,
        |answer| match answer {
            Answer::EpochEnds(replies) => Some(replies),
            _ => None,
        },
    );
    let mut results = replies.await;
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
