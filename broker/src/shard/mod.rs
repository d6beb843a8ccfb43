//! What one core owns: partitions, durability rounds, coordinators, and its end of the mesh to the other cores.
//!
//! One `Shard` per core, built on its thread and never leaving it (`Rc`, `Cell`). Everything another thread may say to it
//! comes through the mesh (`mesh.rs`, other cores) or the bridge (`bridge.rs`, the control plane).

pub mod bridge;
mod cold;
pub mod coordinator;
pub mod counters;
mod damage;
pub mod error;
pub mod follow;
mod isr;
pub mod lead;
mod leaderless;
pub mod mesh;
mod new_logs;
pub mod news;
pub mod partitions;
pub mod peers;
pub mod placement;
pub mod produce;
pub mod producer_ids;
pub mod queries;
pub mod read;
pub mod replicas;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod topic_config;
pub mod upkeep;
pub mod waiters;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::ids::{NodeId, TopicId, TopicPartition};

use crate::log::checkpoint::DirectoryCheckpoints;
use crate::log::{HandleCache, TailBudget};
use crate::metadata::image::MetadataImage;
use crate::quorum;
use crate::rt::file::Disk;
use crate::rt::local::{self, Budget, Event};
use crate::rt::mesh::Port;
use crate::rt::{self, ShardId};
use bridge::{Bridge, BridgeEnd};
use cold::ColdReads;
use counters::ShardCounters;
use mesh::{Answer, Asked, Early};
use news::News;
use partitions::{Faults, Partition, Shared};
use read::WatchTicket;
use replicas::Unclaimed;
use sync::Rounds;
use topic_config::{Given, TopicConfig};
use waiters::Watch;

/// Unanswered questions one core may have at another. Parked fetches and group joins are among them, so it is generous;
/// memory is bounded by the receive budget, not by this.
pub const MESH_WINDOW: usize = 32_768;

/// Called with the reason when a broker cannot go on. Any thread.
pub type Fatal = Arc<dyn Fn(String) + Send + Sync>;

/// What every core is told at start.
#[derive(Clone, Debug)]
pub struct Options {
    /// This broker.
    pub node_id: NodeId,
    /// Random per start; the image that has it is as new as this start.
    pub incarnation_id: [u8; 16],
    /// Where logs live, in the order of `log.dirs`.
    pub log_dirs: Vec<PathBuf>,
    /// Broker properties as given at start.
    pub given: Given,
    /// Bytes of requests this core may hold before it stops reading sockets.
    pub receive_budget_bytes: usize,
    /// Bytes that the entries of large requests of this core may take once they are decoded.
    pub decoded_budget_bytes: usize,
    /// Bytes read from files that answers of this core's partitions may hold.
    pub cold_read_bytes: usize,
    /// Records kept in memory behind the tail of all logs of this core.
    pub tail_cache_bytes: usize,
    /// Log file handles this core keeps open.
    pub open_files: usize,
    /// Consumer groups and their topic.
    pub groups: coordinator::GroupOptions,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `max.request.partition.size.limit`.
    pub describe_partitions_max: usize,
    /// `producer.id.expiration.check.interval.ms`.
    pub producers_check: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_check: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_every: Duration,
    /// `replica.selector.class` is the one that looks at racks.
    pub near_replicas: bool,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_max: Duration,
    /// Free bytes below which producers are refused.
    pub disk_reserve_bytes: u64,
    /// Tests only, never a property: answer producers before their records are synced, so that the tests which look for
    /// that can be seen to fail.
    pub answer_before_sync: bool,
    /// Tests only, likewise.
    pub replication_faults: Faults,
}

/// One log directory as this core sees it.
pub struct LogDir {
    /// Where.
    pub path: PathBuf,
    /// A write or sync failed in it.
    pub offline: Cell<bool>,
    /// Free space is below the reserve.
    pub full: Cell<bool>,
    /// Partitions of this core in it.
    pub partitions: Cell<usize>,
    /// The directory's checkpoint files, shared by all cores.
    pub checkpoints: Arc<DirectoryCheckpoints>,
}

