//! The control plane's share of a start and a stop: the metadata quorum, this broker's registration, its advertised
//! addresses, and the admin service.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protocol::NodeId;

use super::measure::{QUORUM, REGISTRATION};
use super::{Bound, Identity, StartError, failed};
use crate::config::{ClusterOptions, Config};
use crate::http;
use crate::metadata::{Address, Defaults, Endpoint, Registration, statics};
use crate::quorum::joining::Standing;
use crate::quorum::liveness::{self, Heartbeats};
use crate::quorum::{self, Handle, Quorum, admin, advertised};
use crate::rt;
use crate::rt::control::http::Server;
use crate::rt::control::{ControlHandle, ControlTask};
use crate::rt::file::Disk;
use crate::shard::Fatal;
use crate::shard::counters::ShardCounters;

/// Sessions that a disk may answer nothing before others take over: a session is what silence of the whole broker costs, and
/// disks that are only slow should cost nobody a leader.
const STALLED_AFTER: u32 = 2;

/// The running control plane of one broker.
pub(super) struct ControlPlane {
    control: ControlHandle,
    http: Option<Server>,
    quorum: Option<Quorum>,
    admin: Option<Server>,
    /// The quorum for the admin service, which is there before it.
    joined: Arc<OnceLock<Handle>>,
    metadata_lost: Arc<AtomicBool>,
    following: Option<ControlTask<()>>,
    heartbeats: Option<Heartbeats>,
    /// Where the cores count, whether their disk answers among other things.
    cores: Vec<Arc<ShardCounters>>,
}

impl ControlPlane {
    /// On threads (or in a simulated process) that are there; nothing runs on them yet.
    pub(super) fn new(control: ControlHandle) -> ControlPlane {
        ControlPlane {
            control,
            http: None,
            quorum: None,
            admin: None,
            joined: Arc::default(),
            metadata_lost: Arc::default(),
            following: None,
            heartbeats: None,
            cores: Vec::new(),
        }
    }

    /// Signs of life will say whether the disk of these cores answers.
    pub(super) fn watch_disk(&mut self, cores: Vec<Arc<ShardCounters>>) {
        self.cores = cores;
    }

    /// Opens the health port; returns where it listens.
    pub(super) async fn serve_http(
        &mut self,
        address: SocketAddr,
        health: &http::Health,
        metrics: &http::Metrics,
    ) -> Result<SocketAddr, StartError> {
        let server = http::serve(&self.control, address, health.clone(), metrics.clone()).await;
        let server = server.map_err(|error| failed("open the health port")(format!("{address}: {error}")))?;
        let address = server.address;
        self.http = Some(server);
        Ok(address)
    }

    /// Opens the metadata log and catches up with it.
    pub(super) async fn join_quorum(
        &mut self,
        config: &Config,
        disk: &Disk,
        identity: &Identity,
        health: &http::Health,
        answer_before_sync: bool,
    ) -> Result<Handle, StartError> {
        let (health, metadata_lost) = (health.clone(), self.metadata_lost.clone());
        let options = quorum::Options {
            disk: disk.clone(),
            dir: config.storage.log_dirs[0].join(quorum::DIRECTORY),
            node: identity.node,
            cluster_id: identity.cluster_id.clone(),
            directory_id: identity.directory_id,
            may_form: identity.may_form && !config.cluster.as_ref().is_some_and(|cluster| cluster.formed),
            seat: config.cluster.as_ref().map(seat),
            told: Arc::new(move |standing| {
                metadata_lost.store(*standing == Standing::MetadataLost, Relaxed);
                let words = match standing {
                    Standing::Waits(words) => words,
                    Standing::MetadataLost => {
                        "no voter knows the cluster, which was formed: all metadata is lost"
                    }
                };
                health.progress(QUORUM, words);
            }),
            defaults: defaults(config),
            answer_before_sync,
        };
        let started = quorum::start(self.control.clone(), options).await;
        let quorum = started.map_err(failed("open the metadata log"))?;
        let handle = quorum.handle().clone();
        self.metadata_lost.store(false, Relaxed);
        self.joined.get_or_init(|| handle.clone());
        self.quorum = Some(quorum);
        Ok(handle)
    }

    /// Calls `fatal` when the metadata log has failed: without it this broker can neither learn nor promise anything.
    pub(super) fn end_with_quorum(&self, quorum: &Handle, fatal: Fatal) {
        let quorum = quorum.clone();
        self.control.spawn(async move {
            let why = quorum.failed().await;
            fatal(format!("the metadata log has failed: {why}"));
        });
    }

