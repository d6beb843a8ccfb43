//! Bits of a log have turned, or a sector of it cannot be read any more: the replica leaves the in-sync set and fetches
//! again what another one has; what no other one has is refused, and nothing is cut.

use std::ops::RangeInclusive;
use std::time::Duration;

use broker::rt;
use protocol::Str;
use protocol::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersRequestTopicPartition};

use crate::client::batch_of;
use crate::losses::{in_sync_of, log_file, replicas_of, start_five};
use crate::machine::Machine;
use crate::replicating::{TOPIC, in_sync, leader_among, produce, read, start_with_topic, state_of, until};
use crate::seeds::with_seeds;

const RECORDS: usize = 20;

/// Values that fill some index entries.
fn value(number: usize) -> String {
    format!("value-{number}-{}", "x".repeat(2_000))
}

/// Where the batch of this number begins.
fn start_of(log: &[u8], number: usize) -> usize {
    let mut at = 0;
    for _ in 0..number {
        let length = log[at + 8..at + 12].try_into().expect("four bytes");
        at += 12 + u32::from_be_bytes(length) as usize;
    }
    at
}

/// Turns a bit in the middle of the machine's log: of a record, of a length, of a base offset.
fn turn_a_bit(machine: &Machine, seed: u64) {
    let log = machine.disk.durable_bytes(&log_file(0)).expect("a log");
    let within = [500, 10, 6][seed as usize % 3];
    let byte = start_of(&log, RECORDS / 2) + within;
    machine
        .disk
        .flip_bit(&log_file(0), byte, (seed % 8) as u8)
        .expect("it is there");
}

/// The disk reads no more what it holds of record `number`, and of its neighbours on the same page.
fn lose_a_page(machine: &Machine, number: usize) {
    let log = machine.disk.durable_bytes(&log_file(0)).expect("a log");
    let byte = (start_of(&log, number) + start_of(&log, number + 1)) / 2;
    machine
        .disk
        .lose_page(&log_file(0), byte as u64)
        .expect("it is there");
}

/// The records that lie on the page which is lost with record `number`.
fn lost_with(log: &[u8], number: usize) -> RangeInclusive<usize> {
    const PAGE: usize = 4096;
    let page = (start_of(log, number) + start_of(log, number + 1)) / 2 / PAGE;
    let on_it =
        |other: &usize| start_of(log, *other) < (page + 1) * PAGE && start_of(log, other + 1) > page * PAGE;
    let lost: Vec<usize> = (0..RECORDS).filter(on_it).collect();
    lost[0]..=lost[lost.len() - 1]
}

/// Three brokers in sync, and the values that all of them have.
async fn with_records(shards: &[u16]) -> (Vec<Machine>, Vec<String>) {
    let machines = start_with_topic(shards).await;
    in_sync(&machines, 3).await;
    let mut acknowledged = Vec::new();
    for number in 0..RECORDS {
        produce(&machines, 0, &value(number)).await;
        acknowledged.push(value(number));
    }
    (machines, acknowledged)
}

/// What there is to read, each value once.
async fn values(machines: &[Machine]) -> Vec<String> {
    let mut found = read(machines, 0).await;
    found.dedup();
    found
}

/// Waits until there is to read what was acknowledged, and nothing else.
async fn until_readable(what: &str, machines: &[Machine], acknowledged: &[String]) {
    until(what, async || {
        (values(machines).await == acknowledged).then_some(())
    })
    .await;
}

/// Three in sync take another record, and there is to read what was acknowledged, and nothing else.
async fn takes_one_more(machines: &[Machine], acknowledged: &mut Vec<String>) {
    in_sync(machines, 3).await;
    produce(machines, 0, "after").await;
    acknowledged.push("after".to_owned());
    assert_eq!(values(machines).await, *acknowledged);
}

/// The machine's log is the leader's, byte for byte.
pub(crate) async fn is_whole_again(machines: &[Machine], machine: &Machine) {
    until("it is what its leader's is", async || {
        let (leader, _) = state_of(machine, 0).await?;
        let leader = leader_among(machines, leader)?;
        let [mine, other] = [machine, leader].map(|machine| machine.disk.durable_bytes(&log_file(0)));
        (leader.host() != machine.host() && mine? == other?).then_some(())
    })
    .await;
}

