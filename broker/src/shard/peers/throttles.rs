//! Replicas that are copied no faster than an operator allows (KIP-73): which, how fast, and what was sent of them.
//!
//! Both sides are held here, where the records leave. A leader knows from the metadata what a follower may take, and how
//! many brokers fill it: each gives it its part. A follower that held back credit would hold back its other partitions,
//! and one that asked later would have been sent a window for nothing.
//! Owns the sums of a broker, which its cores share. Leaves the arithmetic to `replication/throttle.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::ids::NodeId;
use protocol::properties::ThrottledReplicas;

use crate::metadata::image::MetadataImage;
use crate::replication::throttle::Throttle;
use crate::rt::{self, Instant};
use crate::shard::partitions::Partition;

/// The rates, dynamic properties of brokers, and the replicas they are for, properties of topics.
const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// What one broker sent to throttled replicas. Shared by its cores.
#[derive(Default)]
pub struct Throttles(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    leader: Throttle,
    followers: BTreeMap<NodeId, Throttle>,
    /// How many brokers fill a follower, as of the image with this offset.
    fillers: (u64, BTreeMap<NodeId, u64>),
}

/// What holds for one replica, in bytes per second; none where it is not throttled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    leader: Option<u64>,
    follower: Option<u64>,
}

impl Limits {
    /// Whether either is set.
    pub(super) fn any(self) -> bool {
        self.leader.is_some() || self.follower.is_some()
    }
}

impl Throttles {
    /// What holds for the replica of `partition` on `follower`, which `me` leads.
    pub(super) fn limits(
        &self,
        partition: &Partition,
        image: &MetadataImage,
        me: NodeId,
        follower: NodeId,
    ) -> Limits {
        let number = partition.id.partition;
        let (by_leader, by_follower) = {
            let config = partition.config.borrow();
            (
                config.throttled_leaders.contains(number, me.0),
                config.throttled_followers.contains(number, follower.0),
            )
        };
        if !(by_leader || by_follower) || partition.is_in_sync(follower) {
            return Limits::default();
        }
        let leader = by_leader.then(|| rate(image, me, LEADER_RATE)).flatten();
        let follower = by_follower
            .then(|| rate(image, follower, FOLLOWER_RATE))
            .flatten()
            .map(|whole| match whole / self.fillers(image, follower) {
                0 => whole.min(1),
                part => part,
            });
        Limits { leader, follower }
    }

    /// How long nothing may be sent to `follower`; none if something may now.
    pub(super) fn wait(&self, limits: Limits, follower: NodeId, now: Instant) -> Option<Duration> {
        let now = now - now.before(Duration::MAX);
        let mut sums = self.lock();
        let leader = limits.leader.and_then(|rate| sums.leader.wait(rate, now));
        let follower = limits
            .follower
            .and_then(|rate| sums.followers.entry(follower).or_default().wait(rate, now));
        leader.max(follower)
    }

    /// So many bytes were sent.
    pub(super) fn sent(&self, limits: Limits, follower: NodeId, bytes: usize) {
        let mut sums = self.lock();
        if limits.leader.is_some() {
            sums.leader.sent(bytes);
        }
        if limits.follower.is_some() {
            sums.followers.entry(follower).or_default().sent(bytes);
        }
    }

    /// How many brokers fill throttled replicas of `follower`, at least one.
    fn fillers(&self, image: &MetadataImage, follower: NodeId) -> u64 {
        let mut sums = self.lock();
        let (offset, known) = &mut sums.fillers;
        if std::mem::replace(offset, image.offset) != image.offset {
            known.clear();
        }
        *known
            .entry(follower)
            .or_insert_with(|| fillers_of(image, follower))
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None: no limit.
fn rate(image: &MetadataImage, node: NodeId, name: &str) -> Option<u64> {
    image.broker_config(node, name)?.trim().parse().ok()
}

fn fillers_of(image: &MetadataImage, follower: NodeId) -> u64 {
    let mut leaders = BTreeSet::new();
    for topic in image.topics.values() {
        let listed = topic.configs.get(FOLLOWER_REPLICAS);
        let Some(throttled) = listed.and_then(|text| ThrottledReplicas::parse(text)) else {
            continue;
        };
        for (number, state) in topic.partitions.iter().enumerate() {
            let fills = throttled.contains(number as i32, follower.0)
                && state.replicas.contains(&follower)
                && !state.isr.contains(&follower);
            if fills {
                leaders.extend(state.leader);
            }
        }
    }
    (leaders.len() as u64).max(1)
}

/// When the first of those that were held back may be looked at again.
pub(super) fn sooner(held: Option<Instant>, wait: Duration) -> Option<Instant> {
    let at = rt::now() + wait;
    Some(held.map_or(at, |held| held.min(at)))
}
