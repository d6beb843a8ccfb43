//! Start and stop order of one broker, in this process or in a test.
//!
//! ```text
//! health port -> engine -> directories -> quorum -> cores recover logs -> image -> listeners -> registered -> ready
//! stop accepting -> answer what is in flight -> last round -> checkpoints, clean mark -> quorum -> done
//! ```
//! Owns that order and the threads it starts. Leaves each step to the folder that knows it; what one core does is in
//! `node/core.rs`.

mod control;
mod core;
mod dirs;
mod measure;
mod signals;

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::NodeId;
use protocol::listener::Listener;

use self::control::ControlPlane;
use self::core::{Beginning, Command, Event};
use self::dirs::Found;
use crate::config::{self, Config};
use crate::directory::{self, Directories};
use crate::group::Limits;
use crate::http::Health;
use crate::log::checkpoint::{self, DirectoryCheckpoints};
use crate::net::{listener, quota::Quota};
use crate::quorum;
use crate::quorum::admin::{BrokerState, BrokerView};
use crate::rt::control::sync::mpsc;
use crate::rt::control::{Control, ControlHandle};
use crate::rt::cores::{self, CorePlan};
use crate::rt::file::Disk;
use crate::rt::{self, EngineChoice, Executors, Instant, ShardId, doorbell, mesh};
use crate::shard::partitions::Faults;
use crate::shard::peers::Throttles;
use crate::shard::replicas::{FoundLog, Progress};
use crate::shard::{self, Fatal, bridge, counters::ShardCounters, placement};

pub use self::signals::Signals;

/// One part in so many of what a core may hold is for records that are in a file already. The tail cache fills to its limit on
/// any broker that is written to, and stays full; behind it is the page cache, which holds the same bytes.
const TAIL_SHARE: usize = 16;

/// Worker threads of the control plane: the data plane does not run here.
const CONTROL_THREADS: usize = 2;
/// How long a broker that stops waits for others to take over from it.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How long blocking calls of the control plane may take to end on the way down.
const GRACE: Duration = Duration::from_secs(5);

/// What a test may change about a broker. Never reachable from a property.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestSwitches {
    /// Answer producers before their records are synced: the durability tests must fail with it.
    pub answer_before_sync: bool,
    /// Log files all cores together keep open, where several brokers share this process; else a share of its limit.
    pub open_files: Option<usize>,
    /// Do not end the process when the last log directory failed: it is the test's.
    pub survive_failed_disk: bool,
    /// Lead without looking whether a follower's history is the leader's.
    pub skip_epoch_check: bool,
    /// Follow a new leader by cutting at the high watermark instead of where histories part.
    pub truncate_by_high_watermark: bool,
    /// Follow by saying that what was fetched is synced.
    pub report_unsynced: bool,
}

/// Why a broker did not start. One line for the person who starts it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine asked for is refused by the machine.
    #[error("{0}")]
    Engine(#[from] rt::EngineRefused),
    /// A step could not be carried out.
    #[error("{step}: {why}")]
    Step {
        /// Verb and object.
        step: &'static str,
        /// What went wrong.
        why: String,
    },
}

fn failed<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError::Step {
        step,
        why: error.to_string(),
    }
}

/// Who this broker is, once its directories were looked at.
pub(crate) struct Identity {
    node: NodeId,
    cluster_id: Arc<str>,
    /// Id of the first log directory.
    directory_id: [u8; 16],
    /// Random per start.
    incarnation_id: [u8; 16],
    /// No directory speaks of an earlier life.
    may_form: bool,
    /// The process before this one left its directories in order.
    clean_shutdown: bool,
    /// Cores of the data plane.
    shards: u16,
}

/// Where this broker listens.
pub(crate) struct Bound {
    /// By name, in the order of the properties.
    clients: Vec<(String, SocketAddr)>,
    /// The replication listener, where there are other brokers.
    followers: Option<SocketAddr>,
}

