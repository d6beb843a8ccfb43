//! A life: clients of a cluster of three or five brokers, while everything happens to its processes, disks, power and
//! network that can. Checked: what was acknowledged is there, once and in order, the same on every replica; what a consumer
//! has read stays; committed offsets never go back; once all faults are over everybody gets answers in bounded time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use broker::node::TestSwitches;
use broker::rt;

use crate::client::batch_of;
use crate::machine::Machine;
use crate::routed::Routed;

pub(crate) const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 6;
const READERS: usize = 3;
const GROUPS: usize = 3;
/// Replicas of each partition.
const REPLICAS: usize = 3;
/// Virtual: after the last fault.
const HEALED_WITHIN: Duration = Duration::from_secs(300);
/// Virtual: after the last operation. A look compares all logs, which costs real time.
const CONVERGED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Of a disk, before a crash at one of them.
const MOST_OPERATIONS: u64 = 300;

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill,
    PowerCut,
    /// All machines at once.
    Blackout,
    Restart,
    Pause,
    DiskStalls,
    DiskFull,
    SyncFails,
    /// Power goes at one operation of the disk, wherever in log, quorum or checkpoint that is.
    CrashPoint,
    /// One machine hears another no more; the other hears it.
    OneWay,
    /// One machine and nobody else.
    Alone,
    /// Between two machines everything takes longer, as where packets are lost.
    Slow,
}

pub(crate) const KILLS: &[Fault] = &[Fault::Kill, Fault::Restart];
pub(crate) const POWER: &[Fault] = &[Fault::PowerCut, Fault::Blackout];
pub(crate) const CRASH_POINTS: &[Fault] = &[Fault::CrashPoint];
pub(crate) const NETWORK: &[Fault] = &[Fault::OneWay, Fault::Alone, Fault::Slow, Fault::Pause];
pub(crate) const ALL: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::Blackout,
    Fault::Restart,
    Fault::Pause,
    Fault::DiskStalls,
    Fault::DiskFull,
    Fault::SyncFails,
    Fault::OneWay,
    Fault::Alone,
    Fault::Slow,
];

pub(crate) fn log_file(partition: i32) -> PathBuf {
    format!("/data/{TOPIC}-{partition}/00000000000000000000.log").into()
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Offset and value.
type Stored = (i64, String);

/// What the clients of a life did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Requests answered or given up.
    pub(crate) operations: u64,
    /// Those during which a fault was under way.
    pub(crate) beside_faults: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.operations += more.operations;
        self.beside_faults += more.beside_faults;
    }
}

pub(crate) struct World {
    pub(crate) machines: Vec<Machine>,
    over: Cell<bool>,
    tally: Cell<Tally>,
    /// Odd while a fault is under way.
    faults: Rc<Cell<u64>>,
    /// Per producer and partition, the acknowledged values in order with their offsets.
    acknowledged: RefCell<BTreeMap<(usize, i32), Vec<Stored>>>,
    /// Per partition, what any consumer has read.
    seen: RefCell<BTreeMap<i32, BTreeMap<i64, String>>>,
    /// Per group, the last offset whose commit was acknowledged.
    committed: RefCell<BTreeMap<usize, i64>>,
}

impl World {
    pub(crate) async fn start(seed: u64) -> World {
        World::start_with(seed, |_| ()).await
    }