#[test]
fn a_turned_bit_of_a_follower_is_fetched_again_and_nothing_is_lost_meanwhile() {
    with_seeds(9, |seed| async move {
        let (machines, mut acknowledged) = with_records(&[1, 1, 1]).await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("a leader");
        let rotten = &machines[leader as usize % 3];
        match seed / 3 % 2 {
            0 => rotten.kill(),
            _ => rotten.power_off(seed),
        }
        turn_a_bit(rotten, seed);
        rotten.start().await;
        // The one that has everything goes while it is given up and fetched again: it must not lead without.
        rt::sleep(Duration::from_micros(rt::random_u64() % 400_000)).await;
        let whole = leader_among(&machines, leader).expect("it runs");
        whole.kill();
        rt::sleep(Duration::from_secs(5)).await;
        whole.start().await;
        takes_one_more(&machines, &mut acknowledged).await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("a leader");
        for machine in machines
            .iter()
            .filter(|machine| i32::from(machine.host()) != leader)
        {
            is_whole_again(&machines, machine).await;
        }
    });
}

/// Who leads partition 0 where it can.
async fn preferred(machines: &[Machine]) -> &Machine {
    let (_, replicas) = replicas_of(&machines[0], 0).await.expect("a partition");
    &machines[replicas[0] as usize - 1]
}