/// A running broker. Stop it; a dropped one runs on.
pub struct Node {
    /// Where each listener listens, by name, in the order of the properties.
    pub addresses: Vec<(String, SocketAddr)>,
    /// Where followers fetch; None on a broker that is its whole cluster.
    pub replication: Option<SocketAddr>,
    /// Where the admin service listens.
    pub admin: SocketAddr,
    /// Which engine runs it, and why.
    pub engine: EngineChoice,
    /// What each core counts.
    pub counters: Vec<Arc<ShardCounters>>,
    /// The metadata quorum.
    pub quorum: quorum::Handle,
    /// Where health and metrics are.
    pub http: SocketAddr,
    health: Health,
    state: Arc<AtomicU8>,
    disk: Disk,
    /// Locked until the last file is closed.
    dirs: Directories,
    /// Checkpoint files of each directory, in their order.
    checkpoints: Vec<Arc<DirectoryCheckpoints>>,
    control: ControlPlane,
    /// The control plane's threads, where it has its own.
    threads: Option<Control>,
    cores: Cores,
}

/// What the threads of the data plane are started from.
struct CoresPlan<'a> {
    config: &'a Config,
    disk: &'a Disk,
    identity: &'a Identity,
    quorum: &'a quorum::Handle,
    plan: &'a CorePlan,
    engine: &'a EngineChoice,
    switches: TestSwitches,
    found: Found,
    progress: Progress,
}

/// The threads of the data plane and the lines to them.
struct Cores {
    commands: Vec<doorbell::Sender<Command>>,
    events: mpsc::UnboundedReceiver<Event>,
    bridges: Vec<bridge::Bridge>,
    counters: Vec<Arc<ShardCounters>>,
    failure: Arc<Mutex<Option<String>>>,
    executors: Executors,
}

impl Node {
    /// Starts a broker and returns when clients can use it.
    pub fn start(config: Config, disk: Disk) -> Result<Node, StartError> {
        Node::start_with(config, disk, TestSwitches::default())
    }

    /// The same, with the switches of a test.
    pub fn start_with(config: Config, disk: Disk, switches: TestSwitches) -> Result<Node, StartError> {
        let threads = Control::start(CONTROL_THREADS).map_err(failed("start the control plane"))?;
        let started = threads.block_on(Node::start_on(threads.handle(), config, disk, switches));
        match started {
            Ok(mut node) => {
                node.threads = Some(threads);
                Ok(node)
            }
            Err(error) => {
                threads.shutdown(GRACE);
                Err(error)
            }
        }
    }

    /// Starts a broker as the current process of a simulated world (`rt::sim`). The property `shards` says how many cores it
    /// has; the disk is the machine's.
    pub async fn start_simulated(
        config: Config,
        disk: Disk,
        switches: TestSwitches,
    ) -> Result<Node, StartError> {
        Node::start_on(ControlHandle::simulated(), config, disk, switches).await
    }