    /// Tells the cluster where this broker is; returns when every core knows.
    pub(super) async fn register(
        &mut self,
        config: &Config,
        disk: &Disk,
        identity: &Identity,
        quorum: &Handle,
        bound: &Bound,
        health: &http::Health,
    ) -> Result<(), StartError> {
        let registration = Registration {
            node: identity.node,
            incarnation_id: identity.incarnation_id,
            directory_id: identity.directory_id,
            cluster_id: identity.cluster_id.clone(),
            rack: config.node.rack.as_deref().map(Arc::from),
            // Among several, it may serve when the quorum's leader has heard that it knows its own registration.
            fenced: config.cluster.is_some(),
            listeners: advertised_at_start(config, disk, identity.node, &bound.clients)?,
            replication: replication_address(config, bound.followers),
            shards: identity.shards,
            clean_shutdown: identity.clean_shutdown,
        };
        for (name, own, holds) in statics::differing(&quorum.image(), &defaults(config)) {
            tracing::warn!(
                name,
                own,
                holds,
                "this broker was given another value than holds for the cluster; its own counts for nothing unless it leads the \
                 metadata quorum: give all brokers the same"
            );
        }
        let registered =
            liveness::register(quorum, &registration, |why| health.progress(REGISTRATION, why)).await;
        let epoch = registered.map_err(failed("register with the cluster"))?;
        tracing::info!(node = %identity.node, epoch, "registered");
        if let (Some(cluster), Some(running)) = (&config.cluster, &self.quorum) {
            let stalled = disk_stalled(self.cores.clone(), cluster.session_timeout * STALLED_AFTER);
            let heartbeats =
                Heartbeats::begin(running, identity.node, epoch, cluster.heartbeat_every, stalled);
            self.heartbeats = Some(heartbeats);
        }
        if let Some(path) = &config.control.advertised_file {
            let follow = advertised::follow_file(disk.clone(), path.clone(), identity.node, quorum.clone());
            self.following = Some(self.control.spawn(follow));
        }
        Ok(())
    }

    /// Waits until the quorum's leader lets this broker lead and serve.
    pub(super) async fn unfenced(&self) {
        if let Some(heartbeats) = &self.heartbeats {
            heartbeats.unfenced().await;
        }
    }

    /// Asks the quorum's leader to take leaderships away from this broker, and waits until that is done, or for so long.
    pub(super) async fn leave_in_order(&self, within: Duration) {
        if let Some(heartbeats) = &self.heartbeats
            && !heartbeats.ask_to_stop(within).await
        {
            tracing::warn!(
                ?within,
                "the metadata quorum did not answer that this broker may stop; it stops all the same"
            );
        }
    }

    /// Opens the admin service, before there is a quorum; returns where it listens.
    pub(super) async fn serve_admin(
        &mut self,
        address: SocketAddr,
        mut view: admin::BrokerView,
    ) -> Result<SocketAddr, StartError> {
        let lost = self.metadata_lost.clone();
        view.metadata_lost = Box::new(move || lost.load(Relaxed));
        let server = admin::serve(&self.control, address, view, self.joined.clone()).await;
        let server =
            server.map_err(|error| failed("open the admin service")(format!("{address}: {error}")))?;
        let address = server.address;
        self.admin = Some(server);
        Ok(address)
    }

    /// Ends everything, the quorum last.
    pub(super) async fn stop(self) {
        if let Some(following) = self.following {
            following.abort();
        }
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(heartbeats) = self.heartbeats {
            heartbeats.end();
        }
        if let Some(quorum) = self.quorum {
            quorum.stop().await;
        }
        if let Some(http) = self.http {
            http.stop();
        }
    }
}

fn defaults(config: &Config) -> Defaults {
    Defaults {
        partitions: config.topics.num_partitions,
        replication_factor: config.topics.default_replication_factor,
        min_insync_replicas: usize::try_from(config.topics.min_insync_replicas).unwrap_or(1),
        unclean_election: config.topics.unclean_election,
        flush_synced: config.topics.flush_synced,
    }
}

/// Whether the disk has let a round of any core wait for `bound`.
fn disk_stalled(counters: Vec<Arc<ShardCounters>>, bound: Duration) -> liveness::DiskStalled {
    Arc::new(move || {
        let now = rt::now();
        counters.iter().any(|core| core.disk_wait(now) >= bound)
    })
}

fn seat(cluster: &ClusterOptions) -> quorum::Seat {
    quorum::Seat {
        voters: cluster.voters.clone(),
        bootstrap: cluster.bootstrap.clone(),
        listen: Some(cluster.control),
        advertised: cluster.advertised.clone(),
        wants_vote: cluster.wants_vote,
        session_timeout: cluster.session_timeout,
        balance_every: cluster.balance_every,
    }
}

/// Where followers are told to fetch.
fn replication_address(config: &Config, bound: Option<SocketAddr>) -> Option<Address> {
    let (host, port) = &config.cluster.as_ref()?.replication_advertised;
    Some(Address {
        host: Arc::from(host.as_str()),
        port: if *port == 0 { bound?.port() } else { *port },
    })
}

/// What clients are told at first: the properties, and over them the watched file if it is there already.
fn advertised_at_start(
    config: &Config,
    disk: &Disk,
    node: NodeId,
    bound: &[(String, SocketAddr)],
) -> Result<Vec<Endpoint>, StartError> {
    let told = config
        .listeners
        .advertised
        .iter()
        .zip(bound)
        .map(|(advertised, (_, bound))| Endpoint {
            name: Arc::from(advertised.name.as_str()),
            host: Arc::from(advertised.host.as_str()),
            port: if advertised.port == 0 {
                bound.port()
            } else {
                advertised.port
            },
        });
    let mut endpoints: Vec<Endpoint> = told.collect();
    let Some(path) = &config.control.advertised_file else {
        return Ok(endpoints);
    };
    let over = advertised::read(disk, path, node).map_err(failed("read advertised.listeners.file"))?;
    for endpoint in over.into_iter().flatten() {
        if let Some(known) = endpoints.iter_mut().find(|known| known.name == endpoint.name) {
            *known = endpoint;
        }
    }
    Ok(endpoints)
}
