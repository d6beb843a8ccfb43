//! From a properties file, the environment and the command line to one option struct per subsystem, or to one list of
//! everything that is wrong.
//!
//! Owns what properties mean together (synonyms, which wins, what one node can serve). What each one is called and
//! takes is in the property tables; there is no global accessor: `node` hands every subsystem its own struct.

mod addresses;
mod cluster;
mod environment;
mod file;
mod load;
mod settings;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::NodeId;
use protocol::listener::split_address;

pub use addresses::ListenerOptions;
pub use cluster::ClusterOptions;
pub use load::load;
pub use settings::{Origin, Setting, Settings};

use crate::rt::IoEngine;

/// `replica.selector.class` under which consumers are sent to a replica of their rack.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Everything a broker is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeOptions,
    pub storage: StorageOptions,
    pub listeners: ListenerOptions,
    pub control: ControlOptions,
    /// None: this broker is its whole cluster.
    pub cluster: Option<ClusterOptions>,
    pub runtime: RuntimeOptions,
    pub sockets: SocketOptions,
    pub topics: TopicOptions,
    pub groups: GroupOptions,
    /// The properties as given, by name; those not given have the table's default.
    pub given: Arc<BTreeMap<String, String>>,
    /// Lines for the log, about what was derived or taken without effect.
    pub notes: Vec<String>,
}

/// Who this broker is, as far as it was told; `directory` completes it from what lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOptions {
    /// `node.id` or `broker.id`. `None`: that of the data directory, or 1 for a fresh one.
    pub node_id: Option<NodeId>,
    /// `cluster.id`. `None`: that of the data directory, or a new one.
    pub cluster_id: Option<String>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// Where and how data lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// `log.dirs`, in its order. Never empty.
    pub log_dirs: Vec<PathBuf>,
    /// `replica.selector.class` is the one that looks at racks.
    pub near_replicas: bool,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_max: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_check: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_every: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producers_check: Duration,
    /// `log.disk.reserve.bytes`: free bytes below which producers are refused.
    pub disk_reserve_bytes: u64,
}

/// The ports beside Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// `admin.listener`: gRPC, for the operator.
    pub admin: SocketAddr,
    /// `http.listener`: health and metrics.
    pub http: SocketAddr,
    /// `advertised.listeners.file`: watched, changes apply while running.
    pub advertised_file: Option<PathBuf>,
}

/// Cores and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// `io.engine`.
    pub io_engine: IoEngine,
    /// `shards`. `None`: what affinity and the CPU quota give.
    pub shards: Option<u16>,
    /// `memory.limit.bytes`: per shard, hard.
    pub memory_hard_bytes: usize,
    /// Three quarters of the hard limit; from here on sockets are not read.
    pub memory_soft_bytes: usize,
}

/// How connections are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: usize,
    /// `max.request.partition.size.limit`.
    pub describe_partitions_max: usize,
}

/// What a topic gets whose creator does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`.
    pub unclean_election: bool,
    /// `flush.policy` is sync.
    pub flush_synced: bool,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enable: bool,
}

/// Consumer groups and their topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// `offsets.topic.num.partitions`.
    pub offsets_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub offsets_segment_bytes: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout: Duration,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout: Duration,
    /// `group.max.size`.
    pub max_size: usize,
}

/// What the machine says that defaults depend on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name that clients are told when nothing says which.
    pub hostname: String,
    /// Where data goes without `log.dirs`.
    pub default_log_dir: PathBuf,
}

