//! Followers fetch from leaders: records are on every in-sync replica before they are acknowledged, at once and whatever
//! the brokers' numbers of cores, and connections that are cut are found and made anew.

use std::time::Duration;

use broker::rt;
use protocol::ErrorCode;

use crate::client::{Client, batch_of, metadata_request};
use crate::cluster::start_all;
use crate::machine::Machine;
use crate::seeds::{twice, with_seeds};

pub(crate) const TOPIC: &str = "replicated";
pub(crate) const PARTITIONS: i32 = 5;

/// Tries again until it is told; virtual time is free.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(done) = attempt().await {
            return done;
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within a minute");
}

pub(crate) async fn start_with_topic(shards: &[u16]) -> Vec<Machine> {
    let machines: Vec<Machine> = Machine::cluster(shards)
        .into_iter()
        .map(Machine::with_three_replicas)
        .collect();
    start_and_create(&machines).await;
    machines
}

/// Starts the brokers and makes the topic, with as many replicas as they give it.
pub(crate) async fn start_and_create(machines: &[Machine]) {
    start_all(machines).await;
    until("create the topic", async || {
        let created = machines[0].client().await.create_topic(TOPIC, PARTITIONS).await;
        matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)).then_some(())
    })
    .await;
}

/// The three brokers that are given run with one more property, and are in sync again.
pub(crate) async fn restart_with(machines: Vec<Machine>, property: &str, value: &str) -> Vec<Machine> {
    let machines: Vec<Machine> = machines
        .into_iter()
        .map(|machine| machine.with(property, value))
        .collect();
    for machine in &machines {
        machine.stop().await;
    }
    start_all(&machines).await;
    in_sync(&machines, 3).await;
    machines
}

/// Leader and in-sync replicas of a partition, as `machine` knows them.
pub(crate) async fn state_of(machine: &Machine, partition: i32) -> Option<(i32, Vec<i32>)> {
    let mut client = Client::connect(machine.address()).await.ok()?;
    let answer = client.call(12, &metadata_request(TOPIC)).await.ok()?;
    let found = answer.topics[0]
        .partitions
        .iter()
        .find(|found| found.partition_index == partition)?;
    Some((found.leader_id, found.isr_nodes.clone()))
}

pub(crate) fn leader_among(machines: &[Machine], id: i32) -> Option<&Machine> {
    machines
        .get(usize::try_from(id - 1).ok()?)
        .filter(|machine| machine.is_running())
}

pub(crate) fn any_running(machines: &[Machine]) -> &Machine {
    machines
        .iter()
        .find(|machine| machine.is_running())
        .expect("one runs")
}

/// Produces until it is acknowledged by all in-sync replicas; its offset.
pub(crate) async fn produce(machines: &[Machine], partition: i32, value: &str) -> i64 {
    until("produce", async || {
        let (leader, _) = state_of(any_running(machines), partition).await?;
        let mut client = Client::connect(leader_among(machines, leader)?.address())
            .await
            .ok()?;
        let batch = batch_of(&[value.to_string()], None);
        client.produce(TOPIC, partition, batch).await.ok()?.ok()
    })
    .await
}

pub(crate) async fn in_sync(machines: &[Machine], many: usize) {
    for partition in 0..PARTITIONS {
        until("everybody in sync", async || {
            let (_, isr) = state_of(any_running(machines), partition).await?;
            (isr.len() == many).then_some(())
        })
        .await;
    }
}

pub(crate) async fn read(machines: &[Machine], partition: i32) -> Vec<String> {
    until("read", async || {
        let (leader, _) = state_of(any_running(machines), partition).await?;
        let mut client = Client::connect(leader_among(machines, leader)?.address())
            .await
            .ok()?;
        let all = client.read_all(TOPIC, partition, 0).await.ok()?;
        Some(all.into_iter().map(|(_, value)| value).collect())
    })
    .await
}