    async fn start_on(
        handle: ControlHandle,
        config: Config,
        disk: Disk,
        switches: TestSwitches,
    ) -> Result<Node, StartError> {
        let began = rt::now();
        let state = Arc::new(AtomicU8::new(BrokerState::Starting as u8));
        let mut control = ControlPlane::new(handle);
        let (health, metrics) = measure::begin(began);
        let http = control.serve_http(config.control.http, &health, &metrics).await?;
        let plan = cores::plan(config.runtime.shards);
        let engine = rt::probe::choose(config.runtime.io_engine, plan.shards)?;
        tracing::info!(engine = %engine.engine, shards = plan.shards, "{}", engine.detail);
        let dirs = directory::open(&disk, &config.storage.log_dirs, &config.node, rt::random_uuid)
            .map_err(failed("open the log directories"))?;
        for note in &dirs.notes {
            tracing::info!("{note}");
        }
        let found = dirs::look(&disk, dirs.dirs.iter().map(|dir| dir.path.as_path()));
        let found = found.map_err(failed("look through the log directories"))?;
        let identity = Identity {
            node: dirs.node_id,
            cluster_id: dirs.cluster_id.clone(),
            directory_id: dirs.dirs[0].directory_id,
            incarnation_id: rt::random_uuid(),
            may_form: dirs.may_form,
            clean_shutdown: found.clean,
            shards: plan.shards,
        };
        let checkpoints = found.checkpoints.clone();
        health.done(measure::DIRECTORIES);
        state.store(BrokerState::Recovering as u8, Relaxed);
        let view = view(&config, &identity, &engine, &plan, &state, &health, began);
        let admin = control.serve_admin(config.control.admin, view).await?;
        // Before the logs: how a log is judged depends on the properties that its topic has.
        let quorum = control
            .join_quorum(&config, &disk, &identity, &health, switches.answer_before_sync)
            .await?;
        let here = quorum::Voter {
            node: identity.node.0,
            directory: identity.directory_id,
        };
        measure::add_quorum(&metrics, &quorum, here);
        measure::watch_failures(&health, &quorum);
        health.done(measure::QUORUM);
        let progress = measure::recovery_progress(&health, found.logs.len());
        let mut cores = Cores::start(CoresPlan {
            config: &config,
            disk: &disk,
            identity: &identity,
            quorum: &quorum,
            plan: &plan,
            engine: &engine,
            switches,
            found,
            progress,
        })?;
        cores.recovered().await?;
        measure::add_cores(&metrics, &engine, &cores.counters);
        control.end_with_quorum(&quorum, on_failure(&cores.failure, !switches.survive_failed_disk));
        cores.join(&quorum).await?;
        health.done(measure::RECOVERY);
        let bound = cores.bind(&config).await?;
        health.done(measure::LISTENERS);
        control.watch_disk(cores.counters.clone());
        control
            .register(&config, &disk, &identity, &quorum, &bound, &health)
            .await?;
        cores.tell_all(|| Command::Accept);
        control.unfenced().await;
        for (name, address) in &bound.clients {
            tracing::info!(listener = %name, %address, "clients are served");
        }
        state.store(BrokerState::Running as u8, Relaxed);
        health.done(measure::REGISTRATION);
        let counters = cores.counters.clone();
        Ok(Node {
            addresses: bound.clients,
            replication: bound.followers,
            admin,
            engine,
            counters,
            quorum,
            health,
            state,
            disk,
            dirs,
            checkpoints,
            http,
            control,
            threads: None,
            cores,
        })
    }

