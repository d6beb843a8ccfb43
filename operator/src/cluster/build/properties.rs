//! The content of a broker's property file. Pure; local mode uses it too, with other places.

use crate::cluster::model::Cluster;
use crate::crd::kafka_cluster::StorageKind;
use protocol::properties::{self, Effect};
use std::collections::BTreeMap;

/// Where a broker of this surrounding keeps and opens things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Host that listeners bind to.
    pub bind: String,
    /// Port by listener name, where it is not the listener's own.
    pub ports: BTreeMap<String, u16>,
    /// `log.dirs`.
    pub data: String,
    /// `admin.listener`.
    pub admin: String,
    /// `http.listener`.
    pub http: String,
    /// `advertised.listeners.file`.
    pub advertised_file: Option<String>,
    /// `control.listener`.
    pub control: String,
    /// `replication.listener`; the same.
    pub replication: String,
    /// host:port of each broker's control listener, by node id; of a lone one too, which others may join.
    pub voters: BTreeMap<i32, String>,
}

/// An empty metadata log is a lost one.
pub const FORMED: &str = "cluster.formed";
/// Changes from one start to the next without being a reason for it: a running member knows its cluster.
pub const FOR_THE_NEXT_START: &[&str] = &[FORMED, VOTERS];
/// Who forms the cluster; who comes later finds a member by it.
const VOTERS: &str = "controller.quorum.voters";

/// All properties of the file, by name.
pub fn properties(cluster: &Cluster, places: &Places) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    set("listeners", listeners(cluster, places));
    let protocols: Vec<String> = cluster
        .listeners
        .iter()
        .map(|one| format!("{}:PLAINTEXT", one.kafka_name()))
        .collect();
    set("listener.security.protocol.map", protocols.join(","));
    set("log.dirs", places.data.clone());
    set("admin.listener", places.admin.clone());
    set("http.listener", places.http.clone());
    if let Some(file) = &places.advertised_file {
        set("advertised.listeners.file", file.clone());
    }
    set("io.engine", cluster.engine.property().to_owned());
    // Topics are made by KafkaTopic resources; a client's typing error must not make one.
    set("auto.create.topics.enable", "false".to_owned());
    for name in ["offsets.topic.replication.factor", "default.replication.factor"] {
        if properties::broker_property(name).is_some_and(|property| property.effect == Effect::Served) {
            set(name, cluster.replicas.min(3).to_string());
        }
    }
    if cluster.is_quorum() {
        // Two of three: one broker may be lost or restarted, and an acknowledged record is still on two disks.
        set("min.insync.replicas", "2".to_owned());
    }
    // A lone broker whose records live in its pod starts empty by design; any other empty disk has lost its cluster.
    let starts_empty = !cluster.is_quorum() && cluster.storage.kind == StorageKind::Ephemeral;
    if cluster.formed && !starts_empty {
        set(FORMED, "true".to_owned());
    }
    let voters = places.voters.iter().map(|(id, at)| format!("{id}@{at}"));
    set(VOTERS, voters.collect::<Vec<_>>().join(","));
    // Who is new, or lost its disk, gets its vote when it knows everything.
    set("controller.quorum.auto.join.enable", "true".to_owned());
    set("control.listener", places.control.clone());
    // Advertised with the host of the control listener, as the voters name it.
    set("replication.listener", places.replication.clone());
    if let Some(limit) = shard_memory(cluster) {
        set("memory.limit.bytes", limit.to_string());
    }
    for (name, value) in &cluster.static_config {
        set(name, value.clone());
    }
    all
}

fn listeners(cluster: &Cluster, places: &Places) -> String {
    let addresses = cluster.listeners.iter().map(|listener| {
        let port = places.ports.get(&listener.name).copied().unwrap_or(listener.port);
        format!("{}://{}:{port}", listener.kafka_name(), places.bind)
    });
    addresses.collect::<Vec<_>>().join(",")
}

/// Of a pod with a memory limit the shards together take half, so that the page cache and the control plane have room.
fn shard_memory(cluster: &Cluster) -> Option<u64> {
    let memory = bytes(cluster.limits.get("memory")?)?;
    let shards = cluster
        .static_config
        .get("shards")
        .and_then(|shards| shards.parse().ok())
        .unwrap_or_else(|| {
            let cpu = cluster.limits.get("cpu").and_then(|cpu| bytes(cpu)).unwrap_or(1);
            cpu.max(1)
        });
    const LEAST: u64 = 16 << 20;
    const DEFAULT: u64 = 256 << 20;
    Some((memory / 2 / shards).clamp(LEAST, DEFAULT))
}

