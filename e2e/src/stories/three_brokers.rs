//! Three brokers form one cluster, once. Clients inside and outside write with acks=all to three replicas; one pod, then
//! all pods go and come back into the same cluster; one broker may be evicted at a time; a broker that does not serve is
//! not ready, in the pod, behind the bootstrap address and in the status. The resource is deleted and made again over the
//! volumes: first with what they held, then emptied, and no second cluster is formed.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Env;
use super::given::{CLUSTER, Given, in_sync, manifest, pod, stays_lost, topic, volume};
use crate::kubectl::condition_of;
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";
const BOOTSTRAP: &str = "first-kafka-bootstrap";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let payments = topic(TOPIC, "partitions: 3, replicas: 3");
    let given = Given::brokers(env, 3, &payments)?;
    Given::topic_ready(env, TOPIC)?;
    let inside = env.kcat_inside()?;
    let outside = env.cluster.kcat_outside();
    let id = env.kubectl.get("kafkacluster", CLUSTER)?["status"]["clusterId"].clone();
    ensure!(id.is_string(), "the status tells no clusterId");

    let mut lines = Vec::new();
    for (kcat, bootstrap, name) in [
        (&inside, &given.inside, "inside"),
        (&outside, &given.outside, "outside"),
    ] {
        let some: Vec<String> = (0..300).map(|n| format!("{name} {n}")).collect();
        kcat.produce(bootstrap, TOPIC, &some)?;
        lines.extend(some);
    }
    lines.sort();
    let all_there = |lines: &[String]| -> Result<()> {
        for (kcat, bootstrap) in [(&inside, &given.inside), (&outside, &given.outside)] {
            let read = kcat.consume(bootstrap, TOPIC)?;
            let mut values: Vec<String> = read.into_iter().map(|record| record.value).collect();
            values.sort();
            ensure!(
                values == lines,
                "{} records at {bootstrap}, {} were acknowledged",
                values.len(),
                lines.len()
            );
        }
        Ok(())
    };
    all_there(&lines)?;
    let three = || in_sync(&inside, &given.inside, TOPIC, 3);
    wait::until("three replicas in sync", seconds(30), three)?;

    // The same file once more changes nothing: neither pods nor the cluster.
    let before = pod_uids(env)?;
    env.kubectl.apply(&format!("{payments}\n---\n{}", manifest(3)))?;
    // An annotation is looked at at once, and the next full round comes within this time.
    let again = json!({"metadata": {"annotations": {"e2e.millrace.dev/applied": "again"}}});
    env.kubectl.patch("kafkacluster", CLUSTER, &again)?;
    wait::stays("the same file restarts no broker", seconds(20), || {
        ensure!(pod_uids(env)? == before, "the same file restarted a broker");
        Ok(())
    })?;
    same_cluster(env, &given, &id)?;

    evictions(env)?;
    settled(env)?;
    same_cluster(env, &given, &id)?;
    readiness(env, &|| {
        inside.produce(&given.inside, TOPIC, &["while one stands still".to_owned()])
    })?;
    lines.push("while one stands still".to_owned());
    lines.sort();

    // All at once, as after a power cut of the building: who is there again is a member of the cluster that was.
    for node_id in 0..3 {
        env.kubectl
            .run(&["delete", "pod", &pod(node_id), "--wait=false", "--grace-period=1"])?;
    }
    wait::until("all brokers are other pods", seconds(60), || {
        let now = pod_uids(env)?;
        ensure!(
            now.iter().all(|uid| !before.contains(uid)) && now.len() == 3,
            "the pods are {now:?}"
        );
        Ok(())
    })?;
    settled(env)?;
    same_cluster(env, &given, &id)?;
    wait::until("three replicas in sync", seconds(60), three)?;
    all_there(&lines)?;

    // The volumes remember what the resource has forgotten.
    delete_cluster(env)?;
    env.kubectl.apply(&manifest(3))?;
    settled(env)?;
    same_cluster(env, &given, &id)?;
    wait::until("three replicas in sync", seconds(60), three)?;
    // Read inside only: outside, the node port may be another one now.
    let read = inside.consume(&given.inside, TOPIC)?;
    let mut values: Vec<String> = read.into_iter().map(|record| record.value).collect();
    values.sort();
    ensure!(
        values == lines,
        "{} of {} records are there",
        values.len(),
        lines.len()
    );

    // Emptied under claims that know of a cluster: that one is lost, and the resource is told so.
    let volumes = (0..3)
        .map(|node_id| volume(env, node_id))
        .collect::<Result<Vec<_>>>()?;
    delete_cluster(env)?;
    let own = env.cluster.own().map_err(anyhow::Error::msg)?;
    for volume in volumes {
        own.node("n1")?
            .run("find", &[&volume.path, "-mindepth", "1", "-delete"])?;
    }
    env.kubectl.apply(&manifest(3))?;
    stays_lost(env, id.as_str().unwrap_or_default())
}

