//! The control plane of one broker: propose a change of metadata, follow what is committed.
//!
//! ```text
//! api, admin ──submit──▶ proposer ──decide (metadata/)──▶ openraft ──▶ log_store ──▶ log_files   (synced)
//!                            ▲                               │
//! reply ◀── installed ── handle ◀──publish image── state machine (raft.rs) ◀── committed
//! ```
//!
//! Owns starting, forming and stopping this broker's part of the metadata quorum. Leaves what a change means to `metadata/`.
//! A voter is (node id, directory id) everywhere. Brokers that are not voters are members without a vote: the same log,
//! the same image.
//!
//! ```text
//! other brokers ──control port──▶ service ──▶ Raft, leading (signs of life), proposer (changes forwarded to us)
//! proposer (we do not lead) ──▶ forward ──▶ peers ──▶ the leader        joining: how an empty log becomes a member's
//! ```

pub mod admin;
#[cfg(test)]
mod admin_tests;
pub mod advertised;
mod electing;
mod forward;
mod handle;
pub mod joining;
mod leading;
pub mod liveness;
mod log_files;
mod log_format;
mod log_store;
mod members;
mod network;
mod peers;
mod proposer;
mod raft;
mod runtime;
mod service;
mod sessions;
mod snapshot;
mod succession;
#[cfg(test)]
mod tests;
mod types;
mod voters;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::admin::control as pb;
use ::admin::control::control_server::ControlServer;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::ReadPolicy;
use protocol::ids::NodeId;

pub use handle::{Handle, ImageUpdate, InstalledGuard, QuorumState, Refused, ReplyFn, Subscriber, VotersFn};
pub use log_files::LogError;
pub use types::Voter;
pub use voters::{Description, FORGOTTEN_AFTER, MOST_VOTERS, Member, VotersReply, VotersRequest};

use crate::metadata::{Defaults, LogEnds, MetadataImage, Record, record, statics};
use crate::rt::control::http::{self, Server};
use crate::rt::control::net::Listener;
use crate::rt::control::sync::{mpsc, watch};
use crate::rt::control::{self, ControlHandle, ControlTask};
use crate::rt::file::Disk;
use crate::rt::wall_ms;
use forward::Forwarder;
use handle::Publisher;
use leading::Leading;
use log_files::{LogFiles, Recovered};
use log_store::{LogGauge, LogStore};
use members::{LeaderHeard, Members};
use network::Network;
use peers::Peers;
use proposer::Proposer;
use raft::{Address, Config, Proposal, Raft, StateMachine};
use snapshot::Snapshots;

/// Folder of the metadata log below the first log directory.
pub const DIRECTORY: &str = "__cluster_metadata-0";
/// How long a start waits for a leader. With a single voter it is there within milliseconds.
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// One question to the leader while catching up.
const ONE_CALL: Duration = Duration::from_secs(2);
/// Rounds of asking between two lines in the log.
const SAY_EVERY: u32 = 100;
/// A snapshot is taken when the log since the last one is larger than this, and than twice that snapshot: the cost of
/// snapshots stays a fraction of the cost of the log.
const SNAPSHOT_AFTER_BYTES: u64 = 1 << 20;
const CATCH_UP_AGAIN: Duration = Duration::from_millis(50);

/// What the quorum needs to know.
pub struct Options {
    pub disk: Disk,
    /// `<log.dirs[0]>/__cluster_metadata-0`.
    pub dir: PathBuf,
    pub node: NodeId,
    pub cluster_id: Arc<str>,
    /// Id of the log directory `dir` is in.
    pub directory_id: [u8; 16],
    /// Nothing in the log directories speaks of an earlier life, so an empty metadata log may become a new cluster.
    /// False: an empty metadata log is a lost one, and the start is refused.
    pub may_form: bool,
    /// What topics get that do not say otherwise.
    pub defaults: Defaults,
    /// Where the others are; none for a broker that is its whole cluster.
    pub seat: Option<Seat>,
    /// Told how it stands while this broker is not in the quorum yet.
    pub told: joining::Told,
    /// Tests only: answer before the sync, so that a test can show it would notice.
    pub answer_before_sync: bool,
}