/// A Kubernetes quantity in whole units; enough of the grammar for CPU and memory.
pub fn bytes(quantity: &str) -> Option<u64> {
    let digits = quantity
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1048576.0,
        "Gi" => 1073741824.0,
        "Ti" => 1099511627776.0,
        "Pi" => 1125899906842624.0,
        _ => return None,
    };
    Some((number * factor) as u64)
}

/// The file's text. Names and values have no line breaks: names are in the table, values are escaped.
pub fn render(all: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Written by the Millrace operator; changes are overwritten.\n");
    for (name, value) in all {
        let value = value
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\r', "\\r");
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{ClusterBuilder, checked, cluster};

    fn places() -> Places {
        Places {
            bind: "0.0.0.0".into(),
            ports: BTreeMap::new(),
            data: "/data".into(),
            admin: "0.0.0.0:9090".into(),
            http: "0.0.0.0:9091".into(),
            advertised_file: None,
            control: "0.0.0.0:9088".into(),
            replication: "0.0.0.0:9089".into(),
            voters: BTreeMap::from([
                (0, "a-0:9088".into()),
                (1, "a-1:9088".into()),
                (2, "a-2:9088".into()),
            ]),
        }
    }

    #[test]
    fn several_brokers_are_told_of_each_other_and_keep_three_copies() {
        let all = properties(&checked(cluster("a").replicas(3)), &places());
        for (name, value) in &all {
            properties::check_broker(name, value).unwrap();
        }
        for (name, wanted) in [
            ("controller.quorum.voters", "0@a-0:9088,1@a-1:9088,2@a-2:9088"),
            ("control.listener", "0.0.0.0:9088"),
            ("replication.listener", "0.0.0.0:9089"),
            ("default.replication.factor", "3"),
            ("offsets.topic.replication.factor", "3"),
            ("min.insync.replicas", "2"),
        ] {
            assert_eq!(all[name], wanted, "{name}");
        }
        assert!(!all.contains_key(FORMED));
        let formed = properties(&checked(cluster("a").replicas(3).formed()), &places());
        assert_eq!(formed[FORMED], "true");
        use protocol::properties;
    }

    #[test]
    fn a_lone_broker_can_be_joined() {
        let lone = Places {
            voters: BTreeMap::from([(0, "a-0:9088".into())]),
            ..places()
        };
        let all = properties(&checked(cluster("a")), &lone);
        assert_eq!(all["controller.quorum.voters"], "0@a-0:9088");
        assert_eq!(all["control.listener"], "0.0.0.0:9088");
        assert!(!all.contains_key("min.insync.replicas"));
    }

    /// One row: brokers, where their records are, and whether an empty disk is a lost one once the cluster was formed.
    #[test]
    fn an_empty_disk_is_a_lost_one_unless_it_is_a_lone_pods_own() {
        type Row = (i32, fn(ClusterBuilder) -> ClusterBuilder, bool);
        let claim: fn(ClusterBuilder) -> ClusterBuilder = |builder| builder;
        let rows: [Row; 4] = [
            (1, claim, true),
            (3, claim, true),
            (1, ClusterBuilder::ephemeral, false),
            (3, ClusterBuilder::ephemeral, true),
        ];
        for (replicas, storage, lost) in rows {
            let of = |builder| properties(&checked(storage(builder)), &places()).contains_key(FORMED);
            let builder = || cluster("a").replicas(replicas);
            assert_eq!(of(builder().formed()), lost, "{replicas} brokers");
            assert!(!of(builder()), "{replicas} brokers, not formed yet");
        }
    }

    #[test]
    fn every_line_is_a_property_the_broker_takes() {
        let checked = checked(
            cluster("a")
                .nodeport("external", 9094)
                .config("num.partitions", "3")
                .limits("2", "512Mi"),
        );
        let all = properties(&checked, &places());
        for (name, value) in &all {
            properties::check_broker(name, value).unwrap();
        }
        assert_eq!(all["listeners"], "PLAIN://0.0.0.0:9092,EXTERNAL://0.0.0.0:9094");
        assert_eq!(all["num.partitions"], "3");
        assert_eq!(all["memory.limit.bytes"], (128u64 << 20).to_string());
        use protocol::properties;
    }

    #[test]
    fn auto_creation_is_off_unless_asked_for() {
        assert_eq!(
            properties(&checked(cluster("a")), &places())["auto.create.topics.enable"],
            "false"
        );
        let asked = checked(cluster("a").config("auto.create.topics.enable", "true"));
        assert_eq!(properties(&asked, &places())["auto.create.topics.enable"], "true");
    }

    #[test]
    fn quantities() {
        for (text, wanted) in [
            ("1", 1),
            ("2500m", 2),
            ("1Gi", 1 << 30),
            ("1.5Ki", 1536),
            ("1k", 1000),
        ] {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        assert_eq!(bytes("much"), None);
    }
}