/// What a core is built from, on its own thread.
pub struct Seed {
    /// Which core.
    pub id: ShardId,
    /// How many there are.
    pub count: u16,
    /// The same for all cores.
    pub options: Arc<Options>,
    /// The disk.
    pub disk: Disk,
    /// Checkpoint files of each log directory, in their order.
    pub checkpoints: Vec<Arc<DirectoryCheckpoints>>,
    /// This core's end of the mesh.
    pub port: Port<Asked, Answer>,
    /// The control plane's end of this core's bridge: replies come back over it.
    pub bridge: Bridge,
    /// The metadata quorum.
    pub quorum: quorum::Handle,
    /// Where this core counts.
    pub counters: Arc<ShardCounters>,
    /// What this broker sent to throttled replicas, counted by all of its cores.
    pub throttles: Arc<peers::Throttles>,
    /// Called once when a disk failed and this broker cannot go on.
    pub fatal: Fatal,
}

/// Who waits for the reply to something submitted to the quorum.
type Submission = local::Answer<Result<bridge::Decided, quorum::Refused>>;

/// Everything one core owns.
pub struct Shard {
    /// Which core.
    pub id: ShardId,
    /// How many there are.
    pub count: u16,
    /// As given at start.
    pub options: Arc<Options>,
    /// The disk.
    pub disk: Disk,
    /// What this core counts.
    pub counters: Arc<ShardCounters>,
    /// The metadata quorum.
    pub quorum: quorum::Handle,
    /// Bytes of requests on this core.
    pub receive_budget: Budget,
    /// Bytes of decoded requests on this core.
    pub decoded_budget: Budget,
    /// Group coordinators of this core.
    pub coordinators: coordinator::Coordinators,
    dirs: Vec<LogDir>,
    cold_reads: ColdReads,
    handles: Rc<HandleCache>,
    tail_budget: Rc<TailBudget>,
    image: RefCell<Arc<MetadataImage>>,
    /// Topics whose logs had no room and are tried again.
    opened_later: RefCell<BTreeSet<TopicId>>,
    /// Fires when a new image is installed.
    image_changed: Event,
    partitions: RefCell<HashMap<TopicPartition, Rc<Partition>, rt::Hashing>>,
    configs: RefCell<HashMap<TopicId, Rc<TopicConfig>, rt::Hashing>>,
    rounds: Rounds,
    shared: Rc<Shared>,
    /// Partitions that began to follow, or follow another leader or epoch, or stopped: the sessions look again.
    pub follow_changed: News,
    /// Followers that are served.
    followers: peers::Followers,
    throttles: Arc<peers::Throttles>,
    /// Followed partitions that have synced more: to be told to their leaders at once.
    pub synced_progress: News,
    watches: RefCell<HashMap<WatchTicket, Rc<Watch>, rt::Hashing>>,
    next_ticket: Cell<u64>,
    bridge: Bridge,
    submissions: RefCell<HashMap<u64, Submission, rt::Hashing>>,
    next_submission: Cell<u64>,
    producer_ids: producer_ids::Block,
    unclaimed: Unclaimed,
    mesh: rt::mesh::Mesh<Asked, Answer>,
    early: RefCell<Early>,
    stop: Cell<bool>,
    stopped: Event,
    fatal: Fatal,
}