async fn everything_is_on_the_others(_: u64) {
    let machines = start_with_topic(&[1, 2, 3]).await;
    in_sync(&machines, 3).await;
    for partition in 0..PARTITIONS {
        for number in 0..10 {
            produce(&machines, partition, &format!("{partition}-{number}")).await;
        }
    }
    machines[0].kill();
    for partition in 0..PARTITIONS {
        produce(&machines, partition, "after").await;
        let mut found = read(&machines, partition).await;
        found.dedup();
        let expected: Vec<String> = (0..10)
            .map(|number| format!("{partition}-{number}"))
            .chain(["after".to_string()])
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_was_acknowledged_is_on_brokers_with_other_numbers_of_cores() {
    with_seeds(3, everything_is_on_the_others);
}

#[test]
fn a_seed_decides_replication_too() {
    twice(1, everything_is_on_the_others);
}

#[test]
fn a_record_is_acknowledged_when_the_followers_have_synced_it_and_waits_for_nothing_else() {
    with_seeds(3, |_| async move {
        let machines = start_with_topic(&[2, 2, 2]).await;
        in_sync(&machines, 3).await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("a leader");
        let leader = leader_among(&machines, leader).expect("it runs");
        let mut client = leader.client().await;
        for number in 0..20 {
            // Nothing is on its way meanwhile: every record comes to sessions that rest.
            rt::sleep(Duration::from_millis(700)).await;
            let began = rt::now();
            let batch = batch_of(&[format!("{number}")], None);
            client
                .produce(TOPIC, 0, batch)
                .await
                .expect("an answer")
                .expect("acknowledged");
            // Virtual time. There and back to the leader and to its followers, and the syncs of three disks; a fetch that
            // waits, or a poll, would be ten times as much.
            assert!(
                began.elapsed() < Duration::from_millis(40),
                "{:?}",
                began.elapsed()
            );
        }
    });
}

#[test]
fn a_follower_that_was_cut_off_comes_back_into_the_set() {
    with_seeds(3, |seed| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        let follower = machines[2].process();
        for other in [&machines[0], &machines[1]] {
            follower.cut(&other.process());
            other.process().cut(&follower);
        }
        for partition in 0..PARTITIONS {
            produce(&machines[..2], partition, "without").await;
        }
        for other in [&machines[0], &machines[1]] {
            follower.heal(&other.process());
            other.process().heal(&follower);
        }
        in_sync(&machines, 3).await;
        for partition in 0..PARTITIONS {
            let offset = produce(&machines, partition, "with").await;
            assert!(offset >= 1, "seed {seed}");
        }
    });
}

#[test]
fn a_broker_that_comes_back_with_another_number_of_cores_is_followed_and_follows() {
    with_seeds(3, |_| async move {
        let mut machines = start_with_topic(&[2, 2, 2]).await;
        in_sync(&machines, 3).await;
        for turn in 0..3 {
            for partition in 0..PARTITIONS {
                produce(&machines, partition, &format!("{turn}")).await;
            }
            machines[turn].stop().await;
            machines[turn].set_shards(if turn == 1 { 1 } else { 3 });
            machines[turn].start().await;
            in_sync(&machines, 3).await;
        }
        for partition in 0..PARTITIONS {
            assert_eq!(read(&machines, partition).await, ["0", "1", "2"]);
        }
    });
}

#[test]
fn a_follower_far_behind_catches_up_from_files() {
    with_seeds(2, |seed| async move {
        let machines = start_with_topic(&[1, 2, 1]).await;
        // The tail cache holds a sixteenth of that.
        let machines = restart_with(machines, "memory.limit.bytes", "16777216").await;
        machines[2].power_off(seed);
        let large = "x".repeat(400_000);
        for number in 0..24 {
            produce(&machines, number % PARTITIONS, &format!("{number}-{large}")).await;
        }
        machines[2].start().await;
        in_sync(&machines, 3).await;
        machines[0].kill();
        for partition in 0..PARTITIONS {
            let found = read(&machines, partition).await;
            let numbers: Vec<&str> = found.iter().filter_map(|value| value.split('-').next()).collect();
            let mut expected: Vec<String> = (0..24)
                .filter(|number| number % PARTITIONS == partition)
                .map(|number| number.to_string())
                .collect();
            expected.dedup();
            assert_eq!(numbers, expected, "seed {seed}");
        }
    });
}

#[test]
fn a_follower_whose_disk_stalls_is_left_behind_and_comes_back() {
    with_seeds(2, |seed| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        let machines = restart_with(machines, "replica.lag.time.max.ms", "3000").await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("a leader");
        let slow = machines[leader as usize % 3].process();
        slow.stall_disk(true);
        let large = "x".repeat(700_000);
        // More than a session's window: the rest stays with the leader.
        for number in 0..20 {
            produce(&machines, 0, &format!("{number}-{large}")).await;
        }
        slow.stall_disk(false);
        in_sync(&machines, 3).await;
        let offset = produce(&machines, 0, "end").await;
        assert!(offset >= 20, "seed {seed}");
    });
}
