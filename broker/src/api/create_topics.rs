//! CreateTopics: hands the topics to the quorum and answers when every core serves them.

use std::collections::HashSet;

use protocol::ErrorCode;
use protocol::messages::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsResponse, CreateTopicsResponseTopic,
    CreateTopicsResponseTopicConfig,
};
use protocol::{NodeId, Str};

use super::describe_configs::of_topic;
use super::replies::{Replies, unanswered};
use super::serve::{Ctx, deadline};
use crate::metadata::{Created, ItemError, NewTopic, Reply, Request, is_internal};

/// Creates what can be created, answers per topic.
pub async fn handle(ctx: &Ctx, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = HashSet::new();
    let doubled: HashSet<Str> = request
        .topics
        .iter()
        .filter(|topic| !seen.insert(&topic.name))
        .map(|topic| topic.name.clone())
        .collect();
    let names: Vec<Str> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let asked: Vec<NewTopic> = request
        .topics
        .iter()
        .filter(|topic| refusal(topic, &doubled).is_none())
        .map(new_topic)
        .collect();
    let refused: Vec<Option<ItemError>> = request
        .topics
        .iter()
        .map(|topic| refusal(topic, &doubled))
        .collect();
    let submitted = Request::CreateTopics {
        topics: asked,
        validate_only: request.validate_only,
    };
    let replies = match ctx.shard().submit(submitted, deadline(request.timeout_ms)).await {
        Ok(Reply::CreateTopics(replies)) => Ok(replies.into_iter().map(|reply| reply.result)),
        Ok(_) => Err(unanswered()),
        Err(refused) => Err(refused),
    };
    let mut results = Replies::new(replies);
    let topics = names.into_iter().zip(refused).map(|(name, refused)| {
        let result = refused.map_or_else(|| results.next(), Err);
        answer(ctx, name, result)
    });
    CreateTopicsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

/// What is wrong with a topic before the quorum sees it.
fn refusal(topic: &CreateTopicsRequestTopic, doubled: &HashSet<Str>) -> Option<ItemError> {
    if doubled.contains(&topic.name) {
        return Some(ItemError::new(
            ErrorCode::InvalidRequest,
            "the request names this topic twice",
        ));
    }
    if is_internal(&topic.name) {
        let why = format!("{} is the brokers' own and is created on first use", topic.name);
        return Some(ItemError::new(ErrorCode::InvalidTopicException, why));
    }
    None
}

fn new_topic(topic: &CreateTopicsRequestTopic) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| {
        (
            assignment.partition_index,
            assignment.broker_ids.iter().map(|node| NodeId(*node)).collect(),
        )
    });
    let configs = topic.configs.iter().map(|config| {
        (
            config.name.to_string(),
            config.value.as_ref().map(ToString::to_string),
        )
    });
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn answer(ctx: &Ctx, name: Str, result: Result<Created, ItemError>) -> CreateTopicsResponseTopic {
    match result {
        Ok(created) => CreateTopicsResponseTopic {
            name,
            topic_id: created.id.0,
            error_message: None,
            num_partitions: created.partitions,
            replication_factor: created.replication_factor,
            configs: Some(configs(ctx, &created)),
            ..Default::default()
        },
        Err(error) => CreateTopicsResponseTopic {
            name,
            error_code: error.code.code(),
            error_message: Some(Str::from(error.message)),
            configs: Some(Vec::new()),
            ..Default::default()
        },
    }
}

/// The effective properties of the new topic, as DescribeConfigs would tell them (KIP-525).
fn configs(ctx: &Ctx, created: &Created) -> Vec<CreateTopicsResponseTopicConfig> {
    let shard = ctx.shard();
    of_topic(shard, &shard.image(), &created.configs)
        .into_iter()
        .map(|described| CreateTopicsResponseTopicConfig {
            name: Str::copy_from(described.name()),
            value: described.value(),
            read_only: described.is_read_only(),
            config_source: described.source(),
            is_sensitive: described.is_sensitive(),
        })
        .collect()
}
