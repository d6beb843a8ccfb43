//! The control plane of one broker: propose a change of metadata, follow what is committed.
//!
//! ```text
//! api, admin ──submit──▶ proposer ──decide (metadata/)──▶ openraft ──▶ log_store ──▶ log_files   (synced)
//!                            ▲                               │
//! reply ◀── installed ── handle ◀──publish image── state machine (raft.rs) ◀── committed
//! ```
//!
//! Owns starting, forming and stopping the metadata quorum. Leaves what a change means to `metadata/`. One voter today;
//! a voter is (node id, directory id) everywhere, so that more are an addition and not a change.

pub mod admin;
#[cfg(test)]
mod admin_tests;
pub mod advertised;
mod handle;
pub mod liveness;
mod log_files;
mod log_format;
mod log_store;
mod network;
mod proposer;
mod raft;
mod runtime;
mod snapshot;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::raft::ReadPolicy;
use protocol::ids::NodeId;

pub use handle::{Handle, ImageUpdate, InstalledGuard, QuorumState, Refused, ReplyFn, Subscriber};
pub use log_files::LogError;
pub use types::Voter;

use crate::metadata::{Defaults, MetadataImage, record};
use crate::rt::control::sync::{mpsc, watch};
use crate::rt::control::{self, ControlHandle, ControlTask};
use crate::rt::file::Disk;
use crate::rt::wall_ms;
use handle::Publisher;
use log_files::{LogFiles, Recovered};
use log_store::LogStore;
use proposer::Proposer;
use raft::{Address, Config, Proposal, Raft, StateMachine};
use snapshot::Snapshots;

/// Folder of the metadata log below the first log directory.
pub const DIRECTORY: &str = "__cluster_metadata-0";
/// How long a start waits for a leader. With a single voter it is there within milliseconds.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

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
    /// Tests only: answer before the sync, so that a test can show it would notice.
    pub answer_before_sync: bool,
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
    #[error("the metadata quorum did not start: {0}")]
    Raft(String),
}

/// A running quorum.
pub struct Quorum {
    handle: Handle,
    raft: Raft,
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
    if empty && !options.may_form {
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
    let machine = StateMachine::new(loaded, publisher.clone(), snapshots, log.gauge()).map_err(failed)?;
    let voter = Voter {
        node: options.node.0,
        directory: options.directory_id,
    };
    let raft = Raft::new(voter, raft_config()?, network::Peers, log.clone(), machine).await;
    let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
    let result = lead(&raft, voter, &options, &publisher).await;
    if let Err(error) = result {
        let _ = raft.shutdown().await;
        return Err(error);
    }

    let (queue, submitted) = mpsc::channel(handle::QUEUE_LEN);
    let (state, states) = watch::channel(state_of(&raft));
    publish_leader(&publisher, &state.borrow());
    let proposer = Proposer {
        raft: raft.clone(),
        publisher: publisher.clone(),
        log,
        disk: options.disk,
        defaults: options.defaults,
        caught_up: None,
    };
    let tasks = vec![
        control.spawn(proposer.run(submitted)),
        control.spawn(follow_state(raft.clone(), publisher.clone(), state)),
    ];
    Ok(Quorum {
        handle: Handle::new(queue, publisher, states, control),
        raft,
        tasks,
    })
}

impl Quorum {
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends its tasks. What was answered is on disk; what is not answered yet is refused or times out.
    pub async fn stop(self) {
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

fn raft_config() -> Result<Arc<openraft::Config>, StartError> {
    let config = openraft::Config {
        cluster_name: "millrace".into(),
        // Ticks cost wake-ups on an idle broker; with one voter nobody waits for a heartbeat.
        heartbeat_interval: 500,
        election_timeout_min: 2000,
        election_timeout_max: 4000,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(2000),
        max_in_snapshot_log_to_keep: 100,
        purge_batch_size: 100,
        enable_pre_vote: Some(true),
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
    if image.cluster_id == options.cluster_id {
        return Ok(());
    }
    if !image.cluster_id.is_empty() {
        return Err(StartError::OtherCluster {
            dir: options.dir.clone(),
            found: image.cluster_id.clone(),
            expected: options.cluster_id.clone(),
        });
    }
    let formed = record::Formed {
        cluster_id: options.cluster_id.clone(),
        formed_at_ms: wall_ms(),
    };
    let proposal = Proposal {
        records: Arc::new(vec![formed.into()]),
    };
    match raft.client_write(proposal).await {
        Ok(_) => Ok(()),
        Err(error) => Err(StartError::Raft(error.to_string())),
    }
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

/// Follows openraft's metrics: who leads goes into the image, a failure into the state.
async fn follow_state(raft: Raft, publisher: Arc<Publisher>, state: watch::Sender<QuorumState>) {
    let mut metrics = raft.metrics();
    loop {
        let now = state_of(&raft);
        publish_leader(&publisher, &now);
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

fn publish_leader(publisher: &Publisher, state: &QuorumState) {
    let controller = state.leader.map(|voter| NodeId(voter.node));
    if publisher.image().controller != controller {
        publisher.change(|latest| latest.clone().led_by(controller));
    }
}