    pub(crate) async fn start_with(seed: u64, fault: fn(&mut TestSwitches)) -> World {
        let shards = if seed.is_multiple_of(2) { 1 } else { 2 };
        let brokers = if seed % 4 == 3 { 5 } else { 3 };
        let machines: Vec<Machine> = Machine::several(brokers, shards)
            .into_iter()
            .map(|machine| {
                machine
                    .with("default.replication.factor", "3")
                    .with("min.insync.replicas", "2")
                    .with("offsets.topic.replication.factor", "3")
                    .with("offsets.topic.num.partitions", "3")
                    .with("replica.lag.time.max.ms", "5000")
                    .with("log.flush.offset.checkpoint.interval.ms", "500")
                    .broken(fault)
            })
            .collect();
        futures::future::join_all(machines.iter().map(Machine::start)).await;
        let world = World {
            machines,
            over: Cell::new(false),
            tally: Cell::default(),
            faults: Rc::default(),
            acknowledged: RefCell::default(),
            seen: RefCell::default(),
            committed: RefCell::default(),
        };
        world.client().create(TOPIC, PARTITIONS).await;
        world
    }

    pub(crate) fn client(&self) -> Routed {
        let addresses = self.machines.iter().map(Machine::address);
        Routed::new(addresses.collect()).beside(self.faults.clone())
    }

    fn count(&self, client: &Routed) {
        let mut tally = self.tally.get();
        tally += client.tally;
        self.tally.set(tally);
    }

    fn machine(&self) -> &Machine {
        &self.machines[(rt::random_u64() % self.machines.len() as u64) as usize]
    }
}

pub(crate) async fn life(seed: u64, faults: &'static [Fault], many: u64) -> Tally {
    live(Rc::new(World::start(seed).await), seed, faults, many).await
}

pub(crate) async fn live(world: Rc<World>, seed: u64, faults: &'static [Fault], many: u64) -> Tally {
    let mut actors: Vec<_> = (0..PRODUCERS)
        .map(|number| rt::spawn(produce(world.clone(), number)))
        .collect();
    actors.push(rt::spawn(administer(world.clone())));
    actors.extend((0..READERS).map(|_| rt::spawn(read(world.clone()))));
    actors.extend((0..GROUPS).map(|number| rt::spawn(commit(world.clone(), number))));
    for number in 0..many {
        rt::sleep(Duration::from_micros(500_000 + rt::random_u64() % 3_000_000)).await;
        let fault = faults[(rt::random_u64() % faults.len() as u64) as usize];
        println!("seed {seed}: {fault:?} at {} ms", rt::wall_ms());
        world.faults.update(|faults| faults + 1);
        happen(&world, fault, seed.wrapping_mul(31) + number).await;
        world.faults.update(|faults| faults + 1);
    }
    rt::sleep(Duration::from_secs(2)).await;
    world.over.set(true);
    for actor in actors {
        rt::timeout(HEALED_WITHIN, actor)
            .await
            .expect("a healed cluster answers everybody");
    }
    check(&world).await;
    for machine in &world.machines {
        assert_eq!(machine.disk.violations(), Vec::<String>::new(), "promises");
    }
    world.tally.get()
}

async fn some_time(most_ms: u64) {
    rt::sleep(Duration::from_micros(rt::random_u64() % (most_ms * 1000))).await;
}

