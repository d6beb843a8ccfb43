//! Cluster metadata as pure functions: records, the image they build, and the decisions that make new records.
//!
//! ```text
//! Request + image + Given ──decide──▶ Outcome { records, reply }      records ──apply──▶ image
//! ```
//!
//! Owns what a valid change is and what it is answered. Time, ids and defaults come in as [`Given`]; committing records
//! and answering after the commit is `quorum/`'s part, the wire is `api/`'s.

mod assign;
mod brokers;
mod changed_partitions;
mod configs;
pub mod damaged;
mod election;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod histories;
pub mod image;
mod isr;
mod leaders;
mod partitions;
mod producer_ids;
mod reassign;
pub mod record;
mod rules;
mod stalled;
pub mod statics;
mod stopping;
mod topics;
mod unclean;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::error_code::ErrorCode;
use protocol::ids::{LeaderEpoch, NodeId, ProducerId, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

pub use image::{Broker, ImageDiff, MetadataImage, PartitionImage, TopicImage, is_internal};
pub use producer_ids::BLOCK_LEN;
pub use record::{Address, Endpoint, Record};
pub use stopping::{BlockingPartition, Stopping, stopping};
pub use unclean::LogEnds;

/// What a decision may know beside the image: nothing here is read from a clock or a dice inside.
pub struct Given<'a> {
    /// Monotonic, in milliseconds since anything: a wall clock that is set would end patience, or stretch it.
    pub now_ms: i64,
    /// Random 16 bytes at every call: ids of new topics.
    pub fresh_id: &'a mut dyn FnMut() -> [u8; 16],
    pub defaults: &'a Defaults,
    /// What brokers said of logs that nobody leads; changed by what they say.
    pub log_ends: &'a mut LogEnds,
    /// Whether the process that registered so may still run, as far as the quorum's leader knows.
    pub lives: &'a dyn Fn(&Broker) -> bool,
}

/// What a topic gets that does not say otherwise, as this broker was given it at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `unclean.leader.election.enable`.
    pub unclean_election: bool,
    /// `flush.policy` is sync.
    pub flush_synced: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            partitions: 1,
            replication_factor: 1,
            min_insync_replicas: 1,
            unclean_election: false,
            flush_synced: true,
        }
    }
}

/// Why one item of a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    pub code: ErrorCode,
    /// For a person; names the item and what would be right.
    pub message: String,
}

impl ItemError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ItemError {
            code,
            message: message.into(),
        }
    }
}

/// A change somebody asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
    },
    DeleteTopics(Vec<TopicRef>),
    CreatePartitions {
        topics: Vec<MorePartitions>,
        validate_only: bool,
    },
    /// IncrementalAlterConfigs.
    AlterConfigs {
        resources: Vec<AlterResource>,
        validate_only: bool,
    },
    AllocateProducerIds {
        node: NodeId,
    },
    RegisterBroker(Registration),
    /// Lets a registered broker serve and lead, or takes that away.
    FenceBroker {
        node: NodeId,
        /// Only if this is the broker's epoch; none: whatever it is.
        epoch: Option<i64>,
        fenced: bool,
    },
    /// A broker is about to stop: its leaderships move, it leaves the in-sync sets.
    ControlledShutdown {
        node: NodeId,
        epoch: i64,
    },
    /// The disk of a broker answers no more, or again: where others can take over, nobody counts on it meanwhile.
    DiskStalled {
        node: NodeId,
        epoch: i64,
        stalled: bool,
    },
    /// A broker that is gone for good leaves the cluster.
    UnregisterBroker {
        node: NodeId,
    },
    /// AlterPartitionReassignments.
    AlterReassignments {
        topics: Vec<TopicReassignments>,
        /// The target may have another number of replicas.
        may_change_factor: bool,
    },
    /// Preferred leaders, or (unclean) any leader where there is none; no partitions: all.
    ElectLeaders {
        unclean: bool,
        partitions: Option<Vec<TopicPartitions>>,
    },
    /// Gives leaderships back to preferred leaders.
    BalanceLeaders {
        most: usize,
    },
    /// The leaders on `node` ask for other in-sync sets.
    AlterPartition {
        node: NodeId,
        broker_epoch: i64,
        changes: Vec<IsrChange>,
    },
    /// The broker asks to leave the in-sync sets of replicas that are corrupt in the middle, to fetch them again.
    GiveUpDamaged {
        node: NodeId,
        broker_epoch: i64,
        damaged: Vec<DamagedReplica>,
    },
    /// How far the logs of some partitions on a broker go that nobody leads.
    LogEnds {
        node: NodeId,
        broker_epoch: i64,
        ends: Vec<LogEnd>,
    },
    /// New advertised addresses of a running broker, by listener name; listeners not named keep theirs.
    UpdateListeners {
        node: NodeId,
        listeners: Vec<Endpoint>,
    },
    /// Dynamic properties of one broker, or (no node) of every broker.
    SetDynamicConfigs {
        node: Option<NodeId>,
        set: BTreeMap<String, String>,
        unset: Vec<String>,
    },
    /// The quorum's leader makes what it was given at start the cluster's, where there is one value for all (`statics.rs`).
    PublishStatics,
}

