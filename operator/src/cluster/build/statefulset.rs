//! The broker pods and their volumes.
//!
//! Pods pass Pod Security `restricted`. The pod's ordinal is the node id, read from a label by the kubelet, so that one
//! template serves all brokers without a shell. The StatefulSet never restarts a pod by itself (`OnDelete`): the operator
//! does, when the broker may stop, and says why.

use super::properties::FOR_THE_NEXT_START;
use super::{Kind, Object, config_map, labels};
use crate::cluster::model::Cluster;
use crate::crd::kafka_cluster::{SeccompKind, StorageKind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where brokers talk about metadata; also of a lone one, which others may join.
pub const CONTROL_PORT: u16 = 9088;
/// Where followers fetch.
pub const REPLICATION_PORT: u16 = 9089;
/// The admin service. Listeners start at 9092.
pub const ADMIN_PORT: u16 = 9090;
/// Health and metrics.
pub const HTTP_PORT: u16 = 9091;
/// Where the volume is mounted.
pub const DATA: &str = "/var/lib/millrace";
/// Where the ConfigMap is mounted.
pub const FILES: &str = "/etc/millrace";
/// Name of the container.
pub const CONTAINER: &str = "broker";
/// User and group of the image.
const USER: i64 = 1000;

/// What a broker reads at its start only, by a name that a person understands. A difference is a reason to restart.
pub fn restart_inputs(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::from([
        ("image".to_owned(), cluster.image.clone()),
        (
            "resources".to_owned(),
            json!({"limits": cluster.limits, "requests": cluster.requests}).to_string(),
        ),
        ("io.engine".to_owned(), cluster.engine.property().to_owned()),
        ("seccompProfile".to_owned(), seccomp(cluster).to_string()),
        (
            "template".to_owned(),
            super::hash(&json!(cluster.pod).to_string()),
        ),
    ]);
    let operators = config_map::places(cluster);
    for (name, value) in super::properties::properties(cluster, &operators) {
        // The first is named above in words of its own.
        if name != "io.engine" && !FOR_THE_NEXT_START.contains(&name.as_str()) {
            inputs.insert(name, value);
        }
    }
    inputs
}

/// The StatefulSet.
pub fn statefulset(cluster: &Cluster, inputs: &BTreeMap<String, String>) -> Object {
    let name = cluster.set_name();
    let claims = match cluster.storage.kind {
        StorageKind::PersistentClaim => json!([claim(cluster)]),
        StorageKind::Ephemeral => json!([]),
    };
    let mut spec = json!({
        "replicas": cluster.replicas,
        "serviceName": cluster.headless_name(),
        // A quorum cannot form pod by pod.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "selector": {"matchLabels": labels::selector(&cluster.name)},
        "template": pod(cluster, inputs),
    });
    if claims != json!([]) {
        spec["volumeClaimTemplates"] = claims;
    }
    Object {
        kind: Kind::StatefulSet,
        body: json!({"metadata": labels::metadata(cluster, &name), "spec": spec}),
        name,
    }
}

/// The claim is not owned by the cluster: deleting the resource must not delete the records. It carries the cluster id, so
/// that a cluster made again under the same name finds its data.
fn claim(cluster: &Cluster) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": cluster.storage.size}},
    });
    if let Some(class) = &cluster.storage.class {
        spec["storageClassName"] = json!(class);
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data",
            "labels": labels::selector(&cluster.name),
            "annotations": {labels::CLUSTER_ID: cluster.cluster_id},
        },
        "spec": spec,
    })
}

fn pod(cluster: &Cluster, inputs: &BTreeMap<String, String>) -> Value {
    let template = &cluster.pod;
    let (mut pod_labels, mut annotations) = (Map::new(), Map::new());
    if let Some(metadata) = &template.metadata {
        pod_labels.extend(
            metadata
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), json!(value))),
        );
        annotations.extend(
            metadata
                .annotations
                .iter()
                .map(|(name, value)| (name.clone(), json!(value))),
        );
    }
    pod_labels.extend(labels::labels(cluster));
    annotations.insert(labels::RESTART_INPUTS.into(), json!(json!(inputs).to_string()));
    let mut spec = json!({
        "serviceAccountName": cluster.set_name(),
        "automountServiceAccountToken": false,
        // Variables about every Service of the namespace are not for a broker that reads KAFKA_ ones.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": template.termination_grace_period_seconds.unwrap_or(300),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": seccomp(cluster),
        },
        "containers": [container(cluster)],
        "volumes": volumes(cluster),
        "topologySpreadConstraints": spread(cluster),
    });
    let optional = [
        (
            "nodeSelector",
            json!(template.node_selector),
            template.node_selector.is_empty(),
        ),
        (
            "tolerations",
            json!(template.tolerations),
            template.tolerations.is_empty(),
        ),
        ("affinity", json!(template.affinity), template.affinity.is_none()),
        (
            "priorityClassName",
            json!(template.priority_class_name),
            template.priority_class_name.is_none(),
        ),
    ];
    for (name, value, absent) in optional {
        if !absent {
            spec[name] = value;
        }
    }
    if !cluster.pull_secrets.is_empty() {
        let secrets = cluster.pull_secrets.iter().map(|name| json!({"name": name}));
        spec["imagePullSecrets"] = secrets.collect();
    }
    json!({"metadata": {"labels": pod_labels, "annotations": annotations}, "spec": spec})
}