impl Shard {
    /// Builds the core and starts its own tasks: the mesh, the inbox, rounds, upkeep. `recovered` are the logs found on
    /// disk; an image must claim them before they are served.
    pub fn start(seed: Seed, end: BridgeEnd, unclaimed: Unclaimed) -> Rc<Shard> {
        let dirs = seed
            .options
            .log_dirs
            .iter()
            .zip(seed.checkpoints)
            .map(|(path, checkpoints)| LogDir {
                path: path.clone(),
                checkpoints,
                offline: Cell::new(false),
                full: Cell::new(false),
                partitions: Cell::new(0),
            });
        let (mesh, inbound) = seed.port.open();
        let shard = Rc::new(Shard {
            id: seed.id,
            count: seed.count,
            disk: seed.disk.clone(),
            counters: seed.counters,
            quorum: seed.quorum,
            receive_budget: Budget::new(seed.options.receive_budget_bytes),
            decoded_budget: Budget::new(seed.options.decoded_budget_bytes),
            cold_reads: ColdReads::new(seed.options.cold_read_bytes),
            coordinators: coordinator::Coordinators::default(),
            dirs: dirs.collect(),
            handles: HandleCache::new(&seed.disk, seed.options.open_files),
            tail_budget: TailBudget::new(seed.options.tail_cache_bytes),
            image: RefCell::default(),
            opened_later: RefCell::default(),
            image_changed: Event::default(),
            partitions: RefCell::default(),
            configs: RefCell::default(),
            rounds: Rounds::default(),
            shared: Rc::new(Shared {
                faults: seed.options.replication_faults,
                ..Shared::default()
            }),
            follow_changed: News::default(),
            followers: peers::Followers::default(),
            throttles: seed.throttles,
            synced_progress: News::default(),
            watches: RefCell::default(),
            next_ticket: Cell::new(0),
            bridge: seed.bridge,
            submissions: RefCell::default(),
            next_submission: Cell::new(0),
            producer_ids: producer_ids::Block::default(),
            unclaimed,
            mesh,
            early: RefCell::default(),
            stop: Cell::new(false),
            stopped: Event::default(),
            fatal: seed.fatal,
            options: seed.options,
        });
        rt::spawn(shard.clone().run_mesh(inbound)).detach();
        rt::spawn(shard.clone().run_bridge(end)).detach();
        rt::spawn(shard.clone().run_rounds()).detach();
        rt::spawn(shard.clone().run_upkeep()).detach();
        rt::spawn(shard.clone().run_isr()).detach();
        rt::spawn(shard.clone().run_damaged()).detach();
        rt::spawn(shard.clone().run_leaderless()).detach();
        shard
    }

    /// The newest image this core has installed.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    /// Waits until the installed image satisfies `wanted`.
    pub async fn image_with(&self, wanted: impl Fn(&MetadataImage) -> bool) -> Arc<MetadataImage> {
        loop {
            let changed = self.image_changed.wait();
            let image = self.image();
            if wanted(&image) {
                return image;
            }
            changed.await;
        }
    }

    /// The core that owns a partition.
    pub fn owner(&self, partition: &TopicPartition) -> ShardId {
        placement::owner(partition, self.count)
    }

    /// A ticket no other watch has.
    pub fn next_watch_ticket(&self) -> WatchTicket {
        let number = self.next_ticket.get();
        self.next_ticket.set(number + 1);
        WatchTicket {
            asker: self.id.0,
            number,
        }
    }

    /// The broker goes down: parked fetches are answered with what there is.
    pub fn begin_stop(&self) {
        self.stop.set(true);
        self.coordinators.stop();
        self.stopped.notify_all();
    }

    /// Resolves when the broker goes down.
    pub async fn stopping(&self) {
        let stopped = self.stopped.wait();
        if !self.stop.get() {
            stopped.await;
        }
    }

    /// The effective properties of a topic, or those of a topic without own ones if it is not in the image.
    pub fn topic_config(&self, topic: TopicId) -> Rc<TopicConfig> {
        if let Some(known) = self.configs.borrow().get(&topic) {
            return known.clone();
        }
        let image = self.image();
        let config = Rc::new(TopicConfig::effective(
            &self.options.given,
            &image,
            self.options.node_id,
            topic,
        ));
        self.configs.borrow_mut().insert(topic, config.clone());
        config
    }

    /// The epoch of this process as a broker; none before the image has its registration, and after another process of the
    /// same node id took its place.
    pub(super) fn own_epoch(&self, image: &MetadataImage) -> Option<i64> {
        let own = image.broker(self.options.node_id);
        own.filter(|own| own.incarnation_id == self.options.incarnation_id)
            .map(|own| own.epoch)
    }

    /// The value in force on this broker of a property that may change while running.
    pub fn broker_value(&self, name: &'static str) -> String {
        topic_config::broker_value(&self.options.given, &self.image(), self.options.node_id, name)
    }

    /// A write or sync failed in a log directory: its partitions stop being served at once. When it was the last one,
    /// the process ends with the reason, and the restart recovers from what is on disk.
    fn take_dir_offline(&self, dir: usize) {
        if self.dirs[dir].offline.replace(true) {
            return;
        }
        self.counters
            .log_directories_offline
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for partition in self.all_partitions() {
            if partition.dir == dir {
                partition.take_offline();
            }
        }
        if self.dirs.iter().all(|dir| dir.offline.get()) {
            (self.fatal)(format!(
                "log directory {} failed and no other is left; check the disk, then start the broker again",
                self.dirs[dir].path.display()
            ));
        }
    }
}
