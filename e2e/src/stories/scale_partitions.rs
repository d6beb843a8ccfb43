//! A topic on three brokers gets more partitions while a producer with acks=all writes to it and a group of two reads it:
//! the new ones are led by all brokers and read by the running members, every record is read, what is read is committed,
//! and no client is told of an error.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::Env;
use super::given::{Given, in_sync, partitions, topic};
use crate::load::{Group, Load, nothing_lost};
use crate::wait::{self, seconds};

const TOPIC: &str = "payments";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::brokers(env, 3, &topic(TOPIC, "partitions: 3, replicas: 3"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;
    let producer = Load::produce(&env.kubectl, &given.inside, TOPIC, "spread")?;
    let group = Group::of_two(&env.kubectl, &given.inside, TOPIC, "readers")?;
    producer.reaches(200)?;
    group.shares()?;
    let before = group.positions()?;

    env.kubectl
        .run(&["scale", &format!("kafkatopic/{TOPIC}"), "--replicas=6"])?;
    wait::until("six partitions, led by three brokers", seconds(30), || {
        let found = partitions(&kcat.metadata(&given.inside)?, TOPIC);
        let leaders: BTreeSet<Option<i64>> = found.iter().map(|one| one["leader"].as_i64()).collect();
        ensure!(
            found.len() == 6 && leaders == BTreeSet::from([Some(0), Some(1), Some(2)]),
            "there are {} partitions, led by {leaders:?}",
            found.len()
        );
        in_sync(&kcat, &given.inside, TOPIC, 3)
    })?;
    group.remembers(&before)?;
    producer.goes_on(600)?;
    group.goes_on(600)?;
    // The members that were there have them, and go on with what they had.
    wait::until("the group commits in every partition", seconds(30), || {
        let now = group.positions()?;
        let behind: Vec<&i32> = now
            .iter()
            .filter(|(partition, at)| {
                let before = before.get(partition).map_or(0, |before| before.committed);
                at.committed <= before.max(0)
            })
            .map(|(partition, _)| partition)
            .collect();
        ensure!(
            now.len() == 6 && behind.is_empty(),
            "not in {behind:?} of {now:?}"
        );
        Ok(())
    })?;
    group.shares()?;

    let acknowledged = producer.end()?;
    group.reaches(acknowledged.len())?;
    let written: BTreeSet<i32> = acknowledged.iter().map(|record| record.partition).collect();
    ensure!(written.len() == 6, "written to the partitions {written:?} only");
    nothing_lost(&acknowledged, &kcat.consume(&given.inside, TOPIC)?)?;
    nothing_lost(&acknowledged, &group.end()?)?;
    println!("{} records were acknowledged meanwhile", acknowledged.len());
    Ok(())
}
