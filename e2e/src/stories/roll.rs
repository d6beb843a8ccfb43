//! An edit that restarts every broker of three, under a load with acks=all and a consumer group: one broker is away at a
//! time, the quorum's leader goes last, and neither the producer nor the consumer is told of an error.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::Env;
use super::given::{CLUSTER, Given, pod, topic};
use crate::kubectl::{Kubectl, condition_of};
use crate::load::{Load, nothing_lost};
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "rolled")?;
    let consumer = Load::consume(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    consumer.reaches(200)?;
    let (id, leader) = given.identity(env)?;

    let done = AtomicBool::new(false);
    let (kubectl, until) = (env.kubectl.clone(), &done);
    let order = std::thread::scope(|threads| {
        let watcher = threads.spawn(move || watch(&kubectl, until));
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
    let acknowledged = producer.end()?;
    consumer.reaches(acknowledged.len())?;
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)?;
    nothing_lost(&acknowledged, &consumer.end()?)?;
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

/// Looks at the pods until the end: at most one is missing, on its way or not ready. Gives the pods in the order in which
/// they were seen to go.
fn watch(kubectl: &Kubectl, done: &AtomicBool) -> Result<Vec<String>> {
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
            order.push(away.clone());
        }
    }
    Ok(order)
}

fn serves(pod: &Value, name: &str) -> bool {
    let ready = condition_of(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
    pod["metadata"]["name"] == *name && pod["metadata"]["deletionTimestamp"].is_null() && ready
}
