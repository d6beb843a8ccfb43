//! Leaderships go back to the preferred replicas by themselves, where that is wanted.

use std::time::Duration;

use broker::rt;

use crate::losses::replicas_of;
use crate::machine::Machine;
use crate::replicating::{PARTITIONS, in_sync, produce, start_and_create, state_of, until};
use crate::seeds::with_seeds;

async fn three(balanced: bool) -> Vec<Machine> {
    let machines: Vec<Machine> = Machine::several(3, 1)
        .into_iter()
        .map(|machine| {
            machine
                .with_three_replicas()
                .with("auto.leader.rebalance.enable", &balanced.to_string())
                .with("leader.imbalance.check.interval.seconds", "1")
        })
        .collect();
    start_and_create(&machines).await;
    in_sync(&machines, 3).await;
    machines
}

/// Partitions that a broker should lead, and those that it leads, as another one knows them.
async fn leaderships(through: &Machine, node: i32) -> (Vec<i32>, Vec<i32>) {
    let (mut preferred, mut led) = (Vec::new(), Vec::new());
    for partition in 0..PARTITIONS {
        let (leader, replicas) = replicas_of(through, partition).await.expect("a partition");
        if replicas[0] == node {
            preferred.push(partition);
        }
        if leader == node {
            led.push(partition);
        }
    }
    (preferred, led)
}

/// A broker goes, others lead its partitions, it comes back and is in sync again: (the others, its node).
async fn lose_and_return(machines: &[Machine], seed: u64) -> (&Machine, i32) {
    let lost = &machines[(seed % 3) as usize];
    let other = &machines[((seed + 1) % 3) as usize];
    let node = i32::from(lost.host());
    match (seed / 3) % 2 {
        0 => lost.kill(),
        _ => lost.stop().await,
    }
    until("others lead", async || {
        let (_, led) = leaderships(other, node).await;
        led.is_empty().then_some(())
    })
    .await;
    for partition in 0..PARTITIONS {
        produce(machines, partition, "meanwhile").await;
    }
    lost.start().await;
    (other, node)
}

#[test]
fn a_broker_that_returns_leads_its_partitions_again() {
    with_seeds(6, |seed| async move {
        let machines = three(true).await;
        let (other, node) = lose_and_return(&machines, seed).await;
        until("it leads again what it should", async || {
            let (preferred, led) = leaderships(other, node).await;
            assert!(!preferred.is_empty(), "each of three is first of some of five");
            (preferred == led).then_some(())
        })
        .await;
        for partition in 0..PARTITIONS {
            let (_, isr) = state_of(other, partition).await.expect("a partition");
            assert_eq!(isr.len(), 3, "only who is in sync is given the lead");
            produce(&machines, partition, "after").await;
        }
    });
}

#[test]
fn leaderships_stay_where_they_are_where_that_is_not_wanted() {
    with_seeds(2, |seed| async move {
        let machines = three(false).await;
        let (other, node) = lose_and_return(&machines, seed).await;
        in_sync(&machines, 3).await;
        rt::sleep(Duration::from_secs(20)).await;
        let (_, led) = leaderships(other, node).await;
        assert!(led.is_empty(), "{led:?} went back");
    });
}
