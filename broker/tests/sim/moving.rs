//! Partitions move to other brokers while they are written to: nothing is lost, the old copies go, and what was begun can be
//! given up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use broker::rt;
use broker::rt::file::Disk;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsRequestTopic,
    AlterPartitionReassignmentsRequestTopicPartition,
};
use protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use protocol::{ErrorCode, Str};

use crate::client::batch_of;
use crate::cluster::start_all;
use crate::life::contains;
use crate::machine::Machine;
use crate::routed::Routed;
use crate::seeds::with_seeds;

const TOPIC: &str = "orders";
/// By which a power cut leaves nothing that was not synced.
const STRICTEST: u64 = 0;

fn log_file() -> PathBuf {
    format!("/data/{TOPIC}-0/00000000000000000000.log").into()
}

/// Who has the partition's log on disk.
fn holders(machines: &[Machine]) -> BTreeSet<i32> {
    let held = machines.iter().enumerate();
    held.filter(|(_, machine)| machine.disk.durable_bytes(&log_file()).is_some())
        .map(|(number, _)| number as i32 + 1)
        .collect()
}

/// The holders, and two of the five that are none.
fn holders_and_target(machines: &[Machine]) -> (BTreeSet<i32>, Vec<i32>) {
    let before = holders(machines);
    let target: Vec<i32> = (1..=5).filter(|node| !before.contains(node)).take(2).collect();
    (before, target)
}

fn first_of<'a>(machines: &'a [Machine], holders: &BTreeSet<i32>) -> &'a Machine {
    &machines[holders.first().copied().expect("a holder") as usize - 1]
}