/// A place among several brokers.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    /// The first voters by node: host:port of their control listeners (`controller.quorum.voters`).
    pub voters: BTreeMap<i32, String>,
    /// Control listeners of some members, for a node that is no first voter (`controller.quorum.bootstrap.servers`).
    pub bootstrap: Vec<String>,
    /// Where the control port is opened.
    pub listen: Option<std::net::SocketAddr>,
    /// host:port at which the others reach it; port 0: the real one.
    pub advertised: String,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `controller.quorum.auto.join.enable`.
    pub wants_vote: bool,
    /// `leader.imbalance.check.interval.seconds`; none where `auto.leader.rebalance.enable` is false.
    pub balance_every: Option<Duration>,
}

impl Seat {
    /// Whom to ask: the node that should be there, where that is known, and its address.
    fn seeds(&self) -> Vec<(Option<i32>, String)> {
        let voters = self
            .voters
            .iter()
            .map(|(node, address)| (Some(*node), address.clone()));
        let others = self.bootstrap.iter().map(|address| (None, address.clone()));
        voters.chain(others).collect()
    }
}

/// Why the quorum did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "the metadata log {} is empty, but the log directories hold data of an earlier life: a cluster that was once \
         formed is not formed anew over its data. Restore the metadata log, or start with empty log directories", .0.display()
    )]
    NothingThere(PathBuf),
    #[error("the metadata log {} belongs to cluster {found}, this broker is configured for cluster {expected}", dir.display())]
    OtherCluster {
        dir: PathBuf,
        found: Arc<str>,
        expected: Arc<str>,
    },
    #[error(
        "the metadata log {} was written as voter {}, and this broker is {here}: its node id or its log directory is \
         another one", dir.display(), voters.iter().map(Voter::to_string).collect::<Vec<_>>().join(", ")
    )]
    OtherVoter {
        dir: PathBuf,
        voters: Vec<Voter>,
        here: Voter,
    },
    #[error("the control listener {address} cannot be opened: {error}")]
    Listen {
        address: std::net::SocketAddr,
        error: std::io::Error,
    },
    #[error("the metadata quorum did not start: {0}")]
    Raft(String),
}

/// A running quorum.
pub struct Quorum {
    handle: Handle,
    raft: Raft,
    members: Members,
    leading: Leading,
    publisher: Arc<Publisher>,
    control: ControlHandle,
    server: Option<Server>,
    /// host:port of the control port, and whether to vote; none for a broker that is its whole cluster.
    place: Option<(String, bool)>,
    tasks: Vec<ControlTask<()>>,
}

