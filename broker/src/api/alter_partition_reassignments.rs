//! AlterPartitionReassignments (KIP-455): partitions move to other brokers, or stop moving.

use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterPartitionReassignmentsResponseResponse, AlterPartitionReassignmentsResponseResponsePartition,
};
use protocol::{ErrorCode, NodeId, Str};

use super::replies::unanswered;
use super::serve::{Ctx, deadline};
use crate::metadata::{ItemError, Reassigned, Reply, Request, TopicReassignments};

/// Begins, replaces or gives up reassignments, each on its own. That they are complete is seen by listing them.
pub async fn handle(
    ctx: &Ctx,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let nodes = |nodes: &Vec<i32>| nodes.iter().map(|node| NodeId(*node)).collect();
    let topics = request.topics.iter().map(|topic| TopicReassignments {
        topic: topic.name.to_string(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.replicas.as_ref().map(nodes)))
            .collect(),
    });
    let submitted = Request::AlterReassignments {
        topics: topics.collect(),
        may_change_factor: request.allow_replication_factor_change,
    };
    let answered = ctx.shard().submit(submitted, deadline(request.timeout_ms)).await;
    let replies = match answered {
        Ok(Reply::AlterReassignments(replies)) => replies,
        Ok(_) => return refused(unanswered()),
        Err(error) => return refused(error),
    };
    let mut replies = replies.into_iter();
    let responses = request.topics.iter().map(|topic| {
        let partitions = replies.by_ref().take(topic.partitions.len()).map(partition);
        AlterPartitionReassignmentsResponseResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
        }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses: responses.collect(),
        ..Default::default()
    }
}

fn partition(reassigned: Reassigned) -> AlterPartitionReassignmentsResponseResponsePartition {
    let error = reassigned.result.err();
    AlterPartitionReassignmentsResponseResponsePartition {
        partition_index: reassigned.partition,
        error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
        error_message: error.map(|error| Str::from(error.message)),
    }
}

fn refused(error: ItemError) -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse {
        error_code: error.code.code(),
        error_message: Some(Str::from(error.message)),
        ..Default::default()
    }
}
