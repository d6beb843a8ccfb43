//! Metadata: which topics there are, who leads their partitions, and where those brokers are, as seen from the listener the
//! client came in on. Creates missing topics where the broker and the client allow it.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponseTopic,
    MetadataResponseTopicPartition,
};
use protocol::{NodeId, Str, TopicId};

use super::serve::Ctx;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use crate::metadata::{NewTopic, Reply, Request};

/// How long a client waits for a topic that its request creates.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);

/// Answers from this core's image.
pub async fn handle(ctx: &Ctx, request: MetadataRequest) -> MetadataResponse {
    let mut image = ctx.shard().image();
    let wanted = wanted(ctx, &request);
    let mut refused = Vec::new();
    if let Some(topics) = &wanted
        && request.allow_auto_topic_creation
        && ctx.shard().options.auto_create_topics
    {
        let missing: Vec<&str> = topics
            .iter()
            .filter_map(|wanted| {
                if let Wanted::Name(name) = wanted {
                    Some(name.as_str())
                } else {
                    None
                }
            })
            .filter(|name| image.topic(name).is_none())
            .collect();
        if !missing.is_empty() {
            refused = create(ctx, &missing).await;
            image = ctx.shard().image();
        }
    }
    let topics = match wanted {
        None => image
            .topics
            .values()
            .map(|topic| describe(&image, topic))
            .collect(),
        Some(wanted) => wanted
            .iter()
            .map(|wanted| answer(&image, wanted, &refused))
            .collect(),
    };
    MetadataResponse {
        brokers: brokers(ctx, &image),
        cluster_id: Some(Str::from(image.cluster_id.to_string())),
        controller_id: controller(ctx, &image),
        topics,
        ..Default::default()
    }
}

enum Wanted {
    Name(Str),
    Id(TopicId),
}

/// What is asked for; none means every topic. Version 0 says "all" with an empty list, later ones with null.
fn wanted(ctx: &Ctx, request: &MetadataRequest) -> Option<Vec<Wanted>> {
    let topics = request.topics.as_ref()?;
    if ctx.version() == 0 && topics.is_empty() {
        return None;
    }
    let wanted = topics.iter().map(|topic| match &topic.name {
        Some(name) if topic.topic_id == [0; 16] => Wanted::Name(name.clone()),
        _ => Wanted::Id(TopicId(topic.topic_id)),
    });
    Some(wanted.collect())
}

fn answer(image: &MetadataImage, wanted: &Wanted, refused: &[(String, ErrorCode)]) -> MetadataResponseTopic {
    let missing = |name, id: TopicId, error: ErrorCode| MetadataResponseTopic {
        error_code: error.code(),
        name,
        topic_id: id.0,
        ..Default::default()
    };
    match wanted {
        Wanted::Id(id) => match image.topic_by_id(*id) {
            Some(topic) => describe(image, topic),
            None => missing(None, *id, ErrorCode::UnknownTopicId),
        },
        Wanted::Name(name) => match image.topic(name) {
            Some(topic) => describe(image, topic),
            None => {
                let known = refused
                    .iter()
                    .find(|(refused, _)| refused.as_str() == name.as_str());
                let error = known.map_or(ErrorCode::UnknownTopicOrPartition, |(_, error)| *error);
                missing(Some(name.clone()), TopicId::ZERO, error)
            }
        },
    }
}

fn describe(image: &MetadataImage, topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        name: Some(Str::from(topic.name.to_string())),
        topic_id: topic.id.0,
        is_internal: topic.internal,
        partitions: partitions
            .map(|(number, partition)| describe_partition(image, number, partition))
            .collect(),
        ..Default::default()
    }
}

fn describe_partition(
    image: &MetadataImage,
    number: usize,
    partition: &PartitionImage,
) -> MetadataResponseTopicPartition {
    let leader = partition.leader.filter(|leader| is_up(image, *leader));
    let error = if leader.is_some() {
        ErrorCode::None
    } else {
        ErrorCode::LeaderNotAvailable
    };
    MetadataResponseTopicPartition {
        error_code: error.code(),
        partition_index: number as i32,
        leader_id: leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: numbers(&partition.replicas),
        isr_nodes: numbers(&partition.isr),
        offline_replicas: offline(image, &partition.replicas),
    }
}

/// Brokers of `replicas` that do not serve now.
pub(super) fn offline(image: &MetadataImage, replicas: &[NodeId]) -> Vec<i32> {
    replicas
        .iter()
        .filter(|node| !is_up(image, **node))
        .map(|node| node.0)
        .collect()
}

/// Node ids as the wire has them.
pub(super) fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

/// Whether a broker is registered and not fenced.
pub(super) fn is_up(image: &MetadataImage, node: NodeId) -> bool {
    image.broker(node).is_some_and(|broker| !broker.fenced)
}

/// Brokers that serve the client's listener. One that has no address there is left out: the client could not reach it.
fn brokers(ctx: &Ctx, image: &MetadataImage) -> Vec<MetadataResponseBroker> {
    let serving = image.brokers.values().filter(|broker| !broker.fenced);
    serving
        .filter_map(|broker| {
            let endpoint = broker.endpoint(&ctx.connection.listener)?;
            Some(MetadataResponseBroker {
                node_id: broker.node.0,
                host: Str::from(endpoint.host.to_string()),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_ref().map(|rack| Str::from(rack.to_string())),
            })
        })
        .collect()
}

/// Any broker forwards changes to the quorum's leader, so the one that answers is as good a "controller" as any; old
/// clients insist that it is one of the brokers listed.
pub(super) fn controller(ctx: &Ctx, image: &MetadataImage) -> i32 {
    let me = ctx.shard().options.node_id;
    image
        .controller
        .filter(|node| is_up(image, *node))
        .unwrap_or(me)
        .0
}

/// Creates the missing topics; returns the ones that were refused. LEADER_NOT_AVAILABLE is what clients retry on.
async fn create(ctx: &Ctx, missing: &[&str]) -> Vec<(String, ErrorCode)> {
    let topics = missing
        .iter()
        .map(|name| NewTopic {
            name: (*name).to_string(),
            partitions: -1,
            replication_factor: -1,
            ..Default::default()
        })
        .collect();
    let request = Request::CreateTopics {
        topics,
        validate_only: false,
    };
    let Ok(Reply::CreateTopics(replies)) = ctx.shard().submit(request, CREATE_TIMEOUT).await else {
        let unknown = |name: &&str| ((*name).to_string(), ErrorCode::LeaderNotAvailable);
        return missing.iter().map(unknown).collect();
    };
    replies
        .into_iter()
        .filter_map(|reply| match reply.result {
            // Another client created it at the same moment: it will find it next time.
            Err(error) if error.code == ErrorCode::TopicAlreadyExists => {
                Some((reply.name.to_string(), ErrorCode::LeaderNotAvailable))
            }
            Err(error) => Some((reply.name.to_string(), error.code)),
            Ok(_) => None,
        })
        .collect()
}
