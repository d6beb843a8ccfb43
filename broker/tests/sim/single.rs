//! One broker under everything that can happen to its process, its disk and its power. Checked: what was acknowledged is
//! there, once and in order; committed offsets never go back; afterwards it serves as if nothing had been.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use protocol::ErrorCode;

use crate::client::{Client, Identity, batch_of};
use crate::machine::Machine;
use crate::seeds::{twice, with_seeds};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 3;
const GROUPS: usize = 2;

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    PowerCut,
    Restart,
    Pause,
    DiskStalls,
    DiskFull,
    /// A failed fsync: the broker gives up its only log directory and ends.
    SyncFails,
}

const KILLS: &[Fault] = &[Fault::Kill, Fault::Restart];
const POWER: &[Fault] = &[Fault::PowerCut];
const ALL: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::Restart,
    Fault::Pause,
    Fault::DiskStalls,
    Fault::DiskFull,
    Fault::SyncFails,
];

#[test]
fn a_seed_decides_everything() {
    for seed in [1, 2] {
        twice(seed, |seed| life(seed, ALL, 4));
    }
}

#[test]
fn acknowledged_records_survive_kills() {
    with_seeds(4, |seed| life(seed, KILLS, 3));
}

#[test]
fn acknowledged_records_survive_power_cuts() {
    with_seeds(8, |seed| life(seed, POWER, 3));
}

#[test]
fn acknowledged_records_survive_everything_at_once() {
    with_seeds(12, |seed| life(seed, ALL, 6));
}

#[test]
fn answering_before_the_sync_is_noticed() {
    let broken = |seed| async move {
        let machine = Machine::new(1, 1).answering_before_the_sync();
        machine.start().await;
        let mut client = machine.client().await;
        let created = client.create_topic(TOPIC, 1).await;
        assert_eq!(created.expect("an answer"), ErrorCode::None);
        for number in 0..20 {
            let batch = batch_of(&[format!("record-{number}")], None);
            let told = client.produce(TOPIC, 0, batch).await.expect("an answer");
            assert_eq!(told, Ok(number));
        }
        machine.power_off(3 * seed);
        machine.start().await;
        let found = machine.client().await.read_all(TOPIC, 0, 0).await;
        (
            machine.disk.violations().len(),
            20 - found.expect("readable").len(),
        )
    };
    // The last sync may be over before the power goes; not in every world.
    let worlds = (0..10).map(|seed| rt::sim::run(seed, broken(seed)).0);
    let (violations, lost) = worlds.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(violations > 0, "the disk saw no broken promise");
    assert!(lost > 0, "no acknowledged record was lost");
}

async fn life(seed: u64, faults: &'static [Fault], many: u64) {
    let shards = if seed.is_multiple_of(2) { 1 } else { 2 };
    let machine = Machine::new(1, shards)
        .with("log.segment.bytes", "1048576")
        .with("offsets.topic.num.partitions", "3")
        .with("log.flush.offset.checkpoint.interval.ms", "500");
    run(seed, machine, faults, many).await;
}

/// Offset and value.
type Stored = (i64, String);

/// The world around one machine.
struct World {
    machine: Machine,
    over: Cell<bool>,
    /// Per producer and partition, the acknowledged values in order with their offsets.
    acknowledged: RefCell<BTreeMap<(usize, i32), Vec<Stored>>>,
    /// Per group, the last offset whose commit was acknowledged.
    committed: RefCell<BTreeMap<usize, i64>>,
}

async fn run(seed: u64, machine: Machine, faults: &[Fault], many: u64) {
    let world = Rc::new(World {
        machine,
        over: Cell::new(false),
        acknowledged: RefCell::default(),
        committed: RefCell::default(),
    });
    world.machine.start().await;
    let created = world.machine.client().await.create_topic(TOPIC, PARTITIONS).await;
    assert_eq!(created.expect("an answer"), ErrorCode::None);
    let mut actors: Vec<_> = (0..PRODUCERS)
        .map(|number| rt::spawn(produce(world.clone(), number)))
        .collect();
    actors.extend((0..GROUPS).map(|number| rt::spawn(commit(world.clone(), number))));
    for number in 0..many {
        rt::sleep(Duration::from_micros(200_000 + rt::random_u64() % 800_000)).await;
        let fault = faults[(rt::random_u64() % faults.len() as u64) as usize];
        println!("seed {seed}: {fault:?} at {} ms", rt::wall_ms());
        happen(&world.machine, fault, seed.wrapping_mul(31) + number).await;
    }
    rt::sleep(Duration::from_secs(1)).await;
    world.over.set(true);
    // All faults are over: everybody gets an answer in bounded (virtual) time.
    for actor in actors {
        rt::timeout(Duration::from_secs(300), actor)
            .await
            .expect("a healed broker answers everybody");
    }
    check(&world).await;
    world.machine.stop().await;
    world.machine.start().await;
    check(&world).await;
    assert_eq!(world.machine.disk.violations(), Vec::<String>::new(), "promises");
    world.machine.stop().await;
}

