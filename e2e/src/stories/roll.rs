//! An edit that restarts every broker of three, under a load with acks=all and a consumer group: one broker is away at a
//! time, and goes when the one before is back in every ISR; the quorum's leader goes last; neither the producer nor the
//! consumers are told of an error, and no committed offset is forgotten.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Env;
use super::given::{CLUSTER, Given, pod, topic};
use crate::kafka::Kcat;
use crate::kubectl::{Kubectl, condition_of};
use crate::load::{Group, Load, nothing_lost};
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "rolled")?;
    let group = Group::of_two(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    group.reaches(200)?;
    group.shares()?;
    let positions = group.positions()?;
    let (id, leader) = given.identity(env)?;

    let done = AtomicBool::new(false);
    let order = std::thread::scope(|threads| {
        let watcher = {
            let (kubectl, kcat, inside, done) = (env.kubectl.clone(), kcat.clone(), &given.inside, &done);
            threads.spawn(move || watch(&kubectl, &kcat, inside, done))
        };
        let rolled = roll(env);
        done.store(true, Ordering::Release);
        let watched = watcher.join();
        rolled?;
        watched.unwrap_or_else(|_| bail!("the watcher of the pods panicked"))
    })?;
    ensure!(
        order.len() == 3 && order.last() == Some(&pod(leader)),
        "the brokers went in the order {order:?}, and broker {leader} led the quorum"
    );

    // Also with the new processes.
    producer.goes_on(200)?;
    ensure!(given.identity(env)?.0 == id, "it is another cluster");
    group.remembers(&positions)?;
    let acknowledged = producer.end()?;
    group.reaches(acknowledged.len())?;
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)?;
    nothing_lost(&acknowledged, &group.end()?)?;
    println!("{} records were acknowledged during the roll", acknowledged.len());
    Ok(())
}

/// The edit, and its end: every pod is new, the cluster is settled.
fn roll(env: &Env<'_>) -> Result<()> {
    let limits = json!({"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}});
    env.kubectl
        .patch("kafkacluster", CLUSTER, &json!({"spec": {"resources": limits}}))?;
    wait::until("all brokers are restarted", seconds(180), || {
        for node_id in 0..3 {
            let pod = env.kubectl.get("pod", &pod(node_id))?;
            let found = &pod["spec"]["containers"][0]["resources"]["limits"]["memory"];
            ensure!(
                found == "512Mi",
                "the memory limit of broker {node_id} is {found}"
            );
        }
        let cluster = env.kubectl.get("kafkacluster", CLUSTER)?;
        for (condition, status) in [("Ready", "True"), ("Reconciling", "False")] {
            let found = condition_of(&cluster, condition).context("a condition is missing")?;
            ensure!(found["status"] == status, "{found}");
        }
        Ok(())
    })
}

/// Looks at the pods until the end: at most one is missing, on its way or not ready, and when another one goes, no replica
/// but its own is out of sync. Gives the pods in the order in which they were seen to go.
fn watch(kubectl: &Kubectl, kcat: &Kcat, bootstrap: &str, done: &AtomicBool) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    while !done.load(Ordering::Acquire) {
        let pods = kubectl.list("pods", "millrace.dev/cluster=first")?;
        let away: Vec<String> = (0..3)
            .map(pod)
            .filter(|name| !pods.iter().any(|pod| serves(pod, name)))
            .collect();
        if away.len() > 1 {
            bail!("{} are away at the same time", away.join(" and "));
        }
        if let [away] = &away[..]
            && order.last() != Some(away)
        {
            // The bootstrap address may lead to the one that goes.
            let metadata = wait::until("who is in sync", seconds(10), || kcat.metadata(bootstrap))?;
            others_in_sync(&metadata, away)?;
            order.push(away.clone());
        }
    }
    Ok(order)
}

fn serves(pod: &Value, name: &str) -> bool {
    let ready = condition_of(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
    pod["metadata"]["name"] == *name && pod["metadata"]["deletionTimestamp"].is_null() && ready
}

/// Of every partition of every topic, the offsets of groups too.
fn others_in_sync(metadata: &Value, away: &str) -> Result<()> {
    let ids = |list: &Value| -> BTreeSet<u64> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|replica| replica["id"].as_u64()).collect()
    };
    let topics = metadata["topics"].as_array().context("no topics")?;
    for found in topics {
        for partition in found["partitions"].as_array().into_iter().flatten() {
            let (replicas, in_sync) = (ids(&partition["replicas"]), ids(&partition["isrs"]));
            ensure!(!replicas.is_empty(), "no replicas in {partition}");
            let lacks = replicas.difference(&in_sync);
            let lacks: Vec<&u64> = lacks.filter(|id| !away.ends_with(&format!("-{id}"))).collect();
            ensure!(
                lacks.is_empty(),
                "{away} goes while {lacks:?} are not in sync: {} {partition}",
                found["topic"]
            );
        }
    }
    Ok(())
}
