//! Where the other brokers of a cluster are: voters, bootstrap servers, and the control port of this one.
//!
//! Owns telling a broker that is its whole cluster from one of several, and the words for what cannot be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::NodeId;
use protocol::listener::split_address;

use super::settings::Settings;
use super::socket_address;

/// Numbers of voters that make sense: an even number survives no more than the odd one below it.
const VOTERS: [usize; 3] = [1, 3, 5];

/// A place among several brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// `controller.quorum.voters`: host:port of the first voters' control listeners, by node.
    pub voters: BTreeMap<i32, String>,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap: Vec<String>,
    /// `control.listener`.
    pub control: SocketAddr,
    /// host:port at which the others reach that listener; port 0 is the real one.
    pub advertised: String,
    /// `replication.listener`.
    pub replication: SocketAddr,
    /// Host and port at which the others reach that listener; port 0 is the real one.
    pub replication_advertised: (String, u16),
    /// `cluster.formed`: an empty metadata log is a lost one.
    pub formed: bool,
    /// `controller.quorum.auto.join.enable`.
    pub wants_vote: bool,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_every: Duration,
    /// `leader.imbalance.check.interval.seconds`; none where `auto.leader.rebalance.enable` is false.
    pub balance_every: Option<Duration>,
}

/// None: this broker is its whole cluster, as it is when a KRaft file names it alone.
pub(super) fn cluster(
    settings: &mut Settings,
    node_id: Option<NodeId>,
    cluster_id: Option<&str>,
    hostname: &str,
) -> Option<ClusterOptions> {
    let roles = entries(settings, "process.roles");
    let has = |wanted: &str| roles.iter().any(|role| role.eq_ignore_ascii_case(wanted));
    if !roles.is_empty() && !has("broker") {
        settings.refuse(
            "process.roles",
            "a controller alone is not served: every node is broker and controller",
        );
    }
    let broker_only = !roles.is_empty() && !has("controller");
    let voters = voters(settings);
    let bootstrap = entries(settings, "controller.quorum.bootstrap.servers");
    let me = node_id.map(|node| node.0);
    let alone = match voters.len() {
        0 => bootstrap.len() <= 1 && !broker_only,
        1 => bootstrap.is_empty() && me.is_none_or(|me| voters.contains_key(&me)),
        _ => false,
    };
    if bootstrap.is_empty() && voters.is_empty() || alone && settings.given("control.listener").is_none() {
        return None;
    }
    if voters.len() > 1 && !VOTERS.contains(&voters.len()) {
        settings.refuse("controller.quorum.voters", "1, 3 or 5 voters are served");
    }
    if me.is_none() {
        settings.refuse("node.id", "one of several brokers must be told who it is");
    }
    if cluster_id.is_none() {
        settings.refuse(
            "cluster.id",
            "brokers of one cluster must all be told the same one",
        );
    }
    let control = socket_address(settings, "control.listener")?;
    let advertised = match settings
        .text("control.advertised.listener")
        .filter(|text| !text.is_empty())
    {
        Some(given) => given.to_string(),
        None => me
            .and_then(|me| voters.get(&me).cloned())
            .unwrap_or_else(|| format!("{}:{}", own_host(control, hostname), control.port())),
    };
    if split_address(&advertised).is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        settings.refuse(
            "control.advertised.listener",
            "host:port for the other brokers is expected",
        );
    }
    let replication = socket_address(settings, "replication.listener")?;
    let replication_advertised = replication_advertised(settings, replication, &advertised);
    let values = super::Values(settings);
    let (session_timeout, heartbeat_every) = (
        values.millis("broker.session.timeout.ms"),
        values.millis("broker.heartbeat.interval.ms"),
    );
    let formed = values.flag("cluster.formed");
    let wants_vote = values.flag("controller.quorum.auto.join.enable");
    let balance_every = values
        .flag("auto.leader.rebalance.enable")
        .then(|| Duration::from_secs(values.size("leader.imbalance.check.interval.seconds") as u64));
    if heartbeat_every * 2 > session_timeout {
        settings.refuse(
            "broker.heartbeat.interval.ms",
            "at most half of broker.session.timeout.ms is expected, or one lost heartbeat fences a broker",
        );
    }
    Some(ClusterOptions {
        voters,
        bootstrap,
        control,
        advertised,
        replication,
        replication_advertised,
        formed,
        wants_vote,
        session_timeout,
        heartbeat_every,
        balance_every,
    })
}

/// As given; else the address that is bound, if it is one; else the host of this broker's control listener.
fn replication_advertised(settings: &mut Settings, bound: SocketAddr, control: &str) -> (String, u16) {
    const NAME: &str = "replication.advertised.listener";
    if let Some(given) = settings.text(NAME).filter(|text| !text.is_empty()) {
        let parsed = split_address(given)
            .and_then(|(host, port)| Some((host.to_string(), port.parse().ok()?)))
            .filter(|(host, _)| !host.is_empty());
        if let Some(parsed) = parsed {
            return parsed;
        }
        settings.refuse(NAME, "host:port for the other brokers is expected");
    }
    let host = match split_address(control) {
        Some((host, _)) if bound.ip().is_unspecified() => host.to_string(),
        _ => bound.ip().to_string(),
    };
    (host, bound.port())
}

fn own_host(bound: SocketAddr, hostname: &str) -> String {
    match bound.ip() {
        ip if ip.is_unspecified() => hostname.to_string(),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip => ip.to_string(),
    }
}

fn entries(settings: &Settings, name: &str) -> Vec<String> {
    let text = settings.given(name).map_or("", |given| given.value.as_str());
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(str::to_string)
        .collect()
}

fn voters(settings: &mut Settings) -> BTreeMap<i32, String> {
    let mut voters = BTreeMap::new();
    for entry in entries(settings, "controller.quorum.voters") {
        let parsed = entry.split_once('@').and_then(|(id, address)| {
            let id: i32 = id.parse().ok().filter(|id| *id >= 0)?;
            let (host, port) = split_address(address)?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| (id, address.to_string()))
        });
        let Some((id, address)) = parsed else {
            settings.refuse(
                "controller.quorum.voters",
                format!("{entry}: <node.id>@host:port is expected"),
            );
            continue;
        };
        if voters.insert(id, address).is_some() {
            settings.refuse("controller.quorum.voters", format!("node {id} is named twice"));
        }
    }
    voters
}