    /// Why this broker cannot go on, if it cannot.
    pub fn failure(&self) -> Option<String> {
        self.cores
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stops in order; returns when everything is on disk and every thread has ended.
    pub fn stop(self) -> Result<(), StartError> {
        self.stop_threads()?.join().map_err(failed("stop the cores"))
    }

    /// The same for a process that ends right after: threads that have nothing left to do are not waited for (taking an
    /// io_uring apart costs a tenth of a second).
    pub fn stop_to_exit(self) -> Result<(), StartError> {
        self.stop_threads().map(drop)
    }

    /// The same in a simulated world.
    pub async fn stop_simulated(self) -> Result<(), StartError> {
        self.wind_down().await.map(drop)
    }

    fn stop_threads(mut self) -> Result<Executors, StartError> {
        let threads = self.threads.take().expect("a broker that is not simulated");
        let executors = threads.block_on(self.wind_down());
        threads.shutdown(GRACE);
        executors
    }

    async fn wind_down(self) -> Result<Executors, StartError> {
        self.state.store(BrokerState::Stopping as u8, Relaxed);
        self.health.stopping();
        self.control.leave_in_order(LEAVE_WITHIN).await;
        let (clean, executors) = self.cores.stop().await;
        for checkpoints in &self.checkpoints {
            checkpoints
                .write()
                .map_err(failed("write the checkpoint files"))?;
        }
        if clean {
            for dir in &self.dirs.dirs {
                checkpoint::mark_clean_shutdown(&self.disk, &dir.path, -1)
                    .map_err(failed("mark the log directories as cleanly left"))?;
            }
        }
        self.control.stop().await;
        Ok(executors)
    }
}

/// What the admin service tells about this broker beside its metadata.
fn view(
    config: &Config,
    identity: &Identity,
    engine: &EngineChoice,
    plan: &CorePlan,
    state: &Arc<AtomicU8>,
    health: &Health,
    began: Instant,
) -> BrokerView {
    let (state, health) = (state.clone(), health.clone());
    BrokerView {
        cluster_id: identity.cluster_id.clone(),
        node: identity.node,
        incarnation_id: identity.incarnation_id,
        engine: engine.engine.as_str(),
        engine_reason: engine.reason.as_str().to_string(),
        engine_detail: engine.detail.clone(),
        shards: i32::from(plan.shards),
        static_config_hash: measure::static_config_hash(&config.given),
        min_insync_replicas: usize::try_from(config.topics.min_insync_replicas).unwrap_or(1),
        state: Box::new(move || state_of(state.load(Relaxed))),
        not_ready: Box::new(move || health.not_ready()),
        metadata_lost: Box::new(|| false),
        memory_bytes: Box::new(measure::memory_bytes),
        uptime: Box::new(move || measure::since(began)),
    }
}

fn state_of(number: u8) -> BrokerState {
    use BrokerState::{Recovering, Running, Starting, Stopping};
    [Starting, Recovering, Running, Stopping]
        .into_iter()
        .find(|state| *state as u8 == number)
        .unwrap_or(Starting)
}

impl Cores {
    fn start(start: CoresPlan<'_>) -> Result<Cores, StartError> {
        let CoresPlan {
            config,
            disk,
            identity,
            quorum,
            plan,
            engine,
            switches,
            found,
            progress,
        } = start;
        let count = plan.shards;
        let options = Arc::new(shard_options(config, identity, count, switches));
        let ports = mesh::ports(count, shard::MESH_WINDOW).map_err(failed("connect the cores"))?;
        let (tell, events) = mpsc::unbounded_channel();
        let checkpoints = found.checkpoints;
        let failure = Arc::new(Mutex::new(None));
        let fatal = on_failure(&failure, !switches.survive_failed_disk);
        let mut by_core: Vec<Vec<FoundLog>> = (0..count).map(|_| Vec::new()).collect();
        for log in found.logs {
            by_core[placement::owner(&log.id(), count).index()].push(log);
        }
        let mut beginnings = Vec::new();
        let quota = Arc::new(Quota::default());
        let throttles = Arc::new(Throttles::default());
        let (mut commands, mut bridges, mut counters) = (Vec::new(), Vec::new(), Vec::new());
        for ((index, port), found) in ports.into_iter().enumerate().zip(by_core) {
            let (command, inbox) = doorbell::channel(16).map_err(failed("connect the cores"))?;
            let (bridge, bridge_end) = bridge::pair().map_err(failed("connect the cores"))?;
            let counted = Arc::new(ShardCounters::default());
            commands.push(command);
            bridges.push(bridge.clone());
            counters.push(counted.clone());
            beginnings.push(Beginning {
                id: ShardId(index as u16),
                count,
                options: options.clone(),
                net: listener::Options {
                    request_max_bytes: config.sockets.request_max_bytes,
                    max_idle: config.sockets.max_idle,
                    quota: quota.clone(),
                },
                fetch_sessions: config.sockets.fetch_session_slots.div_ceil(usize::from(count)),
                disk: disk.clone(),
                checkpoints: checkpoints.clone(),
                port,
                bridge,
                bridge_end,
                counters: counted,
                throttles: throttles.clone(),
                found,
                progress: progress.clone(),
                quorum: quorum.clone(),
                commands: inbox,
                events: tell.clone(),
                fatal: fatal.clone(),
            });
        }
        let executors = run(engine, plan, beginnings).map_err(failed("start the cores"))?;
        Ok(Cores {
            commands,
            events,
            bridges,
            counters,
            failure,
            executors,
        })
    }

