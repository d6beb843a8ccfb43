//! From a topic and a partition as a request names them to a partition this broker can be asked about.

use std::collections::BTreeSet;

use protocol::ids::{NodeId, TopicId, TopicPartition};
use protocol::{ErrorCode, Str};

use crate::metadata::image::{MetadataImage, TopicImage};
use crate::replication::epochs::{self, Stale};
use crate::shard::Shard;

/// What a caller says of the partition's leader: the epoch it knows (-1: it does not say), and whether a replica that only
/// follows may serve it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) leader_epoch: i32,
    pub(super) any_replica: bool,
}

impl Claim {
    /// The leader, whatever its epoch.
    pub(super) const LEADER: Claim = Claim::of(-1);

    /// The leader of `leader_epoch`.
    pub(super) const fn of(leader_epoch: i32) -> Claim {
        Claim {
            leader_epoch,
            any_replica: false,
        }
    }
}

/// The partition behind a name, if this broker is whom the caller takes it for.
pub(super) fn by_name(
    shard: &Shard,
    image: &MetadataImage,
    topic: &str,
    partition: i32,
    claim: Claim,
) -> Result<TopicPartition, ErrorCode> {
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    served_here(shard, topic, partition, claim)
}

/// The partition behind an id, likewise.
pub(super) fn by_id(
    shard: &Shard,
    image: &MetadataImage,
    topic: TopicId,
    partition: i32,
    claim: Claim,
) -> Result<TopicPartition, ErrorCode> {
    let topic = image.topic_by_id(topic).ok_or(ErrorCode::UnknownTopicId)?;
    served_here(shard, topic, partition, claim)
}

fn served_here(
    shard: &Shard,
    topic: &TopicImage,
    partition: i32,
    claim: Claim,
) -> Result<TopicPartition, ErrorCode> {
    let state = topic
        .partition(partition)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // Before anything else, as in Kafka: who knows more than we do must not be sent elsewhere by us.
    epochs::check(claim.leader_epoch, state.leader_epoch).map_err(|stale| match stale {
        Stale::Fenced => ErrorCode::FencedLeaderEpoch,
        Stale::Unknown => ErrorCode::UnknownLeaderEpoch,
    })?;
    let me = shard.options.node_id;
    let follows = claim.any_replica && state.replicas.contains(&me);
    if state.leader != Some(me) && !follows {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(TopicPartition {
        topic_id: topic.id,
        partition,
    })
}

/// A broker as an answer names it to the clients of one listener, so that they need not ask for metadata first (KIP-951).
pub(super) struct Node {
    pub(super) id: i32,
    pub(super) host: Str,
    pub(super) port: i32,
    pub(super) rack: Option<Str>,
}

/// The nodes with these ids, each once; those that the listener's clients cannot reach are left out.
pub(super) fn nodes(image: &MetadataImage, listener: &str, ids: impl Iterator<Item = i32>) -> Vec<Node> {
    let ids: BTreeSet<i32> = ids.collect();
    let node = |id: i32| {
        let broker = image.broker(NodeId(id))?;
        let endpoint = broker.endpoint(listener)?;
        Some(Node {
            id,
            host: Str::from(endpoint.host.to_string()),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_ref().map(|rack| Str::from(rack.to_string())),
        })
    };
    ids.into_iter().filter_map(node).collect()
}