async fn happen(world: &World, fault: Fault, seed: u64) {
    let machine = world.machine();
    match fault {
        Fault::Kill => {
            machine.kill();
            some_time(8_000).await;
        }
        Fault::PowerCut => {
            machine.power_off(seed);
            some_time(8_000).await;
        }
        Fault::Blackout => {
            for (number, machine) in world.machines.iter().enumerate() {
                machine.power_off(seed + number as u64);
            }
            some_time(1_000).await;
        }
        Fault::CrashPoint => {
            let process = machine.process();
            process.stall_disk_after(rt::random_u64() % MOST_OPERATIONS);
            let reached = async {
                while !process.is_disk_stalled() {
                    rt::sleep(Duration::from_millis(1)).await;
                }
            };
            // One that leads and follows nothing just now may rest.
            let _ = rt::timeout(Duration::from_secs(10), reached).await;
            machine.power_off(seed);
            some_time(3_000).await;
        }
        Fault::Restart => machine.stop().await,
        Fault::Pause => {
            let process = machine.process();
            process.pause();
            some_time(40_000).await;
            process.resume();
        }
        Fault::DiskStalls => {
            let process = machine.process();
            process.stall_disk(true);
            some_time(10_000).await;
            process.stall_disk(false);
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
        Fault::OneWay => {
            let (from, to) = (machine.process(), world.machine().process());
            from.cut(&to);
            some_time(15_000).await;
            from.heal(&to);
        }
        Fault::Alone => {
            let alone = machine.process();
            let others: Vec<_> = world.machines.iter().map(Machine::process).collect();
            for other in &others {
                alone.cut(other);
                other.cut(&alone);
            }
            some_time(15_000).await;
            for other in &others {
                alone.heal(other);
                other.heal(&alone);
            }
        }
        Fault::Slow => {
            let (one, other) = (machine.process(), world.machine().process());
            let most = Duration::from_millis(1 + rt::random_u64() % 400);
            one.slow(&other, most);
            other.slow(&one, most);
            some_time(15_000).await;
            one.slow(&other, Duration::ZERO);
            other.slow(&one, Duration::ZERO);
        }
    }
    let down = world.machines.iter().filter(|machine| !machine.is_running());
    futures::future::join_all(down.map(Machine::start)).await;
}

/// An idempotent producer that sends every batch until it is acknowledged.
async fn produce(world: Rc<World>, number: usize) {
    let mut client = world.client();
    let identity = client.producer_id().await;
    let mut sequences = [0i32; PARTITIONS as usize];
    let mut count = 0;
    while !world.over.get() {
        some_time(10).await;
        let partition = (rt::random_u64() % PARTITIONS as u64) as i32;
        let many = 1 + rt::random_u64() % 3;
        let padding = "x".repeat((rt::random_u64() % 300) as usize);
        let values: Vec<String> = (0..many)
            .map(|index| format!("producer-{number}-{}-{padding}", count + index))
            .collect();
        count += many;
        let sequence = &mut sequences[partition as usize];
        let base = loop {
            let batch = batch_of(&values, Some((identity, *sequence)));
            if let Some(base) = client.try_produce(TOPIC, partition, batch).await {
                break base;
            }
        };
        *sequence += many as i32;
        let mut acknowledged = world.acknowledged.borrow_mut();
        let of_partition = acknowledged.entry((number, partition)).or_default();
        of_partition.extend((base..).zip(values));
    }
    world.count(&client);
}

/// Makes topics, gives them more partitions, changes configs and deletes them, beside everything else.
async fn administer(world: Rc<World>) {
    let mut client = world.client();
    for number in 0.. {
        some_time(3_000).await;
        if world.over.get() {
            break;
        }
        let topic = format!("extra-{number}");
        client.create(&topic, 1).await;
        client.raise(&topic, 1 + (rt::random_u64() % 4) as i32).await;
        let most = 1_000_000 + rt::random_u64() % 1_000_000;
        client
            .configure(TOPIC, "max.message.bytes", &most.to_string())
            .await;
        if rt::random_u64().is_multiple_of(2) {
            client.delete(&topic).await;
        }
    }
    world.count(&client);
}

/// A consumer that goes round the partitions and remembers all it has read.
async fn read(world: Rc<World>) {
    let mut client = world.client();
    let mut positions = [0i64; PARTITIONS as usize];
    while !world.over.get() {
        some_time(20).await;
        let partition = (rt::random_u64() % PARTITIONS as u64) as i32;
        let position = &mut positions[partition as usize];
        let Some(found) = client.try_read(TOPIC, partition, *position).await else {
            continue;
        };
        let mut seen = world.seen.borrow_mut();
        let of_partition = seen.entry(partition).or_default();
        for (offset, value) in found {
            assert_eq!(offset, *position, "{TOPIC}-{partition} has no gap");
            *position += 1;
            let before = of_partition.insert(offset, value.clone());
            assert!(
                before.is_none_or(|before| before == value),
                "{TOPIC}-{partition} at {offset} was read as something else before"
            );
        }
    }
    world.count(&client);
}

/// Commits ever higher offsets of one group.
async fn commit(world: Rc<World>, number: usize) {
    let group = format!("group-{number}");
    let mut client = world.client();
    let mut offset = 0;
    while !world.over.get() {
        some_time(10).await;
        offset += 1;
        if client.try_commit(&group, TOPIC, offset).await {
            world.committed.borrow_mut().insert(number, offset);
        }
        if rt::random_u64().is_multiple_of(8) {
            let acknowledged = world.committed.borrow().get(&number).copied().unwrap_or(-1);
            if let Some(found) = client.try_committed(&group, TOPIC).await {
                assert!(
                    found >= acknowledged,
                    "{group} went back from {acknowledged} to {found}"
                );
            }
        }
    }
    world.count(&client);
}

/// Reads until the leader says what it has.
async fn read_all(client: &mut Routed, partition: i32) -> Vec<Stored> {
    loop {
        if let Some(found) = client.try_read(TOPIC, partition, 0).await {
            return found;
        }
    }
}

async fn check(world: &World) {
    let mut client = world.client();
    let stored = rt::timeout(HEALED_WITHIN, async {
        let mut stored = Vec::new();
        for partition in 0..PARTITIONS {
            stored.push(read_all(&mut client, partition).await);
        }
        stored
    });
    let stored = stored.await.expect("readable");
    let mut acknowledged_in_all = 0;
    for (partition, found) in stored.iter().enumerate() {
        for (index, (offset, _)) in found.iter().enumerate() {
            assert_eq!(*offset, index as i64, "partition {partition} has no gap");
        }
        for ((number, of), values) in world.acknowledged.borrow().iter() {
            if *of != partition as i32 {
                continue;
            }
            assert!(values.is_sorted_by_key(|(offset, _)| *offset), "in order");
            acknowledged_in_all += values.len();
            for (offset, value) in values {
                let there = found.get(*offset as usize).map(|(_, value)| value);
                assert_eq!(
                    there,
                    Some(value),
                    "producer {number}, {TOPIC}-{partition} at {offset}"
                );
            }
        }
        for (offset, value) in world.seen.borrow().get(&(partition as i32)).into_iter().flatten() {
            let there = found.get(*offset as usize).map(|(_, value)| value);
            assert_eq!(
                there,
                Some(value),
                "a consumer read {TOPIC}-{partition} at {offset}"
            );
        }
    }
    // Producers send until they are acknowledged: nothing else is there.
    let there: usize = stored.iter().map(Vec::len).sum();
    assert_eq!(there, acknowledged_in_all, "each once");
    assert!(acknowledged_in_all > 50, "only {acknowledged_in_all} records");
    for number in 0..GROUPS {
        let group = format!("group-{number}");
        let acknowledged = world.committed.borrow().get(&number).copied().unwrap_or(-1);
        let found = rt::timeout(HEALED_WITHIN, async {
            loop {
                if let Some(found) = client.try_committed(&group, TOPIC).await {
                    return found;
                }
            }
        });
        let found = found.await.expect("a coordinator");
        assert!(found >= acknowledged, "{group}: {found} after {acknowledged}");
    }
    converge(world).await;
}

/// Every replica has the same bytes, in bounded time.
async fn converge(world: &World) {
    let converged = async {
        loop {
            let alike = (0..PARTITIONS).all(|partition| {
                let of = |machine: &Machine| machine.disk.durable_bytes(&log_file(partition));
                let there: Vec<_> = world.machines.iter().filter_map(of).collect();
                there.len() == REPLICAS && there.windows(2).all(|pair| pair[0] == pair[1])
            });
            if alike {
                return;
            }
            rt::sleep(LOOK_EVERY).await;
        }
    };
    rt::timeout(CONVERGED_WITHIN, converged)
        .await
        .expect("every replica comes to have the same log");
}
