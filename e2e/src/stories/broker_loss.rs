//! Three brokers under a load with acks=all and a consumer group. The leader of a partition is killed, then the next one is
//! killed and its pod deleted, then the topic gets more partitions: another broker leads, nothing that was acknowledged is
//! lost, the group reads everything, the new partitions too, and no client is told of an error.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Env;
use super::given::{CLUSTER, Given, pod, topic};
use crate::kafka::Kcat;
use crate::load::{Load, nothing_lost};
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "kept")?;
    let consumer = Load::consume(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    consumer.reaches(200)?;

    for delete in [false, true] {
        let leader = leader(&kcat, &given, 0)?;
        let before = env.kubectl.get("pod", &pod(leader))?["metadata"]["uid"].clone();
        env.signal(&pod(leader), "SIGKILL")?;
        if delete {
            env.kubectl.delete("pod", &pod(leader))?;
        }
        wait::until("another broker leads", seconds(30), || {
            let now = self::leader(&kcat, &given, 0)?;
            ensure!(now != leader, "broker {leader} still leads");
            Ok(())
        })?;
        producer.goes_on(100)?;
        consumer.goes_on(100)?;
        wait::until("the broker is back and in sync", seconds(90), || {
            let found = &env.kubectl.get("pod", &pod(leader))?["metadata"]["uid"];
            ensure!(
                (*found != before) == delete,
                "the pod was {before} and is {found}"
            );
            for partition in partitions(&kcat.metadata(&given.inside)?) {
                let found = partition["isrs"].as_array().map_or(0, Vec::len);
                ensure!(found == 3, "in sync: {partition}");
            }
            Ok(())
        })?;
        env.kubectl
            .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(60))?;
    }

    env.kubectl
        .run(&["scale", &format!("kafkatopic/{TOPIC}"), "--replicas=6"])?;
    wait::until("clients see six partitions", seconds(30), || {
        let found = kcat.partitions(&given.inside, TOPIC)?;
        ensure!(found == 6, "they see {found}");
        Ok(())
    })?;
    producer.goes_on(600)?;

    let acknowledged = producer.end()?;
    consumer.reaches(acknowledged.len())?;
    let written: BTreeSet<i32> = acknowledged.iter().map(|record| record.partition).collect();
    ensure!(written.len() == 6, "written to the partitions {written:?} only");
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)?;
    nothing_lost(&acknowledged, &consumer.end()?)?;
    println!("{} records were acknowledged meanwhile", acknowledged.len());
    Ok(())
}

fn partitions(metadata: &Value) -> Vec<Value> {
    let topics = metadata["topics"].as_array().into_iter().flatten();
    topics
        .filter(|found| found["topic"] == TOPIC)
        .flat_map(|found| found["partitions"].as_array().cloned().unwrap_or_default())
        .collect()
}

/// The node id of the partition's leader.
fn leader(kcat: &Kcat, given: &Given, partition: i32) -> Result<usize> {
    let metadata = kcat.metadata(&given.inside)?;
    let leader = partitions(&metadata)
        .iter()
        .find(|found| found["partition"] == partition)
        .and_then(|found| found["leader"].as_i64())
        .context("the partition is not known")?;
    usize::try_from(leader).with_context(|| format!("the partition's leader is {leader}"))
}
