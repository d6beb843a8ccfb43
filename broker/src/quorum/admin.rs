//! The gRPC service the operator asks (`broker/admin`): who is this broker, how is it, may it stop; and the few things
//! the operator sets.
//!
//! Owns the checks of the target and the translation. Leaves answers about the data plane to a [`BrokerView`], which
//! `node.rs` fills, and changes to the quorum. Its socket is `rt::control::http`'s.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::admin::v1;
use protocol::ErrorCode;
use protocol::ids::{NodeId, uuid_text};
use tonic::{Request, Response, Status};

use super::advertised;
use super::handle::{Handle, Refused};
use crate::metadata::{self, Endpoint, Reply};
use crate::rt::control::ControlHandle;
use crate::rt::control::http::{self, Server, Version};
use crate::rt::control::net::Listener;

/// Partitions named in one CanStop answer.
const MOST_BLOCKING: usize = 100;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For the quorum's leader to say who votes: below the operator's own patience.
const VOTERS_WITHIN: Duration = Duration::from_secs(2);

/// A question to the data plane that may be asked from any thread at any time.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What the service tells about this broker beside its metadata image. Filled by `node.rs`.
pub struct BrokerView {
    pub cluster_id: Arc<str>,
    pub node: NodeId,
    pub incarnation_id: [u8; 16],
    /// The word for the engine, for example `uring`.
    pub engine: &'static str,
    /// One word: why this engine.
    pub engine_reason: String,
    /// One line for a person.
    pub engine_detail: String,
    pub shards: i32,
    /// Hash over the effective static properties.
    pub static_config_hash: String,
    /// `min.insync.replicas` of topics that do not set it.
    pub min_insync_replicas: usize,
    pub state: Ask<BrokerState>,
    /// Steps of the start that are not done, in words.
    pub not_ready: Ask<Vec<String>>,
    /// See `metadata_lost` in the contract.
    pub metadata_lost: Ask<bool>,
    pub memory_bytes: Ask<u64>,
    pub uptime: Ask<Duration>,
}

/// Where this broker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    Starting,
    Recovering,
    Running,
    Stopping,
}

/// Binds the address and serves, what needs the quorum from when there is one. An address that stays in use is an error
/// after two seconds.
pub async fn serve(
    control: &ControlHandle,
    address: SocketAddr,
    view: BrokerView,
    quorum: Arc<OnceLock<Handle>>,
) -> io::Result<Server> {
    let listener = Listener::bind(address).await?;
    let service = v1::admin_server::AdminServer::new(Service { view, quorum });
    http::serve(control, listener, Version::Two, service)
}

struct Service {
    view: BrokerView,
    quorum: Arc<OnceLock<Handle>>,
}