/// Asks for the preferred leader of partition 0 until it leads.
async fn prefer(machines: &[Machine], preferred: &Machine) {
    until("the preferred leader", async || {
        let request = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: Some(vec![ElectLeadersRequestTopicPartition {
                topic: Str::from(TOPIC),
                partitions: vec![0],
            }]),
            ..Default::default()
        };
        machines[0].client().await.call(2, &request).await.ok()?;
        for machine in machines {
            if state_of(machine, 0).await?.0 != i32::from(preferred.host()) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[test]
fn a_leader_that_finds_its_log_damaged_hands_over_and_fetches_again() {
    with_seeds(6, |seed| damaged_leader(seed, turn_a_bit));
}

#[test]
fn a_leader_that_cannot_read_a_sector_hands_over_and_fetches_again() {
    with_seeds(6, |seed| {
        damaged_leader(seed, |machine, seed| {
            // Not the last ones, which every start looks at.
            lose_a_page(machine, 2 + seed as usize * 2 % 12);
        })
    });
}

async fn damaged_leader(seed: u64, damage: fn(&Machine, u64)) {
    let (machines, acknowledged) = with_records(&[1, 2, 1]).await;
    let rotten = preferred(&machines).await;
    // After a clean stop nobody looks at the middle of a log before somebody reads it.
    rotten.stop().await;
    damage(rotten, seed);
    rotten.start().await;
    in_sync(&machines, 3).await;
    prefer(&machines, rotten).await;
    let refused = rotten.client().await.read_all(TOPIC, 0, 0).await;
    let refused = refused.expect_err("nobody reads past a turned bit").to_string();
    assert!(refused.contains("CorruptMessage"), "{refused}");
    // A leader of a new epoch first learns what is committed (KIP-207).
    until_readable("everything can be read", &machines, &acknowledged).await;
    is_whole_again(&machines, rotten).await;
    in_sync(&machines, 3).await;
    prefer(&machines, rotten).await;
    until_readable("it has everything again", &machines, &acknowledged).await;
}

#[test]
fn what_no_other_replica_has_is_refused_where_it_is_damaged_and_nothing_is_cut() {
    with_seeds(3, |seed| {
        // Not the offset, which its neighbours would tell.
        damaged_alone(seed, move |machine| {
            turn_a_bit(machine, seed % 2);
            RECORDS / 2..=RECORDS / 2
        })
    });
}

#[test]
fn what_cannot_be_read_here_and_is_nowhere_else_is_refused_and_nothing_is_cut() {
    with_seeds(4, |seed| {
        damaged_alone(seed, move |machine| {
            let log = machine.disk.durable_bytes(&log_file(0)).expect("a log");
            lose_a_page(machine, 4 + seed as usize % 10);
            lost_with(&log, 4 + seed as usize % 10)
        })
    });
}

/// `damage` says which records it took.
async fn damaged_alone(seed: u64, damage: impl Fn(&Machine) -> RangeInclusive<usize>) {
    let machines = start_five(3).await;
    in_sync(&machines, 3).await;
    let (_, replicas) = replicas_of(&machines[0], 0).await.expect("a partition");
    let [one, two, last] = [0, 1, 2].map(|at| &machines[replicas[(at + seed as usize) % 3] as usize - 1]);
    one.kill();
    two.kill();
    in_sync_of(&machines, 0, 1).await;
    for number in 0..RECORDS {
        produce(&machines, 0, &value(number)).await;
    }
    last.kill();
    let before = last.disk.durable_bytes(&log_file(0)).expect("a log");
    let lost = damage(last);
    futures::future::join_all([one, two, last].map(Machine::start)).await;
    until("it leads again", async || {
        let (leader, _) = state_of(one, 0).await?;
        (leader == i32::from(last.host())).then_some(())
    })
    .await;
    for _ in 0..10 {
        for number in 0..RECORDS {
            let found = last.client().await.read_all(TOPIC, 0, number as i64).await;
            if number > *lost.end() {
                let found = found.expect("what is behind it can be read");
                assert_eq!(found[0].1, value(number));
            } else {
                // Reading goes on to the damage.
                let refused = found.expect_err("damaged").to_string();
                assert!(refused.contains("CorruptMessage"), "{number}: {refused}");
            }
        }
        rt::sleep(Duration::from_secs(1)).await;
    }
    let (leader, isr) = state_of(one, 0).await.expect("a partition");
    assert_eq!(
        (leader, isr),
        (i32::from(last.host()), vec![i32::from(last.host())])
    );
    let after = last.disk.durable_bytes(&log_file(0)).expect("a log");
    assert_eq!(after.len(), before.len(), "nothing is cut");
    let more = batch_of(&["more".to_owned()], None);
    let taken = last.client().await.produce(TOPIC, 0, more).await;
    assert!(matches!(taken, Ok(Ok(_))), "it takes what comes");
}

#[test]
fn a_follower_that_cannot_read_a_sector_is_given_up_and_fetches_again() {
    with_seeds(8, |seed| async move {
        let (machines, mut acknowledged) = with_records(&[1, 1, 1]).await;
        let broken = preferred(&machines).await;
        // After a crash the log is read from the recovery point on, whatever of it is lost, its last record too.
        match seed % 2 {
            0 => broken.kill(),
            _ => broken.power_off(seed),
        }
        lose_a_page(broken, [RECORDS / 2, RECORDS - 1, 0, 3][seed as usize / 2 % 4]);
        broken.start().await;
        // Another one that has everything goes while it is given up and fetched again.
        rt::sleep(Duration::from_micros(rt::random_u64() % 400_000)).await;
        let (leader, _) = state_of(broken, 0).await.expect("a leader");
        if let Some(whole) = leader_among(&machines, leader).filter(|whole| whole.host() != broken.host()) {
            whole.kill();
            rt::sleep(Duration::from_secs(5)).await;
            whole.start().await;
        }
        takes_one_more(&machines, &mut acknowledged).await;
        in_sync(&machines, 3).await;
        prefer(&machines, broken).await;
        until_readable("it has everything again", &machines, &acknowledged).await;
    });
}

#[test]
fn indexes_that_cannot_be_read_are_made_anew() {
    with_seeds(4, |seed| async move {
        let (machines, acknowledged) = with_records(&[1, 1, 1]).await;
        let broken = preferred(&machines).await;
        match seed % 2 {
            0 => broken.kill(),
            _ => broken.stop().await,
        }
        broken.disk.fail_reads_of(Some("index"));
        broken.start().await;
        in_sync(&machines, 3).await;
        prefer(&machines, broken).await;
        // They cannot be read for as long as it leads, either.
        until_readable("everything can be read", &machines, &acknowledged).await;
    });
}
