//! The main job: one file with a cluster and a topic is applied; clients in the cluster use it by DNS, clients outside
//! of it by the node port, and both see the same records.

use anyhow::{Result, ensure};

use super::Env;
use super::given::{Given, topic};

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::cluster(env, &topic("orders", "partitions: 3"))?;
    Given::topic_ready(env, "orders")?;
    let inside = env.kcat_inside()?;
    let outside = env.cluster.kcat_outside();

    for (kcat, bootstrap) in [(&inside, &given.inside), (&outside, &given.outside)] {
        ensure!(
            kcat.partitions(bootstrap, "orders")? == 3,
            "kcat -L -b {bootstrap} does not show 3 partitions"
        );
    }

    let from_inside: Vec<String> = (0..300).map(|n| format!("inside {n}")).collect();
    inside.produce(&given.inside, "orders", &from_inside)?;
    let from_outside: Vec<String> = (0..300).map(|n| format!("outside {n}")).collect();
    outside.produce(&given.outside, "orders", &from_outside)?;

    let read_inside = inside.consume(&given.inside, "orders")?;
    let read_outside = outside.consume(&given.outside, "orders")?;
    ensure!(
        read_inside == read_outside,
        "inside and outside read different records"
    );
    let mut values: Vec<&str> = read_inside.iter().map(|record| record.value.as_str()).collect();
    let mut produced: Vec<&str> = from_inside
        .iter()
        .chain(&from_outside)
        .map(String::as_str)
        .collect();
    values.sort_unstable();
    produced.sort_unstable();
    ensure!(
        values == produced,
        "{} records were read, {} produced",
        values.len(),
        produced.len()
    );

    // One group, half of it inside and half of it outside: the second member goes on where the first one committed.
    let first = inside.consume_in_group(&given.inside, "readers", "orders", 250)?;
    let second = outside.consume_in_group(&given.outside, "readers", "orders", 350)?;
    let mut together: Vec<_> = first.into_iter().chain(second).collect();
    together.sort();
    ensure!(
        together == read_inside,
        "the group did not read every record exactly once"
    );
    Ok(())
}
