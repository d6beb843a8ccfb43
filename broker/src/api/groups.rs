//! How the handlers of groups reach the coordinator of a group: which partition, which broker, which core.

use std::rc::Rc;
use std::sync::Arc;

use protocol::ErrorCode;
use protocol::ids::TopicPartition;

use super::serve::Ctx;
use crate::group::placement::partition_of;
use crate::group::{Reply, Request};
use crate::metadata::TopicImage;
use crate::rt::ShardId;
use crate::shard::Shard;
use crate::shard::coordinator::OFFSETS_TOPIC;
use crate::shard::mesh::{Answer, Message};

/// Operations on a group, as bits of `authorized_operations`: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
/// Everybody may do all of them until there are ACLs.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Asks the coordinator of the request's group, on whatever core it is.
pub(super) async fn ask(ctx: &Ctx, request: Request) -> Reply {
    let shard = ctx.shard();
    let topic = match shard.coordinators.offsets_topic(shard).await {
        Ok(topic) => topic,
        Err(code) => return Reply::Refused(code),
    };
    let Some(place) = request.group().map(|group| place(&topic, group)) else {
        return Reply::Refused(ErrorCode::InvalidRequest);
    };
    match topic
        .partition(place.partition)
        .and_then(|partition| partition.leader)
    {
        Some(leader) if leader == shard.options.node_id => {
            ask_core(shard, shard.owner(&place), request).await
        }
        Some(_) => Reply::Refused(ErrorCode::NotCoordinator),
        None => Reply::Refused(ErrorCode::CoordinatorNotAvailable),
    }
}

/// Asks the coordinators of every core for their groups.
pub(super) async fn ask_every_core(ctx: &Ctx, request: Request) -> Vec<Reply> {
    let shard = ctx.shard();
    if shard.image().topic(OFFSETS_TOPIC).is_none() {
        return Vec::new();
    }
    let cores = (0..shard.count).map(|core| ask_core(shard, ShardId(core), request.clone()));
    futures::future::join_all(cores).await
}

async fn ask_core(shard: &Rc<Shard>, core: ShardId, request: Request) -> Reply {
    match shard.ask(core, Message::Group(Box::new(request))).await {
        Answer::Group(reply) => reply,
        _ => Reply::Refused(ErrorCode::NotCoordinator),
    }
}

/// The partition of the offsets topic that keeps a group.
pub(super) fn place(topic: &Arc<TopicImage>, group: &str) -> TopicPartition {
    TopicPartition {
        topic_id: topic.id,
        partition: partition_of(group, topic.partitions.len() as i32),
    }
}

/// The code of a reply that is not the one to the question.
pub(super) fn refused(reply: &Reply) -> ErrorCode {
    match reply {
        Reply::Refused(code) => *code,
        _ => ErrorCode::UnknownServerError,
    }
}
