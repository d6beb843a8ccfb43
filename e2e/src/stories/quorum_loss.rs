//! Three brokers on three machines, of which two lose their power: the status says within a minute that the quorum is lost
//! and who is missing, the third broker is not ready, and nothing is acknowledged. With the power back everything is there.
//! Then all three volumes are deleted: that is another condition, and no new cluster is formed over the loss.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Env;
use super::given::{CLUSTER, Given, pod, topic};
use crate::kubectl::condition_of;
use crate::operator;
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";
/// Sent to one broker of three: never acknowledged, so it may be there afterwards or not.
const UNANSWERED: &str = "unanswered";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let own = env.cluster.own().map_err(anyhow::Error::msg)?;
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let homes = homes(env)?;
    // Who tells us of the loss must not be lost itself.
    let operators = operator::pods(env.cluster)?;
    let keeper = operators
        .first()
        .and_then(|pod| pod["spec"]["nodeName"].as_str())
        .context("the operator is on no node")?;
    let kcat = env.kcat_on(&format!("{{kubernetes.io/hostname: {keeper}}}"))?;
    let lines: Vec<String> = (0..300).map(|n| format!("kept {n}")).collect();
    kcat.produce(&given.inside, TOPIC, &lines)?;
    let (id, _) = given.identity(env)?;

    let lost: Vec<&String> = homes.iter().filter(|home| *home != keeper).collect();
    for node in &lost {
        own.power_off(node)?;
    }
    let seen = lose_the_quorum(env, &homes, keeper);
    for node in &lost {
        own.power_on(node)?;
    }
    seen?;
    let powered = Instant::now();
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(120))
        .context("healed")?;
    println!("power on to Ready: {:.1} s", powered.elapsed().as_secs_f32());
    ensure!(given.identity(env)?.0 == id, "it is another cluster");
    let mut values: Vec<String> = kcat
        .consume(&given.inside, TOPIC)?
        .into_iter()
        .map(|record| record.value)
        .filter(|value| value != UNANSWERED)
        .collect();
    values.sort();
    let mut wanted = lines;
    wanted.sort();
    ensure!(
        values == wanted,
        "{} records are there, {} were acknowledged",
        values.len(),
        wanted.len()
    );
    kcat.produce(&given.inside, TOPIC, &["after the power cut".to_owned()])?;
    lose_the_volumes(env)
}

/// The node of each broker, by node id: a different one each.
fn homes(env: &Env<'_>) -> Result<Vec<String>> {
    let homes = (0..3)
        .map(|node_id| {
            let pod = env.kubectl.get("pod", &pod(node_id))?;
            let home = pod["spec"]["nodeName"].as_str();
            home.map(str::to_owned).context("a broker is on no node")
        })
        .collect::<Result<Vec<_>>>()?;
    let mut different = homes.clone();
    different.sort();
    different.dedup();
    ensure!(
        different.len() == 3,
        "the brokers are not spread over the nodes: {homes:?}"
    );
    Ok(homes)
}

fn lose_the_quorum(env: &Env<'_>, homes: &[String], keeper: &str) -> Result<()> {
    let cut = Instant::now();
    let cluster = wait_reason(env, "QuorumLost", 60)?;
    println!("power off to QuorumLost: {:.1} s", cut.elapsed().as_secs_f32());
    let message = condition_of(&cluster, "Available")
        .and_then(|found| found["message"].as_str())
        .unwrap_or_default();
    let missing: Vec<String> = (0..3)
        .filter(|node_id| homes[*node_id] != keeper)
        .map(|node_id| node_id.to_string())
        .collect();
    ensure!(
        message.contains(&missing.join(", ")),
        "the condition does not name the brokers {missing:?}: {message}"
    );
    let third = homes
        .iter()
        .position(|home| home == keeper)
        .context("no broker is on the node of the operator")?;
    env.kubectl.wait_until("pod", &pod(third), seconds(60), |pod| {
        let ready = condition_of(pod, "Ready").context("no condition Ready")?;
        ensure!(ready["status"] == "False", "the third broker is ready: {ready}");
        Ok(())
    })?;
    // It answers for itself, and acknowledges nothing that others do not have.
    let alone = format!("{}.first-kafka-brokers:9092", pod(third));
    let refused = env
        .kcat_inside()?
        .produce_within(&alone, TOPIC, &[UNANSWERED.to_owned()], 5);
    ensure!(
        refused.is_err(),
        "a record was acknowledged by one broker of three"
    );
    Ok(())
}

/// All claims and pods at once: three brokers start with nothing, and are told that their cluster was formed before.
fn lose_the_volumes(env: &Env<'_>) -> Result<()> {
    let id = env.kubectl.get("kafkacluster", CLUSTER)?["status"]["clusterId"].clone();
    for node_id in 0..3 {
        env.kubectl.delete("pvc", &format!("data-{}", pod(node_id)))?;
    }
    let pods: Vec<String> = (0..3).map(pod).collect();
    let mut arguments = vec!["delete", "pod", "--wait=false", "--grace-period=1"];
    arguments.extend(pods.iter().map(String::as_str));
    env.kubectl.run(&arguments)?;
    let lost = Instant::now();
    wait_reason(env, "MetadataLost", 120)?;
    println!(
        "volumes deleted to MetadataLost: {:.1} s",
        lost.elapsed().as_secs_f32()
    );
    wait::stays("no new cluster is formed", seconds(10), || {
        let cluster = env.kubectl.get("kafkacluster", CLUSTER)?;
        let available = condition_of(&cluster, "Available").context("no condition Available")?;
        ensure!(
            available["reason"] == "MetadataLost" && cluster["status"]["clusterId"] == id,
            "the status says {}",
            cluster["status"]
        );
        Ok(())
    })
}

/// Waits until neither Ready nor Available is true, for this reason.
fn wait_reason(env: &Env<'_>, reason: &str, within: u64) -> Result<Value> {
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
