//! Names of labels and annotations, and the labels and owner every object carries. Selectors use only what never changes.

use crate::cluster::model::Cluster;
use crate::crd::{GROUP, VERSION};
use serde_json::{Map, Value, json};

/// Field manager of everything the operator applies.
pub const MANAGER: &str = "millrace-operator";
/// Label: the cluster an object belongs to.
pub const CLUSTER: &str = "millrace.dev/cluster";
/// Label of a broker service: the listener.
pub const LISTENER: &str = "millrace.dev/listener";
/// Annotation: hash of the object as it was applied last; a field that left the object is noticed by it.
pub const APPLIED: &str = "millrace.dev/applied";
/// Annotation of pods: what a broker reads at its start only, as JSON; a pod that says otherwise has to be restarted.
pub const RESTART_INPUTS: &str = "millrace.dev/restart-inputs";
/// Annotation of volume claims: Kafka's cluster id of the data on it.
pub const CLUSTER_ID: &str = "millrace.dev/cluster-id";
/// Annotation of volume claims, `true`: the cluster with that id was formed, so a volume that is empty has lost its data.
pub const FORMED: &str = "millrace.dev/formed";
/// Annotation with the effect of `spec.paused`, for specs that something else writes.
pub const PAUSED: &str = "millrace.dev/paused";

/// Labels that identify the objects of a cluster; also the selector of its pods.
pub fn selector(cluster: &str) -> Map<String, Value> {
    let labels = json!({
        "app.kubernetes.io/name": "millrace-broker",
        "app.kubernetes.io/instance": cluster,
        CLUSTER: cluster,
    });
    object(labels)
}

/// The selector as text.
pub fn selector_text(cluster: &str) -> String {
    format!("{CLUSTER}={cluster},app.kubernetes.io/name=millrace-broker")
}

/// All labels of an object.
pub fn labels(cluster: &Cluster) -> Map<String, Value> {
    let mut labels = selector(&cluster.name);
    labels.insert("app.kubernetes.io/part-of".into(), json!("millrace"));
    labels.insert("app.kubernetes.io/component".into(), json!("broker"));
    labels.insert("app.kubernetes.io/managed-by".into(), json!(MANAGER));
    labels
}

/// `metadata` of an object of this cluster.
pub fn metadata(cluster: &Cluster, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": cluster.namespace,
        "labels": labels(cluster),
        "ownerReferences": [{
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "KafkaCluster",
            "name": cluster.name,
            "uid": cluster.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
