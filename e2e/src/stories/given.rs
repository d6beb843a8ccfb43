//! What the stories start from: a cluster with a listener for inside and one for outside, and topics on it.
//!
//! Owns the manifests that several stories share, and waiting for them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Env;
use crate::kafka::Kcat;
use crate::kubectl::condition_of;
use crate::wait::{self, seconds};

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

/// Waits until neither Ready nor Available is true, for this reason.
pub(super) fn wait_reason(env: &Env<'_>, reason: &str, within: u64) -> Result<Value> {
    env.kubectl
        .wait_until("kafkacluster", CLUSTER, seconds(within), |cluster| {
            for condition in ["Ready", "Available"] {
                let found = condition_of(cluster, condition).context("a condition is missing")?;
                ensure!(
                    found["status"] == "False" && found["reason"] == *reason,
                    "{reason} is waited for: {found}"
                );
            }
            Ok(())
        })
}

/// The metadata is lost, and it stays so: nobody forms a cluster over the loss, of this id or another.
pub(super) fn stays_lost(env: &Env<'_>, id: &str) -> Result<()> {
    wait_reason(env, "MetadataLost", 120)?;
    wait::stays("no new cluster is formed", seconds(10), || {
        let cluster = env.kubectl.get("kafkacluster", CLUSTER)?;
        for condition in ["Ready", "Available"] {
            let found = condition_of(&cluster, condition).context("a condition is missing")?;
            ensure!(
                found["status"] == "False" && found["reason"] == "MetadataLost",
                "the status says {found}"
            );
        }
        ensure!(
            cluster["status"]["clusterId"] == *id,
            "the status names cluster {}, it was {id}",
            cluster["status"]["clusterId"]
        );
        Ok(())
    })
}

/// Deletes brokers' volume claims, and their pods, which have no time to leave in order: others come, with empty volumes.
pub(super) fn lose_volumes(env: &Env<'_>, node_ids: &[usize]) -> Result<()> {
    let before = node_ids
        .iter()
        .map(|node_id| Ok(env.kubectl.get("pod", &pod(*node_id))?["metadata"]["uid"].clone()))
        .collect::<Result<Vec<_>>>()?;
    for node_id in node_ids {
        env.kubectl.delete("pvc", &format!("data-{}", pod(*node_id)))?;
    }
    let pods: Vec<String> = node_ids.iter().map(|node_id| pod(*node_id)).collect();
    let mut arguments = vec!["delete", "pod", "--wait=false", "--grace-period=1"];
    arguments.extend(pods.iter().map(String::as_str));
    env.kubectl.run(&arguments)?;
    for (pod, before) in pods.iter().zip(before) {
        env.kubectl.wait_until("pod", pod, seconds(90), |pod| {
            ensure!(pod["metadata"]["uid"] != before, "the pod is not replaced yet");
            Ok(())
        })?;
    }
    Ok(())
}

/// The folder of a broker's volume; all nodes of a cluster of our own see it.
pub(super) fn volume(env: &Env<'_>, node_id: usize) -> Result<Volume> {
    let claim = env.kubectl.get("pvc", &format!("data-{}", pod(node_id)))?;
    let name = claim["spec"]["volumeName"].as_str();
    let name = name.context("the claim has no volume yet")?.to_owned();
    let path = env.kubectl.get("pv", &name)?["spec"]["local"]["path"].clone();
    let path = path.as_str().context("the volume is no folder")?.to_owned();
    Ok(Volume { name, path })
}

/// A volume.
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) path: String,
}

/// Every partition of the topic has so many replicas in sync.
pub(super) fn in_sync(kcat: &Kcat, bootstrap: &str, topic: &str, replicas: usize) -> Result<()> {
    let partitions = partitions(&kcat.metadata(bootstrap)?, topic);
    ensure!(!partitions.is_empty(), "no partition of {topic} is known");
    for partition in partitions {
        let found = partition["isrs"].as_array().map_or(0, Vec::len);
        ensure!(found == replicas, "in sync: {partition}");
    }
    Ok(())
}

/// The partitions of a topic in what `kcat -L` tells.
pub(super) fn partitions(metadata: &Value, topic: &str) -> Vec<Value> {
    let topics = metadata["topics"].as_array().into_iter().flatten();
    topics
        .filter(|found| found["topic"] == *topic)
        .flat_map(|found| found["partitions"].as_array().cloned().unwrap_or_default())
        .collect()
}

/// Waits until three brokers vote, each with the directory that it has now.
pub(super) fn three_vote(env: &Env<'_>) -> Result<()> {
    wait::until("three brokers vote", seconds(60), || {
        for node_id in 0..3 {
            let voters = metric(env, node_id, "millrace_metadata_quorum_voters")?;
            ensure!(voters == 3.0, "broker {node_id} knows of {voters} voters");
            let votes = metric(env, node_id, "millrace_metadata_quorum_votes")?;
            ensure!(votes == 1.0, "broker {node_id} has no vote");
        }
        Ok(())
    })
}

/// One value of a broker's metrics page.
fn metric(env: &Env<'_>, node_id: usize, name: &str) -> Result<f64> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}:9091/proxy/metrics",
        env.namespace,
        pod(node_id)
    );
    let metrics = env.kubectl.run(&["get", "--raw", &path])?;
    let value = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .find_map(|rest| rest.split_whitespace().last());
    let value = value.with_context(|| format!("broker {node_id} has no metric {name}"))?;
    value.parse().with_context(|| format!("{name} is {value:?}"))
}