/// Begins a move, or gives one up; asked again while nobody can decide.
async fn ask(machine: &Machine, replicas: Option<&[i32]>) -> ErrorCode {
    let partition = AlterPartitionReassignmentsRequestTopicPartition {
        partition_index: 0,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: vec![AlterPartitionReassignmentsRequestTopic {
            name: Str::from(TOPIC),
            partitions: vec![partition],
        }],
        ..Default::default()
    };
    loop {
        if let Ok(answer) = machine.client().await.call(1, &request).await
            && answer.error_code == 0
        {
            let one = &answer.responses[0].partitions[0];
            return ErrorCode::from_code(one.error_code);
        }
        rt::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_moving(machine: &Machine) -> bool {
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: None,
    };
    let answer = machine.client().await.call(0, &request).await;
    !answer.expect("an answer").topics.is_empty()
}

/// Writes `many` records with `acks=all`, each until it is acknowledged.
async fn write(client: &mut Routed, from: usize, many: usize) -> Vec<String> {
    let values: Vec<String> = (from..from + many)
        .map(|number| format!("record-{number}"))
        .collect();
    for value in &values {
        let batch = batch_of(std::slice::from_ref(value), None);
        client.produce(TOPIC, 0, batch).await;
    }
    values
}

async fn five() -> (Vec<Machine>, Routed) {
    start(5, "2").await
}

/// So many brokers, and the topic with so many replicas.
async fn start(many: u8, replicas: &str) -> (Vec<Machine>, Routed) {
    let machines: Vec<Machine> = Machine::several(many, 1)
        .into_iter()
        .map(|machine| {
            machine
                .with("default.replication.factor", replicas)
                .with("min.insync.replicas", "1")
        })
        .collect();
    start_all(&machines).await;
    let mut client = Routed::new(machines.iter().map(Machine::address).collect());
    client.create(TOPIC, 1).await;
    (machines, client)
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}

#[test]
fn a_partition_moves_under_writes_and_nothing_is_lost() {
    with_seeds(4, |seed| async move {
        let (machines, mut client) = five().await;
        let mut written = write(&mut client, 0, 50).await;
        let (before, target) = holders_and_target(&machines);
        assert_eq!(before.len(), 2);
        assert_eq!(ask(&machines[0], Some(&target)).await, ErrorCode::None);
        let first = write(&mut client, 50, 50).await;
        written.extend(first);
        if seed % 2 == 1 {
            // One of the new ones is lost on the way, and comes back.
            let lost = &machines[target[0] as usize - 1];
            lost.kill();
            written.extend(write(&mut client, 100, 50).await);
            lost.start().await;
        }
        until("the move is complete", async || !is_moving(&machines[0]).await).await;
        written.extend(write(&mut client, 200, 50).await);
        let wanted: BTreeSet<i32> = target.iter().copied().collect();
        until("the old copies are gone", async || holders(&machines) == wanted).await;
        for machine in &machines {
            if !wanted.contains(&(i32::from(machine.host()))) {
                machine.kill();
            }
        }
        drop(client);
        let mut found = BTreeSet::new();
        let bytes = machines[target[0] as usize - 1].disk.durable_bytes(&log_file());
        let bytes = bytes.expect("its log");
        for value in &written {
            let there = bytes
                .windows(value.len())
                .any(|window| window == value.as_bytes());
            found.extend(there.then_some(value.clone()));
        }
        assert_eq!(found.len(), written.len(), "everything moved along");
    });
}

#[test]
fn a_move_is_given_up() {
    with_seeds(2, |_| async {
        let (machines, mut client) = five().await;
        write(&mut client, 0, 20).await;
        let (before, target) = holders_and_target(&machines);
        // Who is not there cannot catch up: the move goes on until it is given up.
        machines[target[1] as usize - 1].kill();
        assert_eq!(ask(&machines[0], Some(&target)).await, ErrorCode::None);
        write(&mut client, 20, 20).await;
        let through = first_of(&machines, &before);
        assert!(is_moving(through).await);
        assert_eq!(ask(through, None).await, ErrorCode::None);
        until("it stays where it was", async || holders(&machines) == before).await;
        assert!(!is_moving(through).await);
        assert_eq!(ask(through, None).await, ErrorCode::NoReassignmentInProgress);
        write(&mut client, 40, 20).await;
    });
}

/// Names in the log directory of what was set aside.
fn set_aside(machine: &Machine) -> Vec<String> {
    let names = Disk::simulated(machine.disk.clone()).read_dir("/data");
    let mut names = names.expect("a log directory");
    names.retain(|name| name.ends_with("-stray"));
    names
}

#[test]
fn a_copy_whose_broker_was_gone_while_it_moved_is_set_aside_for_good() {
    with_seeds(4, |_| async {
        let (machines, mut client) = five().await;
        write(&mut client, 0, 50).await;
        let (before, target) = holders_and_target(&machines);
        let gone = first_of(&machines, &before);
        let through = &machines[target[0] as usize - 1];
        gone.kill();
        assert_eq!(ask(through, Some(&target)).await, ErrorCode::None);
        until("the move is complete", async || !is_moving(through).await).await;
        // In every life: no power cut brings it back, and nobody serves beside it.
        for _ in 0..2 {
            gone.start().await;
            assert_eq!(gone.disk.durable_bytes(&log_file()), None);
            gone.power_off(STRICTEST);
            assert_eq!(gone.disk.durable_bytes(&log_file()), None);
        }
        let aside = set_aside(gone);
        assert_eq!(aside.len(), 1, "{aside:?}");
        let kept: PathBuf = format!("/data/{}/00000000000000000000.log", aside[0]).into();
        let kept = gone.disk.durable_bytes(&kept).expect("it is kept");
        assert!(contains(&kept, "record-49"));
    });
}

#[test]
fn what_was_known_of_a_log_is_not_held_against_one_that_is_made_later() {
    with_seeds(4, |seed| async move {
        let (machines, mut client) = start(3, "1").await;
        write(&mut client, 0, 50).await;
        let node = holders(&machines).first().copied().expect("a holder");
        let holder = &machines[node as usize - 1];
        // In order, so that it is written down that fifty records were synced.
        holder.stop().await;
        client.delete(TOPIC).await;
        client.create(TOPIC, 1).await;
        holder.start().await;
        assert_eq!(ask(holder, Some(&[node])).await, ErrorCode::None);
        until("the new one is there", async || !is_moving(holder).await).await;
        let mut written = write(&mut client, 100, 5).await;
        // Before the new log's first checkpoint.
        match seed % 2 {
            0 => holder.kill(),
            _ => holder.power_off(seed),
        }
        holder.start().await;
        written.extend(write(&mut client, 105, 5).await);
        let mut found = None;
        for _ in 0..100 {
            found = client.try_read(TOPIC, 0, 0).await;
            if found.is_some() {
                break;
            }
        }
        let found = found.expect("all of it can be read").into_iter();
        let mut found: Vec<String> = found.map(|(_, value)| value).collect();
        // One whose answer was lost was sent again.
        found.dedup();
        assert_eq!(found, written);
    });
}

/// Bytes per second.
const RATE: u64 = 100_000;
/// Records of that size and so many are moved.
const PADDED: usize = 50_000;
const PADDED_RECORDS: usize = 40;

async fn set(machine: &Machine, broker: bool, property: &str, value: &str) {
    until("a property is set", async || {
        let mut client = machine.client().await;
        let changed = match broker {
            true => client.configure_brokers(property, value).await,
            false => client.configure(TOPIC, property, value).await,
        };
        matches!(changed, Ok(ErrorCode::None))
    })
    .await;
}

#[test]
fn a_throttled_move_takes_its_time_and_nobody_else_waits() {
    with_seeds(6, |seed| async move {
        let (machines, mut client) = five().await;
        let padding = "x".repeat(PADDED);
        for number in 0..PADDED_RECORDS {
            let batch = batch_of(&[format!("{number}-{padding}")], None);
            client.produce(TOPIC, 0, batch).await;
        }
        let (_, target) = holders_and_target(&machines);
        // What leaders send counts together, what followers take counts for each.
        let (side, copies) = if seed % 2 == 0 {
            ("leader", 2)
        } else {
            ("follower", 1)
        };
        let replicas = match seed % 3 {
            0 => "*".to_string(),
            _ => {
                let of = if side == "leader" {
                    1..6
                } else {
                    target[0]..target[1] + 1
                };
                of.map(|node| format!("0:{node}")).collect::<Vec<_>>().join(",")
            }
        };
        set(
            &machines[0],
            false,
            &format!("{side}.replication.throttled.replicas"),
            &replicas,
        )
        .await;
        let rate = format!("{side}.replication.throttled.rate");
        set(&machines[0], true, &rate, "0").await;
        assert_eq!(ask(&machines[0], Some(&target)).await, ErrorCode::None);
        rt::sleep(Duration::from_secs(20)).await;
        assert!(is_moving(&machines[0]).await, "a rate of zero lets nothing pass");
        set(&machines[0], true, &rate, &RATE.to_string()).await;
        let began = rt::now();
        let mut number = PADDED_RECORDS;
        while is_moving(&machines[0]).await {
            let asked = rt::now();
            write(&mut client, number, 1).await;
            let took = rt::now() - asked;
            assert!(
                took < Duration::from_secs(2),
                "a producer waited {took:?} for a throttled move"
            );
            number += 1;
            rt::sleep(Duration::from_millis(200)).await;
        }
        let took = rt::now() - began;
        let bytes = (PADDED * PADDED_RECORDS * copies) as u64;
        // The last turn of each is sent and not waited for.
        let least = Duration::from_millis((bytes - copies as u64 * (256 << 10)) * 1_000 / RATE);
        assert!(took >= least, "{bytes} bytes at {RATE}/s moved in {took:?}");
        assert!(took < least * 2, "{bytes} bytes at {RATE}/s moved in {took:?}");
    });
}
