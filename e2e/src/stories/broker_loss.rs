//! Three brokers under a load with acks=all and a consumer group that commits. The leader of a partition is killed, then the
//! next one is killed and its pod deleted: another broker leads, nothing that was acknowledged is lost, neither a record
//! nor a committed offset, the group reads everything, and no client is told of an error.

use anyhow::{Context, Result, ensure};

use super::Env;
use super::given::{CLUSTER, Given, in_sync, partitions, pod, topic};
use crate::kafka::Kcat;
use crate::load::{Group, Load, nothing_lost};
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "kept")?;
    let group = Group::of_two(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    group.reaches(200)?;
    group.shares()?;

    for delete in [false, true] {
        let leader = leader(&kcat, &given, 0)?;
        let before = env.kubectl.get("pod", &pod(leader))?["metadata"]["uid"].clone();
        let positions = group.positions()?;
        env.signal(&pod(leader), "SIGKILL")?;
        if delete {
            env.kubectl.delete("pod", &pod(leader))?;
        }
        wait::until("another broker leads", seconds(30), || {
            let now = self::leader(&kcat, &given, 0)?;
            ensure!(now != leader, "broker {leader} still leads");
            Ok(())
        })?;
        group.remembers(&positions)?;
        producer.goes_on(100)?;
        group.goes_on(100)?;
        wait::until("the broker is back and in sync", seconds(90), || {
            let found = &env.kubectl.get("pod", &pod(leader))?["metadata"]["uid"];
            ensure!(
                (*found != before) == delete,
                "the pod was {before} and is {found}"
            );
            in_sync(&kcat, &given.inside, TOPIC, 3)
        })?;
        env.kubectl
            .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(60))?;
        group.remembers(&positions)?;
    }

    let acknowledged = producer.end()?;
    group.reaches(acknowledged.len())?;
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)?;
    nothing_lost(&acknowledged, &group.end()?)?;
    println!("{} records were acknowledged meanwhile", acknowledged.len());
    Ok(())
}

/// The node id of the partition's leader.
fn leader(kcat: &Kcat, given: &Given, partition: i32) -> Result<usize> {
    let metadata = kcat.metadata(&given.inside)?;
    let leader = partitions(&metadata, TOPIC)
        .iter()
        .find(|found| found["partition"] == partition)
        .and_then(|found| found["leader"].as_i64())
        .context("the partition is not known")?;
    usize::try_from(leader).with_context(|| format!("the partition's leader is {leader}"))
}
