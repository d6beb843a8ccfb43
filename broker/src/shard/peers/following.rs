//! Which session follows which partition, on one core: kept equal to what partitions want and to where the image says that
//! their leaders are.
//!
//! Owns the sessions of this core with leaders. Costs what changed, never what is followed. Leaves a session's connection
//! to `fetching.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures::future::select;
use protocol::ids::{NodeId, TopicPartition};

use super::fetching::{Session, Target};
use crate::metadata::image::MetadataImage;
use crate::rt::{self, Task};
use crate::shard::{Shard, placement};

/// Keeps this core's sessions until dropped.
pub(super) async fn follow(shard: Rc<Shard>) {
    let mut sessions = Sessions {
        shard: shard.clone(),
        leaders: BTreeMap::new(),
        routes: BTreeMap::new(),
        homeless: BTreeSet::new(),
        open: BTreeMap::new(),
        seen: 0,
    };
    let mut first = true;
    loop {
        let changed = shard.follow_changed.wait();
        let synced = shard.synced_progress.wait();
        let image = shard.image_changed.wait();
        sessions.meet_leaders();
        let moved = shard.follow_changed.take();
        for partition in &moved {
            sessions.route(*partition);
        }
        if !moved.is_empty() {
            sessions.close_idle();
        }
        if std::mem::take(&mut first) {
            for partition in shard.followed() {
                sessions.route(partition.id);
            }
        }
        for partition in shard.synced_progress.take() {
            sessions.synced(&partition);
        }
        select(select(changed, synced), image).await;
    }
}

/// One core of one leader.
type Key = (NodeId, u16);

struct Sessions {
    shard: Rc<Shard>,
    /// How leaders that are followed are reached, as the image said last.
    leaders: BTreeMap<NodeId, Option<Leader>>,
    /// Which session has a partition.
    routes: BTreeMap<TopicPartition, Key>,
    /// Follow a leader that cannot be reached by what the image says.
    homeless: BTreeSet<TopicPartition>,
    open: BTreeMap<Key, (Rc<Session>, Task<()>)>,
    /// Offset of the image that leaders were last looked at.
    seen: u64,
}

/// What decides how a leader is reached; a session does not outlive it.
#[derive(Clone, PartialEq, Eq)]
struct Leader {
    host: std::sync::Arc<str>,
    port: u16,
    cores: u16,
    /// Of the leader's registration.
    epoch: i64,
    /// Of ours.
    own_epoch: i64,
}

/// None also while the image does not name this process as this broker: what another one of the same node id has synced,
/// before it or beside it, is not what is on this disk.
fn leader_in(shard: &Shard, image: &MetadataImage, node: NodeId) -> Option<Leader> {
    let own_epoch = shard.own_epoch(image)?;
    let broker = image.broker(node)?;
    let address = broker.replication.as_ref()?;
    (broker.shards > 0).then(|| Leader {
        host: address.host.clone(),
        port: address.port,
        cores: broker.shards,
        epoch: broker.epoch,
        own_epoch,
    })
}

impl Sessions {
    /// A newer image: sessions with leaders that are elsewhere now, or anew, begin again.
    fn meet_leaders(&mut self) {
        let image = self.shard.image();
        if image.offset == self.seen {
            return;
        }
        self.seen = image.offset;
        let mut again = std::mem::take(&mut self.homeless);
        for (node, known) in &mut self.leaders {
            let now = leader_in(&self.shard, &image, *node);
            if now == *known {
                continue;
            }
            *known = now;
            let cores: Vec<Key> = self
                .open
                .range((*node, 0)..=(*node, u16::MAX))
                .map(|(key, _)| *key)
                .collect();
            for key in cores {
                if let Some((session, _task)) = self.open.remove(&key) {
                    again.extend(session.partitions());
                }
            }
        }
        for partition in again {
            self.routes.remove(&partition);
            self.route(partition);
        }
    }

    /// Brings a partition to the session it belongs to now, or to none.
    fn route(&mut self, id: TopicPartition) {
        let partition = self.shard.partition(&id);
        if partition
            .as_ref()
            .is_some_and(|partition| partition.cutting.get())
            && let Some((session, _)) = self.routes.get(&id).and_then(|key| self.open.get(key))
        {
            // It will go on there, or be brought elsewhere then.
            return session.want(id);
        }
        let following = partition.and_then(|partition| partition.following());
        let key = following.and_then(|following| {
            let cores = self.leader(following.leader)?.cores;
            Some((following.leader, placement::owner(&id, cores).0))
        });
        self.homeless.remove(&id);
        if following.is_some() && key.is_none() {
            self.homeless.insert(id);
        }
        let old = match key {
            Some(key) => self.routes.insert(id, key),
            None => self.routes.remove(&id),
        };
        if old != key
            && let Some((session, _)) = old.and_then(|old| self.open.get(&old))
        {
            session.leave(&id);
        }
        if let Some(key) = key {
            self.session(key).want(id);
        }
    }

    /// Ends sessions that nothing is followed over any more.
    fn close_idle(&mut self) {
        self.open.retain(|_, (session, _)| !session.is_empty());
    }

    fn leader(&mut self, node: NodeId) -> Option<&Leader> {
        let image = self.shard.image();
        let known = self.leaders.entry(node);
        known
            .or_insert_with(|| leader_in(&self.shard, &image, node))
            .as_ref()
    }

    fn session(&mut self, key: Key) -> Rc<Session> {
        if let Some((session, _)) = self.open.get(&key) {
            return session.clone();
        }
        let leader = self
            .leader(key.0)
            .expect("a key names a leader that can be reached");
        let target = Target {
            host: leader.host.clone(),
            port: leader.port,
            node: key.0,
            core: key.1,
            cores: leader.cores,
            own_epoch: leader.own_epoch,
        };
        let session = Session::new(&self.shard, target);
        let task = rt::spawn(session.clone().run());
        self.open.insert(key, (session.clone(), task));
        session
    }

    fn synced(&self, partition: &TopicPartition) {
        let session = self.routes.get(partition).and_then(|key| self.open.get(key));
        if let Some((session, _)) = session {
            session.synced(partition);
        }
    }
}
