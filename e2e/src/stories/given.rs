//! What the stories start from: a cluster with a listener for inside and one for outside, and topics on it.
//!
//! Owns the manifests that several stories share, and waiting for them.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Env;
use crate::wait::seconds;

/// Name of the cluster in every story.
pub(super) const CLUSTER: &str = "first";
/// The pod of its only broker.
pub(super) const POD: &str = "first-kafka-0";

const MANIFEST: &str = "
apiVersion: millrace.dev/v1alpha1
kind: KafkaCluster
metadata: {name: first}
spec:
  replicas: $REPLICAS
  listeners:
  - {name: plain, port: 9092, type: internal}
  - {name: outside, port: 9094, type: nodeport}
  storage: {type: persistent-claim, size: 1Gi}
";

/// The cluster with so many brokers.
pub(super) fn manifest(replicas: usize) -> String {
    MANIFEST.replace("$REPLICAS", &replicas.to_string())
}

/// The pod of a broker.
pub(super) fn pod(node_id: usize) -> String {
    format!("{CLUSTER}-kafka-{node_id}")
}

/// A topic manifest with a few lines of its own spec.
pub(super) fn topic(name: &str, spec: &str) -> String {
    format!(
        "\n---\napiVersion: millrace.dev/v1alpha1\nkind: KafkaTopic\nmetadata: {{name: {name}}}\n\
         spec: {{clusterRef: {{name: {CLUSTER}}}, {spec}}}\n"
    )
}

/// A cluster in the story's namespace that is Ready.
pub(super) struct Given {
    /// As the status tells it, ready to paste.
    pub(super) inside: String,
    pub(super) outside: String,
}

impl Given {
    /// Applies the cluster together with further manifests, and waits until the cluster is Ready.
    pub(super) fn cluster(env: &Env<'_>, more: &str) -> Result<Given> {
        Given::brokers(env, 1, more)
    }

    /// The same of several brokers.
    pub(super) fn brokers(env: &Env<'_>, replicas: usize, more: &str) -> Result<Given> {
        let applied = Instant::now();
        // Topics before their cluster, on purpose: the order must not matter.
        env.kubectl
            .apply(&format!("{more}\n---\n{}", manifest(replicas)))?;
        let cluster = env
            .kubectl
            .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(120))?;
        println!(
            "KafkaCluster applied to Ready: {:.1} s",
            applied.elapsed().as_secs_f32()
        );
        Ok(Given {
            inside: bootstrap(&cluster, "plain")?,
            outside: bootstrap(&cluster, "outside")?,
        })
    }

    /// Kafka's cluster id and the node id of the quorum's leader, as a client in the cluster is told. Needs the client's pod.
    pub(super) fn identity(&self, env: &Env<'_>) -> Result<(String, usize)> {
        let said = env
            .kubectl
            .run(&["exec", "--quiet", "client", "--", "load", "cluster", &self.inside])?;
        let (id, controller) = said
            .trim()
            .split_once(' ')
            .context("no cluster id and controller")?;
        Ok((id.to_owned(), controller.parse()?))
    }

    pub(super) fn topic_ready(env: &Env<'_>, name: &str) -> Result<Value> {
        env.kubectl
            .wait_condition("kafkatopic", name, "Ready", "True", seconds(60))
    }
}

fn bootstrap(cluster: &Value, listener: &str) -> Result<String> {
    let listeners = cluster["status"]["listeners"]
        .as_array()
        .context("status.listeners is missing")?;
    listeners
        .iter()
        .find(|found| found["name"] == *listener)
        .and_then(|found| found["bootstrapServers"].as_str())
        .map(str::to_owned)
        .with_context(|| format!("no bootstrapServers of listener {listener} in {listeners:?}"))
}