impl Service {
    /// A request for another broker or cluster must not be carried out here: addresses are re-used, forwards go astray.
    fn check(&self, target: Option<&v1::Target>) -> Result<(), Status> {
        let Some(target) = target else {
            return Err(Status::invalid_argument(
                "the request names no target (cluster id and node id)",
            ));
        };
        if target.cluster_id == *self.view.cluster_id && target.node_id == self.view.node.0 {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "the request is for broker {} of cluster {}; this is broker {} of cluster {}",
            target.node_id, target.cluster_id, self.view.node, self.view.cluster_id
        )))
    }

    fn quorum(&self) -> Result<&Handle, Status> {
        self.quorum
            .get()
            .ok_or_else(|| Status::unavailable("this broker is not in the metadata quorum yet"))
    }

    /// As readiness sees it: a leader that leads a minority counts on nobody.
    fn reaches_quorum(&self) -> bool {
        let quorum = self.quorum.get();
        quorum.is_some_and(|quorum| quorum.state().failed.is_none() && quorum.out_of_reach().is_none())
    }

    fn stopping(&self, quorum: &Handle) -> metadata::Stopping {
        metadata::stopping(&quorum.image(), self.view.node, self.view.min_insync_replicas)
    }

    fn own_listeners(&self) -> Vec<Endpoint> {
        let image = self.quorum.get().map(Handle::image);
        image
            .and_then(|image| Some(image.broker(self.view.node)?.listeners.clone()))
            .unwrap_or_default()
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Service {
    async fn identify(
        &self,
        _: Request<v1::IdentifyRequest>,
    ) -> Result<Response<v1::IdentifyResponse>, Status> {
        Ok(Response::new(v1::IdentifyResponse {
            cluster_id: self.view.cluster_id.to_string(),
            node_id: self.view.node.0,
            version: VERSION.into(),
        }))
    }

    async fn describe_broker(
        &self,
        request: Request<v1::DescribeBrokerRequest>,
    ) -> Result<Response<v1::DescribeBrokerResponse>, Status> {
        self.check(request.get_ref().target.as_ref())?;
        let view = &self.view;
        let held = self.quorum.get().map(|quorum| self.stopping(quorum));
        let held = held.unwrap_or_default();
        Ok(Response::new(v1::DescribeBrokerResponse {
            engine: view.engine.into(),
            engine_reason: view.engine_reason.clone(),
            engine_detail: view.engine_detail.clone(),
            state: wire_state((view.state)()).into(),
            not_ready: (view.not_ready)(),
            shards: view.shards,
            partitions: held.replicas as i64,
            leaders: held.leads as i64,
            under_replicated: held.under_replicated as i64,
            advertised_listeners: wire_listeners(&self.own_listeners()),
            static_config_hash: view.static_config_hash.clone(),
            memory_bytes: (view.memory_bytes)() as i64,
            uptime_ms: (view.uptime)().as_millis() as i64,
            version: VERSION.into(),
            incarnation_id: uuid_text(&view.incarnation_id),
            metadata_lost: (view.metadata_lost)(),
            quorum_reachable: Some(self.reaches_quorum()),
        }))
    }

    async fn describe_cluster(
        &self,
        request: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        self.check(request.get_ref().target.as_ref())?;
        let quorum = self.quorum()?;
        let image = quorum.image();
        let partitions = || image.topics.values().flat_map(|topic| topic.partitions.iter());
        let brokers = image.brokers.values().map(|broker| v1::ClusterBroker {
            node_id: broker.node.0,
            fenced: broker.fenced,
            rack: broker.rack.as_deref().unwrap_or("").into(),
            listeners: wire_listeners(&broker.listeners),
            incarnation_id: uuid_text(&broker.incarnation_id),
            epoch: broker.epoch,
        });
        Ok(Response::new(v1::DescribeClusterResponse {
            cluster_id: image.cluster_id.to_string(),
            brokers: brokers.collect(),
            controller_id: image.controller.map_or(-1, |node| node.0),
            topics: image.topics.len() as i64,
            partitions: image.partitions as i64,
            offline_partitions: partitions()
                .filter(|partition| partition.leader.is_none())
                .count() as i64,
            under_replicated_partitions: partitions()
                .filter(|partition| partition.isr.len() < partition.replicas.len())
                .count() as i64,
            metadata_offset: image.offset as i64,
            voters: quorum.state().voters.iter().map(|voter| voter.node).collect(),
        }))
    }

    async fn set_advertised_listeners(
        &self,
        request: Request<v1::SetAdvertisedListenersRequest>,
    ) -> Result<Response<v1::SetAdvertisedListenersResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let listeners = request
            .listeners
            .into_iter()
            .map(own_endpoint)
            .collect::<Result<Vec<_>, _>>()?;
        let updated = advertised::set(self.quorum()?, self.view.node, listeners)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::SetAdvertisedListenersResponse {
            listeners: wire_listeners(&updated.value),
            changed: updated.changed,
        }))
    }

    async fn set_dynamic_configs(
        &self,
        request: Request<v1::SetDynamicConfigsRequest>,
    ) -> Result<Response<v1::SetDynamicConfigsResponse>, Status> {
        let request = request.into_inner();
        self.check(request.target.as_ref())?;
        let change = metadata::Request::SetDynamicConfigs {
            node: (!request.cluster_wide).then_some(self.view.node),
            set: request.set.into_iter().collect::<BTreeMap<_, _>>(),
            unset: request.unset,
        };
        let quorum = self.quorum()?;
        match quorum.request(change, ANSWER_WITHIN).await.map_err(status)? {
            Reply::SetDynamicConfigs(Ok(updated)) => Ok(Response::new(v1::SetDynamicConfigsResponse {
                configs: updated.value.into_iter().collect(),
                changed: updated.changed,
            })),
            Reply::SetDynamicConfigs(Err(error)) => Err(status(Refused {
                code: error.code,
                message: error.message,
            })),
            other => Err(Status::internal(format!("answered with {other:?}"))),
        }
    }

    async fn can_stop(
        &self,
        request: Request<v1::CanStopRequest>,
    ) -> Result<Response<v1::CanStopResponse>, Status> {
        self.check(request.get_ref().target.as_ref())?;
        let quorum = self.quorum()?;
        let missed = quorum.missed(self.view.node, VOTERS_WITHIN).await;
        let stopping = self.stopping(quorum);
        let mut notes = Vec::new();
        if stopping.only_here > 0 {
            notes.push(format!(
                "{} partitions have their only replica here and are away until the broker is back",
                stopping.only_here
            ));
        }
        let blocking = stopping
            .blocking
            .iter()
            .take(MOST_BLOCKING)
            .map(|blocking| v1::BlockingPartition {
                topic: blocking.topic.to_string(),
                partition: blocking.partition,
                reason: blocking.reason.clone(),
            });
        Ok(Response::new(v1::CanStopResponse {
            allowed: stopping.blocking.is_empty() && missed.is_none(),
            blocking: blocking.collect(),
            blocking_total: stopping.blocking.len() as i64,
            notes,
            blocking_quorum: missed.unwrap_or_default(),
        }))
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn wire_state(state: BrokerState) -> v1::BrokerState {
    match state {
        BrokerState::Starting => v1::BrokerState::Starting,
        BrokerState::Recovering => v1::BrokerState::Recovering,
        BrokerState::Running => v1::BrokerState::Running,
        BrokerState::Stopping => v1::BrokerState::Stopping,
    }
}

fn wire_listeners(listeners: &[Endpoint]) -> HashMap<String, v1::HostPort> {
    let address = |endpoint: &Endpoint| v1::HostPort {
        host: endpoint.host.to_string(),
        port: endpoint.port.into(),
    };
    listeners
        .iter()
        .map(|endpoint| (endpoint.name.to_string(), address(endpoint)))
        .collect()
}

fn own_endpoint((name, address): (String, v1::HostPort)) -> Result<Endpoint, Status> {
    let port = u16::try_from(address.port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| {
            Status::invalid_argument(format!("listener {name}: {} is not a port", address.port))
        })?;
    Ok(Endpoint {
        name: name.into(),
        host: address.host.into(),
        port,
    })
}

/// The caller's mistake, a state that passes, or ours: three kinds of gRPC status, always with the words.
fn status(refused: Refused) -> Status {
    let words = refused.to_string();
    match refused.code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidConfig => Status::invalid_argument(words),
        ErrorCode::RequestTimedOut => Status::deadline_exceeded(words),
        ErrorCode::NotController => Status::unavailable(words),
        ErrorCode::BrokerIdNotRegistered => Status::failed_precondition(words),
        _ => Status::internal(words),
    }
}
