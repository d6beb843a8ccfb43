//! DeleteTopics: by name, or from version 6 by id.

use protocol::ErrorCode;
use protocol::messages::delete_topics::{
    DeleteTopicsRequest, DeleteTopicsResponse, DeleteTopicsResponseResponse,
};
use protocol::{Str, TopicId};

use super::replies::{Replies, unanswered};
use super::serve::{Ctx, deadline};
use crate::metadata::{ItemError, Reply, Request, TopicRef};

/// Deletes what can be deleted, answers per topic.
pub async fn handle(ctx: &Ctx, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let asked = asked(ctx, &request);
    let image = ctx.shard().image();
    // The answer tells both name and id, also of a topic that is gone by then.
    let known: Vec<(Option<Str>, TopicId)> = asked
        .iter()
        .map(|topic| match topic {
            TopicRef::Name(name) => (
                Some(Str::from(name.clone())),
                image.topic(name).map_or(TopicId::ZERO, |t| t.id),
            ),
            TopicRef::Id(id) => (
                image
                    .topic_by_id(*id)
                    .map(|topic| Str::from(topic.name.to_string())),
                *id,
            ),
        })
        .collect();
    let replies = if ctx.shard().options.delete_topics {
        match ctx
            .shard()
            .submit(Request::DeleteTopics(asked), deadline(request.timeout_ms))
            .await
        {
            Ok(Reply::DeleteTopics(replies)) => Ok(replies.into_iter().map(|reply| reply.result.map(|_| ()))),
            Ok(_) => Err(unanswered()),
            Err(refused) => Err(refused),
        }
    } else {
        Err(ItemError::new(
            ErrorCode::TopicDeletionDisabled,
            "delete.topic.enable is false",
        ))
    };
    let mut replies = Replies::new(replies);
    let responses = known
        .into_iter()
        .map(|(name, id)| answer(ctx, name, id, replies.next()));
    DeleteTopicsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

fn asked(ctx: &Ctx, request: &DeleteTopicsRequest) -> Vec<TopicRef> {
    if ctx.version() < 6 {
        return request
            .topic_names
            .iter()
            .map(|name| TopicRef::Name(name.to_string()))
            .collect();
    }
    let topics = request.topics.iter().map(|topic| match &topic.name {
        Some(name) => TopicRef::Name(name.to_string()),
        None => TopicRef::Id(TopicId(topic.topic_id)),
    });
    topics.collect()
}

fn answer(
    ctx: &Ctx,
    name: Option<Str>,
    id: TopicId,
    result: Result<(), ItemError>,
) -> DeleteTopicsResponseResponse {
    let (error, message) = match result {
        Ok(()) => (ErrorCode::None, None),
        Err(error) => (error.code, Some(Str::from(error.message))),
    };
    // Before version 6 the name cannot be null.
    let name = if ctx.version() < 6 {
        Some(name.unwrap_or_default())
    } else {
        name
    };
    DeleteTopicsResponseResponse {
        name,
        topic_id: id.0,
        error_code: error.code(),
        error_message: message,
    }
}
