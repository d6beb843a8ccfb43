//! One broker over its admin service (gRPC): who it is, how it runs, what it tells clients, whether it may stop.
//!
//! Owns deadlines and the target that every request carries. A pod address may be re-used by another cluster's broker, so
//! a broker that is not the target refuses, and that is an answer like any other.

use admin::v1;
use admin::v1::admin_client::AdminClient;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why a broker gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// Nobody answers there.
    #[error("admin service at {address}: {detail}")]
    Unreachable {
        /// host:port.
        address: String,
        /// What the transport said.
        detail: String,
    },
    /// It answered with a refusal.
    #[error("{what}: {detail}")]
    Refused {
        /// The request.
        what: &'static str,
        /// The broker's words.
        detail: String,
    },
}

/// What a broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Kafka's node id.
    pub node_id: i32,
    /// Its version.
    pub version: String,
    /// uring or posix.
    pub engine: String,
    /// One word, see `IoUringAvailable`.
    pub engine_reason: String,
    /// One line with the remedy.
    pub engine_detail: String,
    /// Starting, Recovering, Running, Stopping.
    pub state: String,
    /// Steps of the start that are not done.
    pub not_ready: Vec<String>,
    /// host:port by Kafka's listener name.
    pub advertised: BTreeMap<String, String>,
    /// Partitions without a leader, in the whole cluster.
    pub offline_partitions: i64,
    /// Changes with every process start.
    pub incarnation: String,
    /// No voter knows the cluster, which was formed.
    pub metadata_lost: bool,
    /// A leader of the metadata quorum that a majority hears counts on it.
    pub quorum_reachable: bool,
    /// How it sees the cluster; nothing while it has no view.
    pub view: Option<View>,
}

impl BrokerFacts {
    /// It serves, and the metadata quorum counts on it.
    pub fn has_quorum(&self) -> bool {
        self.state == "Running" && self.quorum_reachable
    }
}

/// The cluster as one broker's metadata shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Leader of the metadata quorum.
    pub controller: Option<i32>,
    /// Registered brokers that are not fenced.
    pub serving: Vec<i32>,
    /// Registered brokers.
    pub registered: Vec<i32>,
    /// Partitions that lack an in-sync replica.
    pub under_replicated: i64,
    /// Who votes in the metadata quorum.
    pub voters: Vec<i32>,
}

/// May a broker stop?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanStop {
    /// Yes.
    Allowed,
    /// No; in words, naming partitions, or who is missed in the metadata quorum.
    Blocked(String),
}

/// A connection to the admin service of one broker.
pub struct Broker {
    client: AdminClient<Channel>,
    target: v1::Target,
}