    /// Waits until every core has opened its logs.
    async fn recovered(&mut self) -> Result<(), StartError> {
        for _ in 0..self.commands.len() {
            match self.next().await {
                Event::Recovered(result) => result.map_err(failed("recover the logs"))?,
                _ => return Err(out_of_order()),
            }
        }
        Ok(())
    }

    /// Makes every core a shard that follows the quorum's images.
    async fn join(&mut self, quorum: &quorum::Handle) -> Result<(), StartError> {
        self.tell_all(|| Command::Join);
        for _ in 0..self.commands.len() {
            if !matches!(self.next().await, Event::Joined) {
                return Err(out_of_order());
            }
        }
        for bridge in &self.bridges {
            let bridge = bridge.clone();
            quorum.subscribe(Box::new(move |update| bridge.publish(update)));
        }
        Ok(())
    }

    /// Opens the listeners on every core. The ports are claimed alone first: cores share them by SO_REUSEPORT, which would
    /// also share them with another broker of the same user, and neither would notice.
    async fn bind(&mut self, config: &Config) -> Result<Bound, StartError> {
        let mut claimed: Vec<(Arc<str>, SocketAddr)> = Vec::new();
        for listener in &config.listeners.listen {
            let address = claim(listener).map_err(failed("open the listeners"))?;
            claimed.push((Arc::from(listener.name.as_str()), address));
        }
        let claim_followers = |address| {
            let claimed = rt::net::claim(address);
            claimed.map_err(|error| format!("replication.listener {address}: {error}"))
        };
        let followers = config.cluster.as_ref().map(|cluster| cluster.replication);
        let followers = followers.map(claim_followers).transpose();
        let followers = followers.map_err(failed("open the listeners"))?;
        let shared = self.commands.len() > 1;
        self.tell_all(|| Command::Bind {
            listeners: claimed.clone(),
            followers,
            shared,
        });
        for _ in 0..self.commands.len() {
            match self.next().await {
                Event::Bound(result) => result.map_err(failed("open the listeners"))?,
                _ => return Err(out_of_order()),
            }
        }
        let clients = claimed
            .into_iter()
            .map(|(name, address)| (name.to_string(), address));
        Ok(Bound {
            clients: clients.collect(),
            followers,
        })
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.commands.iter().for_each(|core| tell(core, command()));
    }

    async fn next(&mut self) -> Event {
        self.events
            .recv()
            .await
            .unwrap_or(Event::Stopped { clean: false })
    }

