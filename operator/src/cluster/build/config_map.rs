//! The files mounted into the pods: the properties, and the table of advertised addresses that brokers watch.

use super::listeners::{Whereabouts, table};
use super::properties::{Places, properties, render};
use super::statefulset::{ADMIN_PORT, CONTROL_PORT, DATA, FILES, HTTP_PORT, REPLICATION_PORT};
use super::{Kind, Object, labels};
use crate::cluster::model::Cluster;
use serde_json::json;
use std::collections::BTreeMap;

/// Name of the property file.
pub const PROPERTIES: &str = "server.properties";
/// Name of the table.
pub const ADVERTISED: &str = "advertised.json";

/// Where things are in a pod.
pub fn places(cluster: &Cluster) -> Places {
    Places {
        bind: "0.0.0.0".to_owned(),
        ports: BTreeMap::new(),
        // Below the volume's root: some file systems come with a lost+found.
        data: format!("{DATA}/log"),
        admin: format!("0.0.0.0:{ADMIN_PORT}"),
        http: format!("0.0.0.0:{HTTP_PORT}"),
        advertised_file: Some(format!("{FILES}/{ADVERTISED}")),
        control: format!("0.0.0.0:{CONTROL_PORT}"),
        replication: format!("0.0.0.0:{REPLICATION_PORT}"),
        voters: cluster
            .node_ids()
            .map(|id| (id, format!("{}:{CONTROL_PORT}", cluster.pod_host(id))))
            .collect(),
    }
}

/// The files.
pub fn config_map(cluster: &Cluster, around: &Whereabouts) -> Object {
    let name = cluster.set_name();
    let mut table = serde_json::to_string_pretty(&table(cluster, around)).expect("a table of strings");
    table.push('\n');
    Object {
        kind: Kind::ConfigMap,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "data": {
                PROPERTIES: render(&properties(cluster, &places(cluster))),
                ADVERTISED: table,
            },
        }),
        name,
    }
}
