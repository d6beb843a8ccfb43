//! What protects a cluster from others: evictions one broker at a time, and the admin port for the operator only.

use super::statefulset::{ADMIN_PORT, CONTROL_PORT, HTTP_PORT, REPLICATION_PORT};
use super::{Kind, Object, labels};
use crate::cluster::model::Cluster;
use serde_json::{Value, json};

/// At most one broker is evicted at a time; one that is not ready anyway may always be.
pub fn disruption_budget(cluster: &Cluster) -> Object {
    let name = cluster.set_name();
    Object {
        kind: Kind::PodDisruptionBudget,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": labels::selector(&cluster.name)},
            },
        }),
        name,
    }
}

/// Listeners and metrics are open; the admin service answers the operator and the cluster's own brokers, and
/// what brokers tell each other is for them alone.
pub fn network_policy(cluster: &Cluster) -> Object {
    let name = cluster.set_name();
    let mut open: Vec<Value> = cluster
        .listeners
        .iter()
        .map(|one| json!({"port": one.port, "protocol": "TCP"}))
        .collect();
    open.push(json!({"port": HTTP_PORT, "protocol": "TCP"}));
    let mut ingress = vec![
        json!({"ports": open}),
        json!({
            "ports": [{"port": ADMIN_PORT, "protocol": "TCP"}],
            "from": [
                {"podSelector": {"matchLabels": labels::selector(&cluster.name)}},
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.operator_namespace}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "millrace-operator"}},
                },
            ],
        }),
    ];
    ingress.push(json!({
        "ports": [
            {"port": CONTROL_PORT, "protocol": "TCP"},
            {"port": REPLICATION_PORT, "protocol": "TCP"},
        ],
        "from": [{"podSelector": {"matchLabels": labels::selector(&cluster.name)}}],
    }));
    Object {
        kind: Kind::NetworkPolicy,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "spec": {
                "podSelector": {"matchLabels": labels::selector(&cluster.name)},
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        }),
        name,
    }
}