fn spread(cluster: &Cluster) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels::selector(&cluster.name)},
        })
    };
    json!([
        over("topology.kubernetes.io/zone"),
        over("kubernetes.io/hostname")
    ])
}

fn container(cluster: &Cluster) -> Value {
    let probe = |path: &str, period: i32, failures: i32| {
        json!({
            "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 3,
        })
    };
    let mut ports: Vec<Value> = cluster
        .listeners
        .iter()
        .map(|one| json!({"name": format!("tcp-{}", one.name), "containerPort": one.port, "protocol": "TCP"}))
        .collect();
    ports.push(json!({"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}));
    ports.push(json!({"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}));
    ports.push(json!({"name": "control", "containerPort": CONTROL_PORT, "protocol": "TCP"}));
    ports.push(json!({"name": "replication", "containerPort": REPLICATION_PORT, "protocol": "TCP"}));
    let mut container = json!({
        "name": CONTAINER,
        "image": cluster.image,
        "imagePullPolicy": cluster.pull_policy.name(),
        "args": ["--config", format!("{FILES}/{}", config_map::PROPERTIES)],
        "env": environment(cluster),
        "ports": ports,
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "files", "mountPath": FILES, "readOnly": true},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        // A long recovery is not a failure; the liveness probe begins after it.
        "startupProbe": probe("/readyz", 1, 7200),
        "readinessProbe": probe("/readyz", 5, 2),
        "livenessProbe": probe("/healthz", 10, 6),
        // Where the broker wrote nothing there, its last lines are the reason the operator shows.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    let mut resources = Map::new();
    for (name, quantities) in [("requests", &cluster.requests), ("limits", &cluster.limits)] {
        if !quantities.is_empty() {
            resources.insert(name.to_owned(), json!(quantities));
        }
    }
    if !resources.is_empty() {
        container["resources"] = Value::Object(resources);
    }
    container
}

/// Node id and first addresses differ by pod. A nodeport listener starts with the pod's own address; the operator tells
/// the broker the node's as soon as it is known.
fn environment(cluster: &Cluster) -> Value {
    let host = format!(
        "$(POD_NAME).{}.{}.svc",
        cluster.headless_name(),
        cluster.namespace
    );
    let addresses: Vec<String> = cluster
        .listeners
        .iter()
        .map(|one| format!("{}://{host}:{}", one.kafka_name(), one.port))
        .collect();
    let mut variables = vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}),
        json!({"name": "KAFKA_NODE_ID", "valueFrom": {"fieldRef": {
            "apiVersion": "v1",
            "fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']",
        }}}),
        json!({"name": "CLUSTER_ID", "value": cluster.cluster_id}),
        json!({"name": "KAFKA_ADVERTISED_LISTENERS", "value": addresses.join(",")}),
        json!({"name": "KAFKA_CONTROL_ADVERTISED_LISTENER", "value": format!("{host}:{CONTROL_PORT}")}),
    ];
    let own: Vec<String> = variables
        .iter()
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect();
    let more = cluster.pod.env.iter().filter(|one| !own.contains(&one.name));
    variables.extend(more.map(|one| json!(one)));
    Value::Array(variables)
}

fn volumes(cluster: &Cluster) -> Value {
    let mut volumes = vec![
        json!({"name": "files", "configMap": {"name": cluster.set_name(), "defaultMode": 0o444}}),
        json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
    ];
    if cluster.storage.kind == StorageKind::Ephemeral {
        let empty = match &cluster.storage.size {
            Some(size) => json!({"sizeLimit": size}),
            None => json!({}),
        };
        volumes.push(json!({"name": "data", "emptyDir": empty}));
    }
    Value::Array(volumes)
}

fn seccomp(cluster: &Cluster) -> Value {
    match &cluster.seccomp {
        None => json!({"type": "RuntimeDefault"}),
        Some(profile) if profile.kind == SeccompKind::Localhost => {
            json!({"type": "Localhost", "localhostProfile": profile.localhost_profile})
        }
        Some(profile) => json!({"type": profile.kind.name()}),
    }
}