/// Opens the metadata log (forming the cluster where it may), and returns when the image has caught up with everything
/// committed. To be called on the control plane.
pub async fn start(control: ControlHandle, options: Options) -> Result<Quorum, StartError> {
    let (disk, dir) = (options.disk.clone(), options.dir.clone());
    let (recovered, loaded) = control::blocking(move || {
        let recovered = LogFiles::recover(&disk, &dir)?;
        let loaded = Snapshots::new(&disk, &dir).load()?;
        Ok::<_, LogError>((recovered, loaded))
    })
    .await?;
    check_continuity(
        &options,
        &recovered,
        loaded.as_ref().and_then(|(head, _)| head.last),
    )?;
    for note in &recovered.notes {
        tracing::warn!(note, "metadata log recovered");
    }
    let empty = recovered.entries.is_empty() && loaded.is_none() && recovered.vote.is_none();
    if empty && !options.may_form && options.seat.is_none() {
        return Err(StartError::NothingThere(options.dir));
    }

    let image = loaded
        .as_ref()
        .map(|(_, image)| image.clone())
        .unwrap_or_default();
    let publisher = Arc::new(Publisher::new(image));
    let failed = |error: std::io::Error| StartError::Raft(error.to_string());
    let log = LogStore::start(recovered, options.answer_before_sync).map_err(failed)?;
    let snapshots = Snapshots::new(&options.disk, &options.dir);
    let kept = log.clone();
    let machine = StateMachine::new(loaded, publisher.clone(), snapshots, log.gauge()).map_err(failed)?;
    let voter = Voter {
        node: options.node.0,
        directory: options.directory_id,
    };
    let peers = Peers::new(options.cluster_id.clone(), voter);
    let config = raft_config(options.seat.is_some())?;
    let raft = Raft::new(voter, config, Network(peers.clone()), log.clone(), machine).await;
    let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
    let members = Members {
        raft: raft.clone(),
        peers,
        leader_heard: LeaderHeard::default(),
    };
    let (queue, submitted) = mpsc::channel(handle::QUEUE_LEN);
    let (voters, voters_asked) = mpsc::channel(handle::QUEUE_LEN);
    let (state, states) = watch::channel(state_of(&raft));
    let session_timeout = options.seat.as_ref().map(|seat| seat.session_timeout);
    let handle = Handle::new(
        queue.clone(),
        voters,
        publisher.clone(),
        states,
        control.clone(),
        session_timeout,
    );
    let session_timeout = session_timeout.unwrap_or(Duration::MAX);
    let balance_every = options.seat.as_ref().and_then(|seat| seat.balance_every);
    let (leading, losses) = Leading::new(
        members.clone(),
        handle.clone(),
        options.defaults.clone(),
        session_timeout,
        balance_every,
    );
    let mut quorum = Quorum {
        handle,
        raft,
        members,
        leading,
        publisher,
        control,
        server: None,
        place: None,
        tasks: Vec::new(),
    };
    let forwarder = options.seat.as_ref().map(|_| {
        Forwarder::new(
            quorum.members.clone(),
            quorum.publisher.clone(),
            queue.downgrade(),
        )
    });
    let proposer = Proposer {
        raft: quorum.raft.clone(),
        publisher: quorum.publisher.clone(),
        log,
        disk: options.disk.clone(),
        defaults: options.defaults.clone(),
        log_ends: LogEnds::default(),
        leading: options.seat.as_ref().map(|_| quorum.leading.clone()),
        forwarder,
        caught_up: None,
    };
    let following = follow_state(quorum.raft.clone(), quorum.publisher.clone(), kept, state);
    quorum.tasks.push(quorum.control.spawn(following));
    let electing = quorum.leading.clone().run_voters(voters_asked);
    quorum.tasks.push(quorum.control.spawn(electing));
    let entered = match &options.seat {
        None => lead(&quorum.raft, voter, &options, &quorum.publisher).await,
        Some(seat) => {
            let leading = quorum.leading.clone();
            quorum.tasks.push(quorum.control.spawn(leading.clone().run()));
            quorum
                .tasks
                .push(quorum.control.spawn(leading.watch_lost(losses)));
            quorum.take_seat(seat.clone(), &options, empty).await
        }
    };
    if let Err(error) = entered {
        quorum.stop().await;
        return Err(error);
    }
    quorum.tasks.push(quorum.control.spawn(proposer.run(submitted)));
    if options.seat.is_none()
        && let Err(why) = leading::publish_statics(&quorum.handle, &options.defaults).await
    {
        quorum.stop().await;
        return Err(StartError::Raft(why));
    }
    publish_leader(&quorum.publisher, &state_of(&quorum.raft));
    Ok(quorum)
}

