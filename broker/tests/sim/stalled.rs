//! Disks that answer no more while their brokers live: others lead and acknowledge meanwhile, nobody goes back and forth, and
//! the broker is in sync again when its disk is. All with the default `replica.lag.time.max.ms`, which is far longer.

use std::time::Duration;

use broker::rt;

use crate::machine::Machine;
use crate::replicating::{PARTITIONS, in_sync, produce, read, start_with_topic, state_of, until};
use crate::seeds::with_seeds;

/// Virtual: two sessions of 3 s, a heartbeat and a commit.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(9);
/// Virtual: once others have taken over nobody waits for that disk.
const PROMPT: Duration = Duration::from_secs(1);
/// Virtual: from its first answer on.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// For how many seconds a disk answers nothing.
const STALL_SECS: usize = 30;

/// Produces one record to each partition; the longest that one took.
async fn produce_to_each(machines: &[Machine], value: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for partition in 0..PARTITIONS {
        let began = rt::now();
        produce(machines, partition, value).await;
        longest = longest.max(began.elapsed());
    }
    longest
}

async fn others_take_over(seed: u64) {
    let machines = start_with_topic(&[1, 1 + (seed % 2) as u16, 1]).await;
    in_sync(&machines, 3).await;
    produce_to_each(&machines, "before").await;
    // By seed it leads the quorum, too.
    let slow = &machines[seed as usize % 3];
    let other = &machines[(seed as usize + 1) % 3];
    let node = i32::from(slow.host());
    let process = slow.process();
    process.stall_disk(true);
    let began = rt::now();
    let longest = produce_to_each(&machines, "meanwhile").await;
    assert!(longest < TAKEN_OVER_WITHIN, "seed {seed}: {longest:?}");
    let mut written = vec!["before".to_string(), "meanwhile".to_string()];
    for second in 0..STALL_SECS {
        // Partitions without writes, too: what they have is on that disk already, and they must not come back for it.
        let longest = match second % 3 {
            0 => {
                let value = format!("after {second} s");
                let longest = produce_to_each(&machines, &value).await;
                written.push(value);
                longest
            }
            _ => Duration::ZERO,
        };
        let settled = began.elapsed() > TAKEN_OVER_WITHIN;
        assert!(!settled || longest < PROMPT, "seed {seed}: {longest:?}");
        for partition in 0..PARTITIONS {
            let (leader, isr) = state_of(other, partition).await.expect("it answers");
            assert!(
                !settled || (leader > 0 && leader != node && !isr.contains(&node)),
                "seed {seed}: led by {leader}, {isr:?} in sync, {node} is stalled"
            );
        }
        rt::sleep(Duration::from_secs(1)).await;
    }
    process.stall_disk(false);
    let began = rt::now();
    in_sync(&machines, 3).await;
    assert!(
        began.elapsed() < BACK_WITHIN,
        "seed {seed}: {:?}",
        began.elapsed()
    );
    // It has what the others have.
    other.kill();
    for partition in 0..PARTITIONS {
        produce(&machines, partition, "end").await;
        let mut found = read(&machines, partition).await;
        found.dedup();
        let expected: Vec<&str> = written.iter().map(String::as_str).chain(["end"]).collect();
        assert_eq!(found, expected, "seed {seed}, partition {partition}");
    }
}

#[test]
fn others_take_over_from_a_broker_whose_disk_stalls() {
    with_seeds(6, others_take_over);
}

#[test]
fn a_disk_that_is_only_slow_costs_nobody_a_leader() {
    with_seeds(3, |seed| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        let mut before = Vec::new();
        for partition in 0..PARTITIONS {
            before.push(state_of(&machines[0], partition).await);
        }
        let process = machines[seed as usize % 3].process();
        for _ in 0..5 {
            process.stall_disk(true);
            rt::sleep(Duration::from_secs(4)).await;
            process.stall_disk(false);
            produce_to_each(&machines, "slowly").await;
        }
        for (partition, before) in before.iter().enumerate() {
            let now = state_of(&machines[0], partition as i32).await;
            assert_eq!(&now, before, "seed {seed}, partition {partition}");
        }
    });
}

#[test]
fn a_lone_broker_waits_for_its_disk() {
    with_seeds(2, |seed| async move {
        let machine = [Machine::new(1, 1)];
        machine[0].start().await;
        until("create the topic", async || {
            let created = machine[0]
                .client()
                .await
                .create_topic("replicated", PARTITIONS)
                .await;
            created.is_ok().then_some(())
        })
        .await;
        produce_to_each(&machine, "before").await;
        let process = machine[0].process();
        process.stall_disk(true);
        let thaw = rt::spawn(async move {
            rt::sleep(Duration::from_secs(20)).await;
            process.stall_disk(false);
        });
        let (leader, _) = state_of(&machine[0], 0).await.expect("it answers");
        assert_eq!(leader, 1, "seed {seed}");
        let longest = produce_to_each(&machine, "after").await;
        assert!(
            longest > Duration::from_secs(15),
            "seed {seed}: acknowledged before it was on disk"
        );
        thaw.await;
        let mut found = read(&machine, 0).await;
        found.dedup();
        assert_eq!(found, ["before", "after"], "seed {seed}");
    });
}
