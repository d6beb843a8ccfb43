//! One broker becomes three while clients write and read: the new ones join the cluster that is there and get their votes,
//! no client is told of an error, and from then on the loss of the first broker is survived.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Env;
use super::given::{CLUSTER, Given, pod, three_vote, topic};
use crate::kubectl::condition_of;
use crate::load::{Group, Load, nothing_lost};
use crate::wait::seconds;

const TOPIC: &str = "orders";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::cluster(env, &topic(TOPIC, "partitions: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let (id, _) = given.identity(env)?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "grown")?;
    let group = Group::of_two(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    group.shares()?;

    env.kubectl
        .patch("kafkacluster", CLUSTER, &json!({"spec": {"replicas": 3}}))?;
    let alarmed = RefCell::new(None);
    env.kubectl
        .wait_until("kafkacluster", CLUSTER, seconds(180), |cluster| {
            let available = condition_of(cluster, "Available").context("no condition Available")?;
            if available["reason"] == "QuorumLost" || available["reason"] == "MetadataLost" {
                *alarmed.borrow_mut() = Some(available.clone());
            }
            ensure!(
                cluster["metadata"]["generation"] == cluster["status"]["observedGeneration"],
                "the operator has not seen it yet"
            );
            for (condition, status) in [("Ready", "True"), ("Reconciling", "False")] {
                let found = condition_of(cluster, condition).context("a condition is missing")?;
                ensure!(found["status"] == status, "{found}");
            }
            ensure!(
                cluster["status"]["readyReplicas"] == 3,
                "the status is {}",
                cluster["status"]
            );
            Ok(())
        })?;
    // A broker that does not vote yet is not a lost one.
    let alarmed = alarmed.into_inner();
    ensure!(alarmed.is_none(), "while it grew the status said {alarmed:?}");
    three_vote(env)?;
    producer.goes_on(200)?;
    let acknowledged = producer.end()?;
    group.reaches(acknowledged.len())?;
    nothing_lost(&acknowledged, &group.end()?)?;
    ensure!(given.identity(env)?.0 == id, "it is another cluster");

    // New topics have a copy on each, and the first broker is no longer the only one that decides.
    env.kubectl
        .apply(&topic("payments", "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, "payments")?;
    let before = env.kubectl.get("pod", &pod(0))?["metadata"]["uid"].clone();
    env.signal(&pod(0), "SIGKILL")?;
    env.kubectl.delete("pod", &pod(0))?;
    let lines: Vec<String> = (0..100).map(|n| format!("without the first {n}")).collect();
    kcat.produce(&given.inside, "payments", &lines)?;
    env.kubectl.wait_until("pod", &pod(0), seconds(60), |pod| {
        ensure!(pod["metadata"]["uid"] != before, "the pod is not replaced yet");
        Ok(())
    })?;
    env.kubectl.wait_ready(&pod(0), seconds(60))?;
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(60))?;
    ensure!(given.identity(env)?.0 == id, "it is another cluster");
    ensure!(
        kcat.consume(&given.inside, "payments")?.len() == lines.len(),
        "not all of what was acknowledged without the first broker is there"
    );
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)
}