/// The answer to a [`Request`], variant for variant, items in the order of the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    CreateTopics(Vec<TopicReply<Created>>),
    DeleteTopics(Vec<TopicReply<Deleted>>),
    CreatePartitions(Vec<TopicReply<()>>),
    AlterConfigs(Vec<ResourceReply>),
    AllocateProducerIds(Result<ProducerIdBlock, ItemError>),
    RegisterBroker(Result<Registered, ItemError>),
    FenceBroker(Result<(), ItemError>),
    /// Partitions it still leads, because nobody else can.
    ControlledShutdown(Result<u64, ItemError>),
    /// How many partitions changed.
    DiskStalled(Result<u64, ItemError>),
    UnregisterBroker(Result<(), ItemError>),
    ElectLeaders(Vec<ElectedPartition>),
    AlterReassignments(Vec<Reassigned>),
    /// How many moved.
    BalanceLeaders(u64),
    AlterPartition(Result<Vec<Result<PartitionState, ItemError>>, ItemError>),
    GiveUpDamaged(Result<Vec<Result<(), ItemError>>, ItemError>),
    /// The partitions that are led again, by a replica that may miss records.
    LogEnds(Result<Vec<UncleanLeader>, ItemError>),
    UpdateListeners(Result<Updated<Vec<Endpoint>>, ItemError>),
    SetDynamicConfigs(Result<Updated<BTreeMap<String, String>>, ItemError>),
    /// How many changed.
    PublishStatics(u64),
}

/// The answer for one topic of a request, by the name it was asked with (its id where it was asked by id).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicReply<T> {
    /// Empty when the topic was named by an id nobody knows.
    pub name: Arc<str>,
    pub result: Result<T, ItemError>,
}

/// CreateTopics: one topic to create.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NewTopic {
    pub name: String,
    /// -1: the default, or given by `assignments`.
    pub partitions: i32,
    /// -1: the default, or given by `assignments`.
    pub replication_factor: i16,
    /// (partition, replicas) placed by hand; empty: we place.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    pub configs: Vec<(String, Option<String>)>,
}

/// CreateTopics: what was (or with `validate_only` would be) created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    /// What was set on the topic; defaults are not here.
    pub configs: BTreeMap<String, String>,
}

/// DeleteTopics: by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicRef {
    Name(String),
    Id(TopicId),
}

/// DeleteTopics: what is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub id: TopicId,
}

/// CreatePartitions: the new total of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MorePartitions {
    pub name: String,
    /// Partitions the topic shall have in all.
    pub count: i32,
    /// Replicas of each new partition, placed by hand; none: we place.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// What a property is set on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    Topic(String),
    Broker(NodeId),
    /// Every broker: Kafka's broker resource with an empty name.
    Cluster,
}

/// AlterConfigs: what to change on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterResource {
    pub resource: Resource,
    pub changes: Vec<ConfigChange>,
}

/// AlterConfigs: one change of one property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    pub name: String,
    pub op: ConfigOp,
    /// Not looked at for [`ConfigOp::Delete`].
    pub value: Option<String>,
}

/// What a [`ConfigChange`] does. Append and subtract are for properties that are lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOp {
    Set,
    Delete,
    Append,
    Subtract,
}

impl ConfigOp {
    /// From the wire's `config_operation` (KIP-339).
    pub fn from_wire(op: i8) -> Option<ConfigOp> {
        Some(match op {
            0 => ConfigOp::Set,
            1 => ConfigOp::Delete,
            2 => ConfigOp::Append,
            3 => ConfigOp::Subtract,
            _ => return None,
        })
    }
}

/// AlterConfigs: the answer for one resource; all of its changes were made, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReply {
    pub resource: Resource,
    pub result: Result<(), ItemError>,
}

/// Producer ids for one broker to hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub len: i64,
}

/// ElectLeaders: partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// ElectLeaders: what became of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectedPartition {
    pub topic: Arc<str>,
    pub partition: i32,
    pub result: Result<(), ItemError>,
    /// Who leads now, where that one may miss acknowledged records.
    #[serde(default)]
    pub unclean: Option<UncleanLeader>,
}

/// AlterPartitionReassignments: partitions of one topic, and where each is to be; none gives its reassignment up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReassignments {
    pub topic: String,
    pub partitions: Vec<(i32, Option<Vec<NodeId>>)>,
}

/// AlterPartitionReassignments: what became of one partition; in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassigned {
    pub topic: Arc<str>,
    pub partition: i32,
    pub result: Result<(), ItemError>,
}

