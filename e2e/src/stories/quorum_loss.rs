//! Three brokers on three machines, of which two lose their power: the status says within a minute that the quorum is lost
//! and who is missing, the third broker is not ready, and nothing is acknowledged. With the power back everything is there.
//! Then one volume is deleted: its broker gets everything again, and its vote. Then all three are: that is another condition,
//! and no new cluster is formed over the loss. With a majority of the volumes restored it is the cluster that it was.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Env;
use super::given::{
    CLUSTER, Given, Volume, in_sync, lose_volumes, pod, stays_lost, three_vote, topic, volume, wait_reason,
};
use crate::kafka::Kcat;
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
    let mut lines = lines;
    all_there(&kcat, &given, &lines)?;
    let mut more = |line: &str| {
        lines.push(line.to_owned());
        kcat.produce(&given.inside, TOPIC, &[line.to_owned()])?;
        Ok::<_, anyhow::Error>(lines.clone())
    };
    more("after the power cut")?;

    let lost = Instant::now();
    lose_volumes(env, &[2])?;
    whole_again(env, &given, &kcat, &id).context("one volume was lost")?;
    println!(
        "one volume deleted to all in sync: {:.1} s",
        lost.elapsed().as_secs_f32()
    );
    let lines = more("after the loss of a volume")?;
    lose_all_and_restore_two(env, &given, &kcat, &id)?;
    all_there(&kcat, &given, &lines)?;
    kcat.produce(
        &given.inside,
        TOPIC,
        &["after the loss of all volumes".to_owned()],
    )
}

/// What was acknowledged, and nothing else but what was never answered.
fn all_there(kcat: &Kcat, given: &Given, lines: &[String]) -> Result<()> {
    let read = kcat.consume(&given.inside, TOPIC)?;
    let mut values: Vec<String> = read
        .into_iter()
        .map(|record| record.value)
        .filter(|value| value != UNANSWERED)
        .collect();
    values.sort();
    let mut wanted = lines.to_vec();
    wanted.sort();
    ensure!(
        values == wanted,
        "{} records are there, {} were acknowledged",
        values.len(),
        wanted.len()
    );
    Ok(())
}

/// Ready, the same cluster, three voters, and every record three times.
fn whole_again(env: &Env<'_>, given: &Given, kcat: &Kcat, id: &str) -> Result<()> {
    three_vote(env)?;
    wait::until("three replicas in sync", seconds(60), || {
        in_sync(kcat, &given.inside, TOPIC, 3)
    })?;
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(120))?;
    ensure!(given.identity(env)?.0 == id, "it is another cluster");
    Ok(())
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
    let kcat = env.kcat_inside()?;
    let known = wait::until("the third broker answers", seconds(20), || {
        kcat.partitions(&alone, TOPIC)
    })?;
    ensure!(known == 3, "alone it knows of {known} partitions of {TOPIC}");
    let refused = kcat.produce_within(&alone, TOPIC, &[UNANSWERED.to_owned()], 5);
    ensure!(
        refused.is_err(),
        "a record was acknowledged by one broker of three"
    );
    Ok(())
}

/// All claims and pods at once: three brokers start with nothing, and are told that their cluster was formed before. One
/// restored volume is no majority; two are, and the third broker gets its part from them.
fn lose_all_and_restore_two(env: &Env<'_>, given: &Given, kcat: &Kcat, id: &str) -> Result<()> {
    let kept = (0..3)
        .map(|node_id| volume(env, node_id))
        .collect::<Result<Vec<_>>>()?;
    for volume in &kept {
        reclaim(env, volume, "Retain")?;
    }
    let lost = Instant::now();
    lose_volumes(env, &[0, 1, 2])?;
    wait_reason(env, "MetadataLost", 120)?;
    println!(
        "volumes deleted to MetadataLost: {:.1} s",
        lost.elapsed().as_secs_f32()
    );
    stays_lost(env, id)?;

    restore(env, 0, &kept[0])?;
    let cluster = wait_reason(env, "QuorumLost", 60)?;
    ensure!(
        cluster["status"]["clusterId"] == *id,
        "the status names cluster {}, it was {id}",
        cluster["status"]["clusterId"]
    );
    let restored = Instant::now();
    restore(env, 1, &kept[1])?;
    whole_again(env, given, kcat, id).context("two of three volumes were restored")?;
    println!(
        "volumes restored to all in sync: {:.1} s",
        restored.elapsed().as_secs_f32()
    );
    for volume in &kept {
        reclaim(env, volume, "Delete")?;
    }
    Ok(())
}

/// What becomes of a volume without a claim.
fn reclaim(env: &Env<'_>, volume: &Volume, policy: &str) -> Result<()> {
    let policy = json!({"spec": {"persistentVolumeReclaimPolicy": policy}});
    env.kubectl.patch("pv", &volume.name, &policy).map(drop)
}

/// The broker's present volume gets what the kept one holds, and the broker is started over it.
fn restore(env: &Env<'_>, node_id: usize, kept: &Volume) -> Result<()> {
    let own = env.cluster.own().map_err(anyhow::Error::msg)?;
    let (node, present) = (own.node("n1")?, volume(env, node_id)?);
    // It writes nothing meanwhile, and does not go on from what it had in memory.
    env.signal(&pod(node_id), "SIGSTOP")?;
    node.run("find", &[&present.path, "-mindepth", "1", "-delete"])?;
    node.run("cp", &["-a", &format!("{}/.", kept.path), &present.path])?;
    env.signal(&pod(node_id), "SIGKILL")
}