/// Everything that is wrong with what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Draws the option structs out of the settings.
    pub fn new(mut settings: Settings, facts: &Facts) -> Result<Config, ConfigErrors> {
        let node = node(&mut settings);
        let cluster = cluster::cluster(
            &mut settings,
            node.node_id,
            node.cluster_id.as_deref(),
            &facts.hostname,
        );
        let log_dirs = log_dirs(&mut settings, facts);
        let listeners = addresses::resolve(&mut settings, &facts.hostname);
        let control = control(&mut settings);
        unserved_values(&mut settings, cluster.is_some());
        let (Some(listeners), Some(control), true) = (listeners, control, settings.errors.is_empty()) else {
            return Err(ConfigErrors(settings.errors));
        };
        let values = Values(&settings);
        Ok(Config {
            node,
            storage: StorageOptions {
                log_dirs,
                near_replicas: values.0.text("replica.selector.class") == Some(RACK_AWARE),
                replica_lag_max: values.millis("replica.lag.time.max.ms"),
                retention_check: values.millis("log.retention.check.interval.ms"),
                checkpoint_every: values.millis("log.flush.offset.checkpoint.interval.ms"),
                producers_check: values.millis("producer.id.expiration.check.interval.ms"),
                disk_reserve_bytes: values.size("log.disk.reserve.bytes") as u64,
            },
            listeners,
            control,
            cluster,
            runtime: runtime(&values),
            sockets: sockets(&values),
            topics: topics(&values),
            groups: groups(&values),
            given: Arc::new(settings.to_map()),
            notes: settings.notes,
        })
    }
}

/// Typed reading of values that the property table has checked already.
struct Values<'a>(&'a Settings);

impl Values<'_> {
    fn number(&self, name: &str) -> i64 {
        let text = self.0.text(name);
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} is a number with a default"))
    }

    /// A number that counts something; Kafka's negative "no limit" is the largest.
    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or(i32::MAX)
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.number(name)).unwrap_or(i16::MAX)
    }

    fn millis(&self, name: &str) -> Duration {
        // Kafka turns some timeouts off with a negative value; a century is off.
        const OFF: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        u64::try_from(self.number(name)).map_or(OFF, |millis| Duration::from_millis(millis).min(OFF))
    }

    fn flag(&self, name: &str) -> bool {
        self.0
            .text(name)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

fn node(settings: &mut Settings) -> NodeOptions {
    let id = |settings: &Settings, name: &str| {
        settings
            .given(name)
            .and_then(|given| given.value.parse().ok())
            .filter(|id: &i32| *id >= 0)
    };
    let node_id: Option<i32> = id(settings, "node.id");
    let broker_id: Option<i32> = id(settings, "broker.id");
    if let (Some(node_id), Some(broker_id)) = (node_id, broker_id)
        && node_id != broker_id
    {
        settings.refuse("broker.id", format!("node.id={node_id} says otherwise"));
    }
    let cluster_id = settings.given("cluster.id").map(|given| given.value.clone());
    if cluster_id.as_deref().is_some_and(|id| !is_cluster_id(id)) {
        settings.refuse("cluster.id", "up to 64 letters, digits, '-' and '_' are expected");
    }
    NodeOptions {
        node_id: node_id.or(broker_id).map(NodeId),
        cluster_id,
        rack: settings
            .text("broker.rack")
            .filter(|rack| !rack.is_empty())
            .map(str::to_string),
    }
}

fn is_cluster_id(id: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&id.len()) && id.bytes().all(known)
}

fn log_dirs(settings: &mut Settings, facts: &Facts) -> Vec<PathBuf> {
    let given = ["log.dirs", "log.dir"]
        .into_iter()
        .find(|name| settings.given(name).is_some());
    let Some(name) = given else {
        let dir = facts.default_log_dir.clone();
        settings.notes.push(format!(
            "log.dirs={} (nothing says where data goes, so this default does)",
            dir.display()
        ));
        return vec![dir];
    };
    let text = settings.text(name).unwrap_or("");
    let dirs: Vec<PathBuf> = text
        .split(',')
        .map(str::trim)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .collect();
    match dirs.len() {
        0 => settings.refuse(name, "a folder is expected"),
        1 => {}
        _ => settings.refuse(name, "one folder is served yet"),
    }
    dirs
}

fn control(settings: &mut Settings) -> Option<ControlOptions> {
    let admin = socket_address(settings, "admin.listener");
    let http = socket_address(settings, "http.listener");
    let advertised_file = settings
        .text("advertised.listeners.file")
        .filter(|path| !path.is_empty());
    Some(ControlOptions {
        advertised_file: advertised_file.map(PathBuf::from),
        admin: admin?,
        http: http?,
    })
}