async fn happen(machine: &Machine, fault: Fault, seed: u64) {
    let some_time = |most_ms: u64| rt::sleep(Duration::from_micros(rt::random_u64() % (most_ms * 1000)));
    match fault {
        Fault::Kill => {
            machine.kill();
            some_time(500).await;
        }
        Fault::PowerCut => {
            machine.power_off(seed);
            some_time(500).await;
        }
        Fault::Restart => machine.stop().await,
        Fault::Pause => {
            machine.process().pause();
            some_time(5_000).await;
            machine.process().resume();
        }
        Fault::DiskStalls => {
            machine.process().stall_disk(true);
            some_time(10_000).await;
            machine.process().stall_disk(false);
        }
        Fault::DiskFull => {
            machine.disk.fail_writes_of(Some(".log"));
            some_time(3_000).await;
            machine.disk.fail_writes_of(None);
        }
        Fault::SyncFails => {
            machine.disk.fail_syncs_of(Some(".log"));
            machine.ended().await;
            machine.disk.fail_syncs_of(None);
        }
    }
    if !machine.is_running() {
        machine.start().await;
    }
}

/// A connection, as soon as there is one.
async fn connected(machine: &Machine) -> Client {
    loop {
        match Client::connect(machine.address()).await {
            Ok(client) => return client,
            Err(_) => rt::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// An idempotent producer that sends every batch until it is acknowledged.
async fn produce(world: Rc<World>, number: usize) {
    let mut client = connected(&world.machine).await;
    let identity: Identity = loop {
        match client.producer_id().await {
            Ok(identity) => break identity,
            Err(_) => client = connected(&world.machine).await,
        }
    };
    let mut sequences = [0i32; PARTITIONS as usize];
    let mut count = 0;
    while !world.over.get() {
        rt::sleep(Duration::from_micros(rt::random_u64() % 20_000)).await;
        let partition = (rt::random_u64() % PARTITIONS as u64) as i32;
        let many = 1 + rt::random_u64() % 3;
        let padding = "x".repeat((rt::random_u64() % 2_000) as usize);
        let values: Vec<String> = (0..many)
            .map(|index| format!("producer-{number}-{}-{padding}", count + index))
            .collect();
        count += many;
        let sequence = &mut sequences[partition as usize];
        let base = loop {
            let batch = batch_of(&values, Some((identity, *sequence)));
            match client.produce(TOPIC, partition, batch).await {
                Ok(Ok(base)) => break base,
                Ok(Err(code)) => {
                    assert!(code.retriable(), "producer {number}: {code:?}");
                    rt::sleep(Duration::from_millis(20)).await;
                }
                Err(_) => client = connected(&world.machine).await,
            }
        };
        *sequence += many as i32;
        let mut acknowledged = world.acknowledged.borrow_mut();
        let of_partition = acknowledged.entry((number, partition)).or_default();
        of_partition.extend((base..).zip(values));
    }
}

/// Commits ever higher offsets of one group.
async fn commit(world: Rc<World>, number: usize) {
    let group = format!("group-{number}");
    let mut client = connected(&world.machine).await;
    let mut offset = 0;
    while !world.over.get() {
        rt::sleep(Duration::from_micros(rt::random_u64() % 20_000)).await;
        offset += 1;
        match client.commit(&group, TOPIC, offset).await {
            Ok(ErrorCode::None) => {
                world.committed.borrow_mut().insert(number, offset);
            }
            Ok(code) => {
                assert!(code.retriable(), "{group}: {code:?}");
                rt::sleep(Duration::from_millis(20)).await;
                // The next look makes the offsets topic if it is not there yet.
                let _ = client.find_coordinator(&group).await;
            }
            Err(_) => client = connected(&world.machine).await,
        }
        if rt::random_u64().is_multiple_of(8) {
            see(&mut client, &world, number).await;
        }
    }
}

/// A committed offset that was acknowledged is never behind.
async fn see(client: &mut Client, world: &World, number: usize) {
    let acknowledged = world.committed.borrow().get(&number).copied().unwrap_or(-1);
    if let Ok(Ok(found)) = client.committed(&format!("group-{number}"), TOPIC).await {
        assert!(
            found >= acknowledged,
            "group-{number} went back from {acknowledged} to {found}"
        );
    }
}

/// Every acknowledged record is where it was said to be, once, in order; nobody else's are there.
async fn check(world: &World) {
    let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut client = connected(&world.machine).await;
    let partitions = client.partitions_of(TOPIC).await.expect("an answer");
    assert_eq!(partitions, Some(PARTITIONS as usize), "the topic is there");
    for partition in 0..PARTITIONS {
        let found = client.read_all(TOPIC, partition, 0).await.expect("readable");
        for (index, (offset, _)) in found.iter().enumerate() {
            assert_eq!(*offset, index as i64, "partition {partition} has no gap");
        }
        stored.insert(partition, found.into_iter().map(|(_, value)| value).collect());
    }
    let mut total = 0;
    for ((number, partition), values) in world.acknowledged.borrow().iter() {
        for (offset, value) in values {
            let found = stored[partition].get(*offset as usize);
            assert_eq!(
                found,
                Some(value),
                "producer {number}, {TOPIC}-{partition} at {offset}"
            );
        }
        assert!(values.is_sorted_by_key(|(offset, _)| *offset), "in order");
        total += values.len();
    }
    let there: usize = stored.values().map(Vec::len).sum();
    assert_eq!(there, total, "what is stored is what was acknowledged, each once");
    assert!(total > 50, "only {total} records");
    for number in 0..GROUPS {
        let acknowledged = world.committed.borrow().get(&number).copied().unwrap_or(-1);
        let found = loop {
            // The coordinator may still be loading.
            match client
                .committed(&format!("group-{number}"), TOPIC)
                .await
                .expect("an answer")
            {
                Ok(found) => break found,
                Err(code) => {
                    assert!(code.retriable(), "group-{number}: {code:?}");
                    rt::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        assert!(
            found >= acknowledged,
            "group-{number}: {found} after {acknowledged}"
        );
    }
}