impl Quorum {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the control port is; none where there are no other brokers.
    pub fn control_address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(|server| server.address)
    }

    /// Opens the control port, becomes a member, and catches up with what is committed. Waits as long as that takes: a
    /// broker that knows nothing of its cluster has nothing to serve.
    async fn take_seat(
        &mut self,
        mut seat: Seat,
        options: &Options,
        began_empty: bool,
    ) -> Result<(), StartError> {
        if let Some(address) = seat.listen {
            let listener = Listener::bind(address)
                .await
                .map_err(|error| StartError::Listen { address, error })?;
            let shared = service::Shared {
                members: self.members.clone(),
                handle: self.handle.clone(),
                leading: self.leading.clone(),
                began_empty,
            };
            let service = ControlServer::new(service::Service(Arc::new(shared)))
                .max_decoding_message_size(wire::MOST_BYTES)
                .max_encoding_message_size(wire::MOST_BYTES);
            let server = http::serve(&self.control, listener, http::Version::Two, service)
                .map_err(|error| StartError::Listen { address, error })?;
            if let Some(host) = seat.advertised.strip_suffix(":0") {
                seat.advertised = format!("{host}:{}", server.address.port());
            }
            self.server = Some(server);
        }
        self.place = Some((seat.advertised.clone(), seat.wants_vote));
        let stay = joining::stay(self.members.clone(), seat.clone());
        self.tasks.push(self.control.spawn(stay));
        let may_form = options.may_form && began_empty;
        joining::enter(self.members.clone(), seat, may_form, options.told.clone()).await;
        if self.members.roll().voters() == BTreeSet::from([self.members.peers.here()]) {
            // Nobody to be polite to: no need to wait for an election timeout. One that fails is begun again by Raft.
            let _ = self.raft.trigger().elect(false).await;
        }
        self.catch_up(options).await
    }

    /// Returns when the image has everything that was committed when this began.
    async fn catch_up(&self, options: &Options) -> Result<(), StartError> {
        for round in 1_u32.. {
            if let Some(index) = self.read_index().await {
                let reached = self
                    .raft
                    .wait(Some(LEADER_WITHIN))
                    .applied_index_at_least(Some(index), "everything committed is here")
                    .await;
                let image = self.publisher.image();
                if reached.is_ok() && !image.cluster_id.is_empty() {
                    return same_cluster(options, &image);
                }
            }
            if let Some(failed) = state_of(&self.raft).failed {
                return Err(StartError::Raft(failed));
            }
            if round % SAY_EVERY == 0 {
                let leader = self.members.leader().map(|(leader, _)| leader.to_string());
                tracing::info!(leader, "waiting for the metadata quorum");
            }
            control::sleep(CATCH_UP_AGAIN).await;
        }
        Ok(())
    }

    /// How far the leader's log is committed.
    async fn read_index(&self) -> Option<u64> {
        let (leader, address) = self.members.leader()?;
        if leader == self.members.peers.here() {
            let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
            linearizer.await_ready(&self.raft).await.ok()?;
            return Some(0);
        }
        let message = pb::ReadIndexRequest {
            caller: Some(self.members.peers.caller(Some(leader))),
        };
        let call = |mut client: peers::Client| async move { client.read_index(message).await };
        let reply: pb::ReadIndexReply = self.members.peers.call(&address, ONE_CALL, call).await.ok()?;
        Some(reply.index)
    }

    /// Ends its tasks. What was answered is on disk; what is not answered yet is refused or times out.
    pub async fn stop(self) {
        self.members.hand_over().await;
        if let Some(server) = &self.server {
            server.stop();
        }
        for task in &self.tasks {
            task.abort();
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the metadata quorum did not stop cleanly");
        }
    }
}

/// Entries that are in no segment must be in a snapshot.
fn check_continuity(
    options: &Options,
    recovered: &Recovered,
    snapshot: Option<types::EntryId>,
) -> Result<(), StartError> {
    if recovered.previous <= snapshot {
        return Ok(());
    }
    let what = format!(
        "it begins after entry {}, and the snapshot with the entries before is missing",
        recovered.previous.map_or(0, |id| id.index)
    );
    Err(StartError::Log(LogError::Inconsistent {
        path: options.dir.clone(),
        what,
    }))
}

/// Heartbeats and election timeouts in milliseconds, alone and among several. Ticks cost wake-ups on an idle broker; with
/// one voter nobody waits for a heartbeat. Among several, a leader that is gone is replaced between one and two of the
/// largest timeout later (its lease, then the election).
const RAFT_TIMES: [(u64, u64, u64); 2] = [(500, 2000, 4000), (150, 450, 900)];