impl Broker {
    /// Connects to `address` and asks who is there. With a cluster id, somebody else there is an error.
    pub async fn connect(
        address: &str,
        cluster_id: Option<&str>,
        node_id: i32,
    ) -> Result<Broker, BrokerError> {
        let unreachable = |detail: String| BrokerError::Unreachable {
            address: address.to_owned(),
            detail,
        };
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|error| unreachable(words(&error)))?;
        let channel = endpoint
            .connect_timeout(DEADLINE)
            .timeout(DEADLINE)
            .connect()
            .await
            .map_err(|error| unreachable(words(&error)))?;
        let mut client = AdminClient::new(channel);
        let who = client
            .identify(v1::IdentifyRequest {})
            .await
            .map_err(refused("Identify"))?
            .into_inner();
        if cluster_id.is_some_and(|wanted| wanted != who.cluster_id) || who.node_id != node_id {
            let detail = format!(
                "node {} of cluster {} answers there, not node {node_id}",
                who.node_id, who.cluster_id
            );
            return Err(unreachable(detail));
        }
        let target = v1::Target {
            cluster_id: who.cluster_id,
            node_id,
        };
        Ok(Broker { client, target })
    }

    /// Kafka's cluster id of this broker.
    pub fn cluster_id(&self) -> &str {
        &self.target.cluster_id
    }

    /// What it is and does.
    pub async fn describe(&mut self) -> Result<BrokerFacts, BrokerError> {
        let target = Some(self.target.clone());
        let broker = self.client.describe_broker(v1::DescribeBrokerRequest {
            target: target.clone(),
        });
        let broker = broker.await.map_err(refused("DescribeBroker"))?.into_inner();
        let state = match broker.state() {
            v1::BrokerState::Unspecified | v1::BrokerState::Starting => "Starting",
            v1::BrokerState::Recovering => "Recovering",
            v1::BrokerState::Running => "Running",
            v1::BrokerState::Stopping => "Stopping",
        };
        // A broker on its way up has no view of the cluster yet.
        let cluster = self
            .client
            .describe_cluster(v1::DescribeClusterRequest { target });
        let cluster = cluster.await.ok().map(tonic::Response::into_inner);
        let offline = cluster.as_ref().map_or(0, |answer| answer.offline_partitions);
        Ok(BrokerFacts {
            cluster_id: self.target.cluster_id.clone(),
            node_id: self.target.node_id,
            version: broker.version,
            engine: broker.engine,
            engine_reason: broker.engine_reason,
            engine_detail: broker.engine_detail,
            state: state.to_owned(),
            not_ready: broker.not_ready,
            advertised: broker
                .advertised_listeners
                .into_iter()
                .map(|(name, at)| (name, address(&at)))
                .collect(),
            offline_partitions: offline,
            incarnation: broker.incarnation_id,
            metadata_lost: broker.metadata_lost,
            // One that is too old to say so is believed, as long as it serves.
            quorum_reachable: broker.quorum_reachable.unwrap_or(state == "Running"),
            view: cluster.map(|answer| View {
                controller: Some(answer.controller_id).filter(|id| *id >= 0),
                serving: answer
                    .brokers
                    .iter()
                    .filter(|one| !one.fenced)
                    .map(|one| one.node_id)
                    .collect(),
                registered: answer.brokers.iter().map(|one| one.node_id).collect(),
                under_replicated: answer.under_replicated_partitions,
                voters: answer.voters,
            }),
        })
    }

    /// Tells it new addresses (host, port by Kafka's listener name). True when something changed.
    pub async fn set_advertised(
        &mut self,
        addresses: &BTreeMap<String, (String, i32)>,
    ) -> Result<bool, BrokerError> {
        let listeners: HashMap<String, v1::HostPort> = addresses
            .iter()
            .map(|(name, (host, port))| {
                let at = v1::HostPort {
                    host: host.clone(),
                    port: *port,
                };
                (name.clone(), at)
            })
            .collect();
        let target = Some(self.target.clone());
        let request = v1::SetAdvertisedListenersRequest { target, listeners };
        let answer = self.client.set_advertised_listeners(request).await;
        Ok(answer
            .map_err(refused("SetAdvertisedListeners"))?
            .into_inner()
            .changed)
    }

    /// Makes `wanted` the cluster-wide dynamic properties: sets what is in it, then unsets what else was found at that
    /// level. The operator owns the level as a whole. True when something changed.
    pub async fn set_dynamic(&mut self, wanted: &BTreeMap<String, String>) -> Result<bool, BrokerError> {
        let request = |set: &BTreeMap<String, String>, unset: Vec<String>| v1::SetDynamicConfigsRequest {
            target: Some(self.target.clone()),
            cluster_wide: true,
            set: set.clone().into_iter().collect(),
            unset,
        };
        let (set, nothing) = (request(wanted, Vec::new()), BTreeMap::new());
        let answer = self
            .client
            .set_dynamic_configs(set)
            .await
            .map_err(refused("SetDynamicConfigs"))?
            .into_inner();
        let stale: Vec<String> = answer
            .configs
            .into_keys()
            .filter(|name| !wanted.contains_key(name))
            .collect();
        if stale.is_empty() {
            return Ok(answer.changed);
        }
        let unset = v1::SetDynamicConfigsRequest {
            unset: stale,
            set: nothing.into_iter().collect(),
            cluster_wide: true,
            target: Some(self.target.clone()),
        };
        self.client
            .set_dynamic_configs(unset)
            .await
            .map_err(refused("SetDynamicConfigs"))?;
        Ok(true)
    }

    /// May it be stopped now?
    pub async fn can_stop(&mut self) -> Result<CanStop, BrokerError> {
        let target = Some(self.target.clone());
        let answer = self.client.can_stop(v1::CanStopRequest { target }).await;
        let answer = answer.map_err(refused("CanStop"))?.into_inner();
        if answer.allowed {
            return Ok(CanStop::Allowed);
        }
        Ok(CanStop::Blocked(why_not(&answer)))
    }
}

fn why_not(answer: &v1::CanStopResponse) -> String {
    let named = answer.blocking.iter().take(3);
    let named: Vec<String> = named
        .map(|one| format!("{}-{}: {}", one.topic, one.partition, one.reason))
        .collect();
    let partitions = format!("{} partitions: {}", answer.blocking_total, named.join("; "));
    match (answer.blocking_quorum.as_str(), answer.blocking_total) {
        ("", _) => partitions,
        (quorum, 0) => quorum.to_owned(),
        (quorum, _) => format!("{quorum}; {partitions}"),
    }
}

/// host:port, with brackets around an IPv6 address.
fn address(at: &v1::HostPort) -> String {
    if at.host.contains(':') {
        format!("[{}]:{}", at.host, at.port)
    } else {
        format!("{}:{}", at.host, at.port)
    }
}

fn refused(what: &'static str) -> impl Fn(tonic::Status) -> BrokerError {
    move |status| BrokerError::Refused {
        what,
        detail: status.message().to_owned(),
    }
}

/// An error with all its causes: the transport's outermost one says only "transport error".
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