/// The resource goes, and its pods; the claims and the topic's resource stay.
fn delete_cluster(env: &Env<'_>) -> Result<()> {
    env.kubectl.delete("kafkacluster", CLUSTER)?;
    env.kubectl.wait_gone("kafkacluster", CLUSTER, seconds(30))?;
    wait::until("its pods are gone", seconds(60), || {
        let left = pod_uids(env)?;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(())
    })?;
    let claims = env.kubectl.list("pvc", "")?;
    ensure!(claims.len() == 3, "{} volume claims are left of 3", claims.len());
    Ok(())
}

/// The budget lets one broker go, and the next one only when that one is back.
fn evictions(env: &Env<'_>) -> Result<()> {
    let budget = env
        .kubectl
        .wait_until("poddisruptionbudget", "first-kafka", seconds(30), |budget| {
            let (expected, allowed) = (
                budget["status"]["expectedPods"].as_u64(),
                budget["status"]["disruptionsAllowed"].as_u64(),
            );
            ensure!(
                expected == Some(3) && allowed == Some(1),
                "its status is {}",
                budget["status"]
            );
            Ok(())
        })?;
    ensure!(
        budget["spec"]["maxUnavailable"] == 1,
        "its spec is {}",
        budget["spec"]
    );
    let evicted = env.kubectl.get("pod", &pod(1))?["metadata"]["uid"].clone();
    let (path, body) = eviction(env, 1);
    env.kubectl
        .run_with_input(&["create", "--raw", &path, "-f", "-"], &body)?;
    let (path, body) = eviction(env, 2);
    let words = env
        .kubectl
        .refusal(&["create", "--raw", &path, "-f", "-"], &body)?;
    ensure!(
        words.contains("disruption budget"),
        "the refusal does not speak of the disruption budget: {words}"
    );
    env.kubectl.wait_until("pod", &pod(1), seconds(60), |pod| {
        ensure!(
            pod["metadata"]["uid"] != evicted,
            "the evicted pod is still there"
        );
        Ok(())
    })?;
    env.kubectl.wait_ready(&pod(1), seconds(60)).map(drop)
}

fn eviction(env: &Env<'_>, node_id: usize) -> (String, String) {
    let name = pod(node_id);
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", env.namespace);
    (path, body.to_string())
}

/// A broker that stands still is not ready anywhere, and the others serve on; when it goes on, it is ready again.
fn readiness(env: &Env<'_>, produce: &dyn Fn() -> Result<()>) -> Result<()> {
    env.signal(&pod(2), "SIGSTOP")?;
    let seen = stands_still(env).and_then(|()| produce());
    env.signal(&pod(2), "SIGCONT")?;
    seen?;
    env.kubectl.wait_ready(&pod(2), seconds(60))?;
    settled(env)?;
    wait::until("the bootstrap address leads to all three", seconds(30), || {
        ensure!(endpoints(env)? == 3, "it leads to {}", endpoints(env)?);
        Ok(())
    })
}

fn stands_still(env: &Env<'_>) -> Result<()> {
    env.kubectl.wait_until("pod", &pod(2), seconds(40), |pod| {
        let ready = condition_of(pod, "Ready").context("no condition Ready")?;
        ensure!(ready["status"] == "False", "the pod is ready: {ready}");
        Ok(())
    })?;
    env.kubectl
        .wait_until("kafkacluster", CLUSTER, seconds(20), |cluster| {
            let ready = condition_of(cluster, "Ready").context("no condition Ready")?;
            let available = condition_of(cluster, "Available").context("no condition Available")?;
            ensure!(
                ready["status"] == "False"
                    && available["status"] == "True"
                    && cluster["status"]["readyReplicas"] == 2,
                "of two brokers that serve the status says {}",
                cluster["status"]
            );
            Ok(())
        })?;
    wait::until("the bootstrap address leads to two brokers", seconds(20), || {
        ensure!(endpoints(env)? == 2, "it leads to {}", endpoints(env)?);
        Ok(())
    })
}

/// How many brokers the bootstrap service sends to.
fn endpoints(env: &Env<'_>) -> Result<usize> {
    let slices = env.kubectl.list(
        "endpointslices",
        &format!("kubernetes.io/service-name={BOOTSTRAP}"),
    )?;
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    Ok(endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count())
}

fn pod_uids(env: &Env<'_>) -> Result<Vec<String>> {
    let pods = env.kubectl.list("pods", "millrace.dev/cluster=first")?;
    let uids = pods
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned));
    Ok(uids.collect())
}

/// The status and what every broker tells its clients.
fn same_cluster(env: &Env<'_>, given: &Given, id: &Value) -> Result<()> {
    let status = &env.kubectl.get("kafkacluster", CLUSTER)?["status"];
    ensure!(
        status["clusterId"] == *id,
        "the status says {}, it was {id}",
        status["clusterId"]
    );
    let (told, _) = given.identity(env)?;
    if *id != told {
        bail!("clients are told of cluster {told}, it was {id}");
    }
    Ok(())
}

fn settled(env: &Env<'_>) -> Result<()> {
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(90))
        .map(drop)
}