fn raft_config(several: bool) -> Result<Arc<openraft::Config>, StartError> {
    let (heartbeat, shortest, longest) = RAFT_TIMES[usize::from(several)];
    let config = openraft::Config {
        cluster_name: "millrace".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: shortest,
        election_timeout_max: longest,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(2000),
        // What a snapshot has is purged by `follow_state`, which knows how large entries are.
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // Followers may have an entry that this voter sent in its last life and never had on its own disk. One that goes on
        // in that term makes another one of the same number, and the logs part without anybody noticing.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| StartError::Raft(error.to_string()))
}

/// Becomes leader of a single-voter quorum, forms the cluster where there is none yet, and catches up.
async fn lead(raft: &Raft, voter: Voter, options: &Options, publisher: &Publisher) -> Result<(), StartError> {
    let words = |error: &dyn std::error::Error| StartError::Raft(error.to_string());
    if raft.is_initialized().await.map_err(|error| words(&error))? {
        let voters: Vec<Voter> = raft.voter_ids().collect();
        if !voters.contains(&voter) {
            return Err(StartError::OtherVoter {
                dir: options.dir.clone(),
                voters,
                here: voter,
            });
        }
        if voters == [voter] && !raft.is_leader() {
            // Nobody to be polite to: no need to wait for an election timeout.
            raft.trigger().elect(false).await.map_err(|error| words(&error))?;
        }
    } else {
        let alone = BTreeMap::from([(voter, Address::default())]);
        raft.initialize(alone).await.map_err(|error| words(&error))?;
    }
    let leads = |metrics: &openraft::RaftMetrics<Config>| metrics.current_leader == Some(voter);
    let wait = raft
        .wait(Some(LEADER_WITHIN))
        .metrics(leads, "this broker leads")
        .await;
    wait.map_err(|error| words(&error))?;
    let linearizer = raft
        .get_read_linearizer(ReadPolicy::ReadIndex)
        .await
        .map_err(|error| words(&error))?;
    linearizer
        .await_ready(raft)
        .await
        .map_err(|error| words(&error))?;
    form(raft, options, &publisher.image()).await
}

/// The first record of a cluster is its id; every later start compares it.
async fn form(raft: &Raft, options: &Options, image: &MetadataImage) -> Result<(), StartError> {
    if !image.cluster_id.is_empty() {
        return same_cluster(options, image);
    }
    let formed = record::Formed {
        cluster_id: options.cluster_id.clone(),
        formed_at_ms: wall_ms(),
    };
    let formed = std::iter::once(Record::from(formed));
    let proposal = Proposal {
        records: Arc::new(formed.chain(statics::records(image, &options.defaults)).collect()),
    };
    match raft.client_write(proposal).await {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Raft(error.to_string())),
    }
}

fn same_cluster(options: &Options, image: &MetadataImage) -> Result<(), StartError> {
    if image.cluster_id == options.cluster_id {
        return Ok(());
    }
    Err(StartError::OtherCluster {
        dir: options.dir.clone(),
        found: image.cluster_id.clone(),
        expected: options.cluster_id.clone(),
    })
}

fn state_of(raft: &Raft) -> QuorumState {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    QuorumState {
        leader: metrics.current_leader,
        term: metrics.current_term,
        voters: metrics.membership_config.voter_ids().collect(),
        log_end: metrics.last_log_index,
        committed: metrics.local_committed.as_ref().map(|id| id.index()),
        applied: metrics.last_applied.as_ref().map(|id| id.index()),
        snapshot: metrics.snapshot.as_ref().map(|id| id.index()),
        failed: match &metrics.running_state {
            // Stopped by ourselves is not failed.
            Ok(()) | Err(openraft::errors::Fatal::Stopped) => None,
            Err(error) => Some(error.to_string()),
        },
    }
}

/// Follows openraft's metrics: who leads goes into the image, a failure into the state, and a log that has grown into a
/// snapshot and out of the log, on every member: each holds its own log, on disk and in memory.
async fn follow_state(
    raft: Raft,
    publisher: Arc<Publisher>,
    log: LogStore,
    state: watch::Sender<QuorumState>,
) {
    let mut metrics = raft.metrics();
    let gauge = log.gauge();
    let mut purged_for = None;
    loop {
        let now = state_of(&raft);
        publish_leader(&publisher, &now);
        snapshot_if_due(&raft, &gauge).await;
        if now.snapshot != purged_for {
            purged_for = now.snapshot;
            purge(&raft, &log, now.snapshot).await;
        }
        let failed = now.failed.clone();
        state.send_replace(now);
        if let Some(error) = failed {
            tracing::error!(error, "the metadata quorum has failed");
            return;
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

async fn snapshot_if_due(raft: &Raft, gauge: &LogGauge) {
    let (since, last) = gauge.read();
    if since > SNAPSHOT_AFTER_BYTES.max(2 * last) {
        // A second trigger while one is being built is ignored by openraft.
        if let Err(error) = raft.trigger().snapshot().await {
            tracing::warn!(%error, "no metadata snapshot could be started");
        }
    }
}

async fn purge(raft: &Raft, log: &LogStore, snapshot: Option<u64>) {
    let Some(upto) = snapshot.and_then(|last| log.purgeable(last)) else {
        return;
    };
    if let Err(error) = raft.trigger().purge_log(upto).await {
        tracing::warn!(%error, upto, "the metadata log could not be purged");
    }
}

fn publish_leader(publisher: &Publisher, state: &QuorumState) {
    let controller = state.leader.map(|voter| NodeId(voter.node));
    if publisher.image().controller != controller {
        publisher.change(|latest| latest.clone().led_by(controller));
    }
}