/// AlterPartition: the in-sync set a leader wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrChange {
    pub partition: TopicPartition,
    /// Under which it leads.
    pub leader_epoch: LeaderEpoch,
    /// That the change is made from.
    pub partition_epoch: i32,
    /// Members with the broker epoch that the leader knows them in (KIP-903).
    pub isr: Vec<(NodeId, i64)>,
}

/// AlterPartition: the partition afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    pub leader: Option<NodeId>,
    pub leader_epoch: LeaderEpoch,
    pub isr: Vec<NodeId>,
    pub partition_epoch: i32,
}

/// GiveUpDamaged: one replica on the broker that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedReplica {
    pub partition: TopicPartition,
    /// That the change is made from.
    pub leader_epoch: LeaderEpoch,
}

/// LogEnds: the log of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    pub partition: TopicPartition,
    /// Of the partition, while nobody leads it.
    pub leader_epoch: LeaderEpoch,
    /// Leader epoch of its last record; -1: it has none.
    pub last_epoch: i32,
    /// Offset after its last record.
    pub log_end: i64,
}

/// LogEnds, ElectLeaders: a partition that is led by a replica that may miss acknowledged records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncleanLeader {
    pub topic: Arc<str>,
    pub partition: i32,
    pub leader: NodeId,
    /// Of its last record; -1: it has none.
    pub last_epoch: i32,
    /// Where its log ends: what was acknowledged from there on is given up. -1: it was elected by hand before it said so.
    pub log_end: i64,
    /// Who has all that was acknowledged, and is not there.
    pub missing: Vec<NodeId>,
}

/// A broker that starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub node: NodeId,
    /// Random per process start.
    pub incarnation_id: [u8; 16],
    /// Id of its log directory.
    pub directory_id: [u8; 16],
    pub cluster_id: Arc<str>,
    pub rack: Option<Arc<str>>,
    /// True: it may not lead or serve until [`Request::FenceBroker`] says so.
    pub fenced: bool,
    /// Advertised addresses.
    pub listeners: Vec<Endpoint>,
    /// Where other brokers replicate from it; none where there are none.
    pub replication: Option<Address>,
    /// Cores of its data plane.
    pub shards: u16,
    /// The process before it ended in order: nothing it was told to keep can be missing, whatever `flush.policy` says.
    pub clean_shutdown: bool,
}

/// RegisterBroker: the broker's place in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub epoch: i64,
}

/// A value as it is now in force, and whether this request changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated<T> {
    pub value: T,
    pub changed: bool,
}

/// What a request comes to: records to commit (none for a refusal, a no-op or `validate_only`), and the answer that may
/// leave once they are committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub records: Vec<Record>,
    pub reply: Reply,
}

/// Decides one request against one image. The table of requests; each noun has its file.
pub fn decide(image: &MetadataImage, given: &mut Given<'_>, request: &Request) -> Outcome {
    match request {
        Request::CreateTopics {
            topics,
            validate_only,
        } => topics::create(image, given, topics, *validate_only),
        Request::DeleteTopics(topics) => topics::delete(image, topics),
        Request::CreatePartitions {
            topics,
            validate_only,
        } => partitions::create(image, topics, *validate_only),
        Request::AlterConfigs {
            resources,
            validate_only,
        } => configs::alter(image, given.defaults, resources, *validate_only),
        Request::AllocateProducerIds { node } => producer_ids::allocate(image, *node),
        Request::RegisterBroker(registration) => brokers::register(image, given, registration),
        Request::FenceBroker { node, epoch, fenced } => {
            brokers::fence(image, given.defaults, *node, *epoch, *fenced)
        }
        Request::ControlledShutdown { node, epoch } => {
            brokers::shut_down(image, given.defaults, *node, *epoch)
        }
        Request::DiskStalled { node, epoch, stalled } => {
            stalled::decide(image, given.defaults, *node, *epoch, *stalled)
        }
        Request::UnregisterBroker { node } => brokers::unregister(image, *node),
        Request::ElectLeaders { unclean, partitions } => {
            leaders::elect(image, given, *unclean, partitions.as_deref())
        }
        Request::AlterReassignments {
            topics,
            may_change_factor,
        } => reassign::alter(image, given.defaults, topics, *may_change_factor),
        Request::BalanceLeaders { most } => leaders::balance(image, *most),
        Request::AlterPartition {
            node,
            broker_epoch,
            changes,
        } => isr::alter(image, given.defaults, *node, *broker_epoch, changes),
        Request::GiveUpDamaged {
            node,
            broker_epoch,
            damaged,
        } => damaged::give_up(image, given.defaults, *node, *broker_epoch, damaged),
        Request::LogEnds {
            node,
            broker_epoch,
            ends,
        } => unclean::noted(image, given, *node, *broker_epoch, ends),
        Request::UpdateListeners { node, listeners } => brokers::update_listeners(image, *node, listeners),
        Request::SetDynamicConfigs { node, set, unset } => {
            configs::set_dynamic(image, given.defaults, *node, set, unset)
        }
        Request::PublishStatics => statics::publish(image, given.defaults),
    }
}