fn socket_address(settings: &mut Settings, name: &str) -> Option<SocketAddr> {
    let text = settings.text(name).unwrap_or("").to_string();
    let resolved = split_address(&text)
        .and_then(|(host, port)| {
            Some((
                if host.is_empty() { "0.0.0.0" } else { host },
                port.parse::<u16>().ok()?,
            ))
        })
        .and_then(|address| address.to_socket_addrs().ok()?.next());
    if resolved.is_none() {
        settings.refuse(name, "host:port of this machine is expected");
    }
    resolved
}

/// Values that the table allows and this version does not serve yet.
fn unserved_values(settings: &mut Settings, several: bool) {
    if settings
        .text("log.cleanup.policy")
        .is_some_and(|policy| policy.contains("compact"))
    {
        settings.refuse("log.cleanup.policy", "compact is not served yet");
    }
    if settings.text("max.connections.per.ip") == Some("0")
        && settings
            .text("max.connections.per.ip.overrides")
            .is_none_or(str::is_empty)
    {
        settings.refuse(
            "max.connections.per.ip",
            "nobody could connect; max.connections.per.ip.overrides must name who may",
        );
    }
    for name in ["default.replication.factor", "min.insync.replicas"] {
        let above_one = settings
            .given(name)
            .is_some_and(|given| given.value.parse().is_ok_and(|n: i32| n > 1));
        if above_one && !several {
            settings.refuse(
                name,
                "this broker is its whole cluster (controller.quorum.voters), so 1 is the most",
            );
        }
    }
}

fn runtime(values: &Values<'_>) -> RuntimeOptions {
    let hard = values.size("memory.limit.bytes");
    RuntimeOptions {
        io_engine: values
            .0
            .text("io.engine")
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        shards: values.0.text("shards").and_then(|text| text.parse().ok()),
        memory_hard_bytes: hard,
        memory_soft_bytes: hard / 4 * 3,
    }
}

fn sockets(values: &Values<'_>) -> SocketOptions {
    SocketOptions {
        request_max_bytes: values.size("socket.request.max.bytes"),
        max_idle: values.millis("connections.max.idle.ms"),
        fetch_max_bytes: values.size("fetch.max.bytes"),
        fetch_session_slots: values.size("max.incremental.fetch.session.cache.slots"),
        describe_partitions_max: values.size("max.request.partition.size.limit"),
    }
}

fn topics(values: &Values<'_>) -> TopicOptions {
    TopicOptions {
        num_partitions: values.int("num.partitions"),
        default_replication_factor: values.short("default.replication.factor"),
        min_insync_replicas: values.int("min.insync.replicas"),
        unclean_election: values.flag("unclean.leader.election.enable"),
        flush_synced: values.0.text("flush.policy") != Some("async"),
        auto_create: values.flag("auto.create.topics.enable"),
        delete_enable: values.flag("delete.topic.enable"),
    }
}

fn groups(values: &Values<'_>) -> GroupOptions {
    GroupOptions {
        offsets_partitions: values.int("offsets.topic.num.partitions"),
        offsets_replication_factor: values.short("offsets.topic.replication.factor"),
        offsets_segment_bytes: values.int("offsets.topic.segment.bytes"),
        offset_metadata_max_bytes: values.size("offset.metadata.max.bytes"),
        commit_timeout: values.millis("offsets.commit.timeout.ms"),
        offsets_retention: values.millis("offsets.retention.minutes") * 60_000,
        offsets_retention_check: values.millis("offsets.retention.check.interval.ms"),
        initial_rebalance_delay: values.millis("group.initial.rebalance.delay.ms"),
        min_session_timeout: values.millis("group.min.session.timeout.ms"),
        max_session_timeout: values.millis("group.max.session.timeout.ms"),
        max_size: values.size("group.max.size"),
    }
}

#[cfg(test)]
mod tests;