    /// Tells the cores to end and waits until each has; true if every log was closed well. Their threads end by themselves.
    async fn stop(mut self) -> (bool, Executors) {
        self.tell_all(|| Command::Stop);
        let mut clean = true;
        for _ in 0..self.commands.len() {
            clean &= matches!(self.next().await, Event::Stopped { clean: true });
        }
        (clean, self.executors)
    }
}

/// The address a listener will have; an error in words if it cannot be had.
fn claim(listener: &Listener) -> Result<SocketAddr, String> {
    let host = if listener.host.is_empty() {
        "0.0.0.0"
    } else {
        &listener.host
    };
    let resolved = (host, listener.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    let address = resolved.ok_or_else(|| format!("{listener}: the host has no address on this machine"))?;
    rt::net::claim(address).map_err(|error| format!("{listener}: {error}"))
}

/// Starts one thread per core; each takes its own beginning.
fn run(engine: &EngineChoice, plan: &CorePlan, beginnings: Vec<Beginning>) -> std::io::Result<Executors> {
    let waiting: Vec<Option<Beginning>> = beginnings.into_iter().map(Some).collect();
    let waiting = Arc::new(Mutex::new(waiting));
    rt::start(engine.engine, plan, move |shard| {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let beginning = waiting[shard.index()].take().expect("every core starts once");
        Box::pin(self::core::run(beginning))
    })
}

fn tell(core: &doorbell::Sender<Command>, command: Command) {
    // A core that is gone has said why on its own.
    let _ = core.try_send(command);
}

fn out_of_order() -> StartError {
    StartError::Step {
        step: "start the cores",
        why: "a core ended while starting".into(),
    }
}

/// What happens when the last log directory failed: there is nothing left to serve, and a clean stop would promise what it
/// cannot keep.
fn on_failure(failure: &Arc<Mutex<Option<String>>>, end_process: bool) -> Fatal {
    let failure = failure.clone();
    Arc::new(move |why| {
        tracing::error!("{why}");
        if end_process {
            // Not `eprintln!`: a test harness captures that, and the process would end without a word.
            let _ = writeln!(std::io::stderr(), "millrace-broker: {why}");
            std::process::exit(1);
        }
        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    })
}

/// Groups as the coordinators of every core obey them.
fn group_options(groups: &config::GroupOptions) -> shard::coordinator::GroupOptions {
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let int_ms = |duration: std::time::Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    shard::coordinator::GroupOptions {
        limits: Limits {
            min_session_timeout_ms: int_ms(groups.min_session_timeout),
            max_session_timeout_ms: int_ms(groups.max_session_timeout),
            initial_rebalance_delay_ms: int_ms(groups.initial_rebalance_delay),
            max_size: groups.max_size,
            offset_metadata_max_bytes: groups.offset_metadata_max_bytes,
            offsets_retention_ms: ms(groups.offsets_retention),
            retention_check_ms: ms(groups.offsets_retention_check),
        },
        commit_timeout: groups.commit_timeout,
        offsets_partitions: groups.offsets_partitions,
        offsets_replication_factor: groups.offsets_replication_factor,
        offsets_segment_bytes: groups.offsets_segment_bytes,
    }
}

fn shard_options(config: &Config, identity: &Identity, count: u16, switches: TestSwitches) -> shard::Options {
    let tail_cache_bytes = config.runtime.memory_hard_bytes / TAIL_SHARE;
    let spare = config.runtime.memory_hard_bytes - config.runtime.memory_soft_bytes;
    shard::Options {
        node_id: identity.node,
        incarnation_id: identity.incarnation_id,
        log_dirs: config.storage.log_dirs.clone(),
        given: config.given.clone(),
        // Requests and the tail cache share what a core may hold; replies are slices of the latter, or read from files.
        receive_budget_bytes: config.runtime.memory_soft_bytes - tail_cache_bytes,
        tail_cache_bytes,
        // The quarter between the soft and the hard limit.
        decoded_budget_bytes: spare / 2,
        cold_read_bytes: spare / 2,
        open_files: open_files(switches.open_files, count),
        groups: group_options(&config.groups),
        auto_create_topics: config.topics.auto_create,
        delete_topics: config.topics.delete_enable,
        fetch_max_bytes: config.sockets.fetch_max_bytes,
        describe_partitions_max: config.sockets.describe_partitions_max,
        producers_check: config.storage.producers_check,
        retention_check: config.storage.retention_check,
        checkpoint_every: config.storage.checkpoint_every,
        near_replicas: config.storage.near_replicas,
        replica_lag_max: config.storage.replica_lag_max,
        disk_reserve_bytes: config.storage.disk_reserve_bytes,
        answer_before_sync: switches.answer_before_sync,
        replication_faults: Faults {
            skip_epoch_check: switches.skip_epoch_check,
            truncate_by_high_watermark: switches.truncate_by_high_watermark,
            report_unsynced: switches.report_unsynced,
        },
    }
}

/// Log files one core may keep open: half of what the process may open, the rest is for connections.
fn open_files(given: Option<usize>, count: u16) -> usize {
    let all = given.unwrap_or_else(|| rt::limits::open_files() / 2);
    (all / usize::from(count)).max(16)
}
