//! CreatePartitions: a topic grows; it never shrinks.

use protocol::ErrorCode;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsRequestTopic, CreatePartitionsResponse,
    CreatePartitionsResponseResult,
};
use protocol::{NodeId, Str};

use super::replies::{Replies, unanswered};
use super::serve::{Ctx, deadline};
use crate::metadata::{MorePartitions, Reply, Request};

/// Adds partitions where it can be done, answers per topic.
pub async fn handle(ctx: &Ctx, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let topics: Vec<MorePartitions> = request.topics.iter().map(more).collect();
    let submitted = Request::CreatePartitions {
        topics,
        validate_only: request.validate_only,
    };
    let replies = match ctx.shard().submit(submitted, deadline(request.timeout_ms)).await {
        Ok(Reply::CreatePartitions(replies)) => Ok(replies.into_iter().map(|reply| reply.result)),
        Ok(_) => Err(unanswered()),
        Err(refused) => Err(refused),
    };
    let mut replies = Replies::new(replies);
    let results = request.topics.into_iter().map(|topic| {
        let error = replies.next().err();
        CreatePartitionsResponseResult {
            name: topic.name,
            error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
            error_message: error.map(|error| Str::from(error.message)),
        }
    });
    CreatePartitionsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn more(topic: &CreatePartitionsRequestTopic) -> MorePartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        assignments
            .iter()
            .map(|assignment| assignment.broker_ids.iter().map(|node| NodeId(*node)).collect())
            .collect()
    });
    MorePartitions {
        name: topic.name.to_string(),
        count: topic.count,
        assignments,
    }
}
