//! Services: one without an address that gives pods their names, one to start from, one per broker and nodeport listener.

use super::statefulset::{CONTROL_PORT, REPLICATION_PORT};
use super::{Kind, Object, labels};
use crate::cluster::model::{Cluster, Listener};
use serde_json::{Value, json};

/// All services.
pub fn services(cluster: &Cluster) -> Vec<Object> {
    let mut services = vec![headless(cluster), bootstrap(cluster)];
    for listener in cluster.nodeport_listeners() {
        services.extend(
            cluster
                .node_ids()
                .map(|node_id| broker(cluster, node_id, listener)),
        );
    }
    services
}

fn port(listener: &Listener) -> Value {
    json!({"name": format!("tcp-{}", listener.name), "port": listener.port, "targetPort": listener.port, "protocol": "TCP"})
}

/// Brokers that are not ready have their names too: others must find them while they catch up.
fn headless(cluster: &Cluster) -> Object {
    let name = cluster.headless_name();
    let mut ports: Vec<Value> = cluster.listeners.iter().map(port).collect();
    for (name, number) in [("control", CONTROL_PORT), ("replication", REPLICATION_PORT)] {
        ports.push(json!({"name": name, "port": number, "targetPort": number, "protocol": "TCP"}));
    }
    Object {
        kind: Kind::Service,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": labels::selector(&cluster.name),
                "ports": ports,
            },
        }),
        name,
    }
}

/// Ready brokers only, on the internal listeners.
fn bootstrap(cluster: &Cluster) -> Object {
    let name = cluster.bootstrap_name();
    let ports: Vec<Value> = cluster
        .listeners
        .iter()
        .filter(|one| !one.is_nodeport())
        .map(port)
        .collect();
    Object {
        kind: Kind::Service,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "spec": {
                "type": "ClusterIP",
                "selector": labels::selector(&cluster.name),
                "ports": ports,
            },
        }),
        name,
    }
}

/// One broker, from outside. Reached also while not ready: clients hold its address from the metadata.
fn broker(cluster: &Cluster, node_id: i32, listener: &Listener) -> Object {
    let name = cluster.broker_service_name(node_id, listener);
    let mut metadata = labels::metadata(cluster, &name);
    metadata["labels"][labels::LISTENER] = json!(listener.name);
    Object {
        kind: Kind::Service,
        body: json!({
            "metadata": metadata,
            "spec": {
                "type": "NodePort",
                "publishNotReadyAddresses": true,
                "selector": {"statefulset.kubernetes.io/pod-name": cluster.pod_name(node_id)},
                "ports": [port(listener)],
            },
        }),
        name,
    }
}
