//! Cutting a request by owning core and putting the answers back in the request's order.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures::future::join_all;

use protocol::ErrorCode;
use protocol::ids::TopicPartition;

use super::error::code_of;
use crate::rt::ShardId;
use crate::shard::Shard;
use crate::shard::error::PartitionError;
use crate::shard::mesh::{Answer, Message};

/// Asks the owners about `items`; one that has an error already keeps it, and no core is asked about it.
pub(super) async fn ask_about<Q, R>(
    shard: &Rc<Shard>,
    items: Vec<Result<(TopicPartition, Q), ErrorCode>>,
    message: impl Fn(Vec<Q>) -> Message,
    replies: impl Fn(Answer) -> Option<Vec<Result<R, PartitionError>>>,
) -> impl Iterator<Item = Result<R, ErrorCode>> {
    let mut questions = Vec::new();
    let mut settled = Vec::with_capacity(items.len());
    for item in items {
        settled.push(item.map(|question| questions.push(question)));
    }
    let mut answers = ask_owners(shard, questions, message, replies).await.into_iter();
    settled.into_iter().map(move |settled| {
        settled?;
        match answers.next().flatten() {
            Some(reply) => reply.map_err(|error| code_of(&error)),
            None => Err(ErrorCode::NotLeaderOrFollower),
        }
    })
}

/// Asks the owners about `items`, one message per core, and returns one reply per item in their order; None where a core
/// gave no answer, which happens only while the process ends.
pub(super) async fn ask_owners<Q, R>(
    shard: &Rc<Shard>,
    items: Vec<(TopicPartition, Q)>,
    message: impl Fn(Vec<Q>) -> Message,
    replies: impl Fn(Answer) -> Option<Vec<R>>,
) -> Vec<Option<R>> {
    let mut answers: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let mut by_core: BTreeMap<ShardId, (Vec<usize>, Vec<Q>)> = BTreeMap::new();
    for (index, (partition, item)) in items.into_iter().enumerate() {
        let core = by_core.entry(shard.owner(&partition)).or_default();
        core.0.push(index);
        core.1.push(item);
    }
    let asked = by_core.into_iter().map(|(core, (indexes, items))| {
        let question = message(items);
        async move { (indexes, shard.ask(core, question).await) }
    });
    for (indexes, answer) in join_all(asked).await {
        for (index, reply) in indexes.into_iter().zip(replies(answer).into_iter().flatten()) {
            answers[index] = Some(reply);
        }
    }
    answers
}
