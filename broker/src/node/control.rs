//! The control plane's share of a start and a stop: the metadata quorum, this broker's registration, its advertised
//! addresses, and the admin service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::NodeId;

use super::{Identity, StartError, failed};
use crate::config::Config;
use crate::http;
use crate::metadata::{Defaults, Endpoint, Registration};
use crate::quorum::{self, Handle, Quorum, admin, advertised, liveness};
use crate::rt::control::{Control, ControlTask};
use crate::rt::file::Disk;
use crate::shard::Fatal;

/// Worker threads of the control plane: the data plane does not run here.
const THREADS: usize = 2;
/// How long blocking calls of the control plane may take to end on the way down.
const GRACE: Duration = Duration::from_secs(5);

/// The running control plane of one broker.
pub(super) struct ControlPlane {
    control: Control,
    http: Option<http::HttpServer>,
    quorum: Option<Quorum>,
    admin: Option<admin::AdminServer>,
    following: Option<ControlTask<()>>,
}

impl ControlPlane {
    /// Starts its threads; nothing runs on them yet.
    pub(super) fn start() -> Result<ControlPlane, StartError> {
        let control = Control::start(THREADS).map_err(failed("start the control plane"))?;
        Ok(ControlPlane {
            control,
            http: None,
            quorum: None,
            admin: None,
            following: None,
        })
    }

    /// Opens the health port; returns where it listens.
    pub(super) fn serve_http(
        &mut self,
        address: SocketAddr,
        health: &http::Health,
        metrics: &http::Metrics,
    ) -> Result<SocketAddr, StartError> {
        let handle = self.control.handle();
        let server = self
            .control
            .block_on(http::serve(&handle, address, health.clone(), metrics.clone()));
        let server = server.map_err(|error| failed("open the health port")(format!("{address}: {error}")))?;
        let address = server.address;
        self.http = Some(server);
        Ok(address)
    }

    /// Opens the metadata log and catches up with it.
    pub(super) fn join_quorum(
        &mut self,
        config: &Config,
        disk: &Disk,
        identity: &Identity,
        answer_before_sync: bool,
    ) -> Result<Handle, StartError> {
        let options = quorum::Options {
            disk: disk.clone(),
            dir: config.storage.log_dirs[0].join(quorum::DIRECTORY),
            node: identity.node,
            cluster_id: identity.cluster_id.clone(),
            directory_id: identity.directory_id,
            may_form: identity.may_form,
            defaults: Defaults {
                partitions: config.topics.num_partitions,
                replication_factor: config.topics.default_replication_factor,
            },
            answer_before_sync,
        };
        let started = self
            .control
            .block_on(quorum::start(self.control.handle(), options));
        let quorum = started.map_err(failed("open the metadata log"))?;
        let handle = quorum.handle().clone();
        self.quorum = Some(quorum);
        Ok(handle)
    }

    /// Calls `fatal` when the metadata log has failed: without it this broker can neither learn nor promise anything.
    pub(super) fn end_with_quorum(&self, quorum: &Handle, fatal: Fatal) {
        let quorum = quorum.clone();
        self.control.handle().spawn(async move {
            let why = quorum.failed().await;
            fatal(format!("the metadata log has failed: {why}"));
        });
    }

    /// Tells the cluster where this broker is; returns when every core knows.
    pub(super) fn register(
        &mut self,
        config: &Config,
        disk: &Disk,
        identity: &Identity,
        quorum: &Handle,
        bound: &[(String, SocketAddr)],
    ) -> Result<(), StartError> {
        let registration = Registration {
            node: identity.node,
            incarnation_id: identity.incarnation_id,
            directory_id: identity.directory_id,
            cluster_id: identity.cluster_id.clone(),
            rack: config.node.rack.as_deref().map(Arc::from),
            fenced: false,
            listeners: advertised_at_start(config, disk, identity.node, bound)?,
        };
        let registered = self.control.block_on(liveness::register(quorum, &registration));
        let epoch = registered.map_err(failed("register with the cluster"))?;
        tracing::info!(node = %identity.node, epoch, "registered");
        if let Some(path) = &config.control.advertised_file {
            let follow = advertised::follow_file(disk.clone(), path.clone(), identity.node, quorum.clone());
            self.following = Some(self.control.handle().spawn(follow));
        }
        Ok(())
    }

    /// Opens the admin service; returns where it listens.
    pub(super) fn serve_admin(
        &mut self,
        address: SocketAddr,
        view: admin::BrokerView,
        quorum: &Handle,
    ) -> Result<SocketAddr, StartError> {
        let handle = self.control.handle();
        let server = self
            .control
            .block_on(admin::serve(&handle, address, view, quorum.clone()));
        let server =
            server.map_err(|error| failed("open the admin service")(format!("{address}: {error}")))?;
        let address = server.address;
        self.admin = Some(server);
        Ok(address)
    }

    /// Ends everything, the quorum last.
    pub(super) fn stop(self) {
        let ControlPlane {
            control,
            http,
            quorum,
            admin,
            following,
        } = self;
        control.block_on(async {
            if let Some(following) = following {
                following.abort();
            }
            if let Some(admin) = admin {
                admin.stop().await;
            }
            if let Some(quorum) = quorum {
                quorum.stop().await;
            }
            if let Some(http) = http {
                http.stop();
            }
        });
        control.shutdown(GRACE);
    }
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
