//! A life: clients of a cluster of three or five brokers, while everything happens to its processes, disks, power, clocks
//! and network that can (`faults.rs`). Checked: what was acknowledged is there, once and in order; what a consumer has read
//! stays; high watermarks and committed offsets never go back; an epoch has one leader (`watch.rs`); what the administrator
//! was told is there (`ledger.rs`); once all faults are over everybody gets answers in bounded time, and all brokers come to
//! hold and to say the same (`converged.rs`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use broker::node::TestSwitches;
use broker::rt;

use crate::client::batch_of;
use crate::converged::converge;
use crate::faults::{Fault, befall, some_time};
use crate::ledger::{Ledger, administer};
use crate::machine::Machine;
use crate::routed::Routed;
use crate::watch::{Watched, led_twice, watch};

pub(crate) const TOPIC: &str = "orders";
pub(crate) const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 6;
const READERS: usize = 3;
const GROUPS: usize = 3;
const WATCHERS: usize = 2;
pub(crate) const OFFSETS_PARTITIONS: i32 = 3;
/// Replicas of each partition.
pub(crate) const REPLICAS: usize = 3;
/// Virtual: after the last fault.
const HEALED_WITHIN: Duration = Duration::from_secs(300);
/// Padding of a record, at most: of some lives, whose segments are full now and then, and of all others.
const MUCH_PADDING: u64 = 6_000;
const PADDING: u64 = 300;

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
    pub(crate) watched: Watched,
    pub(crate) ledger: RefCell<Ledger>,
    padding: u64,
}

impl World {
    pub(crate) async fn start(seed: u64) -> World {
        World::start_with(seed, |_| ()).await
    }

    pub(crate) async fn start_with(seed: u64, fault: fn(&mut TestSwitches)) -> World {
        let shards = if seed.is_multiple_of(2) { 1 } else { 2 };
        let brokers = if seed % 4 == 3 { 5 } else { 3 };
        // Segments that are closed by age are many, those that are closed by size few.
        let roll_ms = if seed % 3 == 1 { "2000" } else { "604800000" };
        let machines: Vec<Machine> = Machine::several(brokers, shards)
            .into_iter()
            .map(|machine| {
                machine
                    .with_three_replicas()
                    .with("offsets.topic.replication.factor", "3")
                    .with("offsets.topic.num.partitions", &OFFSETS_PARTITIONS.to_string())
                    .with("replica.lag.time.max.ms", "5000")
                    .with("log.flush.offset.checkpoint.interval.ms", "500")
                    .with("log.segment.bytes", "1048576")
                    .with("log.roll.ms", roll_ms)
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
            watched: Watched::default(),
            ledger: RefCell::default(),
            padding: if seed % 6 == 5 { MUCH_PADDING } else { PADDING },
        };
        world.client().create(TOPIC, PARTITIONS).await;
        world
    }

    pub(crate) fn client(&self) -> Routed {
        let addresses = self.machines.iter().map(Machine::address);
        Routed::new(addresses.collect()).beside(self.faults.clone())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    pub(crate) fn count(&self, client: &Routed) {
        let mut tally = self.tally.get();
        tally += client.tally;
        self.tally.set(tally);
    }

    /// A fault begins, or it is over.
    fn turn(&self) {
        self.faults.update(|faults| faults + 1);
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
    actors.extend((0..WATCHERS).map(|_| rt::spawn(watch(world.clone()))));
    for number in 0..many {
        rt::sleep(Duration::from_micros(500_000 + rt::random_u64() % 3_000_000)).await;
        world.turn();
        befall(&world.machines, faults, seed, number).await;
        world.turn();
        led_once(&world);
    }
    rt::sleep(Duration::from_secs(2)).await;
    world.over.set(true);
    for actor in actors {
        rt::timeout(HEALED_WITHIN, actor)
            .await
            .expect("a healed cluster answers everybody");
    }
    for machine in &world.machines {
        assert_eq!(machine.disk.violations(), Vec::<String>::new(), "promises");
    }
    led_once(&world);
    check(&world).await;
    converge(&world).await;
    let (epochs, partitions) = world.watched.seen();
    assert!(
        epochs >= PARTITIONS as usize && partitions == PARTITIONS as usize,
        "watched"
    );
    world.tally.get()
}

/// Looked at again and again: where two lead, nobody may get answers any more.
fn led_once(world: &World) {
    let disks = world.machines.iter().map(|machine| &machine.disk);
    assert_eq!(led_twice(disks), Vec::<String>::new(), "leaders of one epoch");
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
        let padding = "x".repeat((rt::random_u64() % world.padding) as usize);
        let values: Vec<String> = (0..many)
            .map(|index| format!("producer-{number}-{}-{padding}", count + index))
            .collect();
        count += many;
        let sequence = &mut sequences[partition as usize];
        let batch = batch_of(&values, Some((identity, *sequence)));
        let base = client.produce(TOPIC, partition, batch).await;
        *sequence += many as i32;
        let mut acknowledged = world.acknowledged.borrow_mut();
        let of_partition = acknowledged.entry((number, partition)).or_default();
        of_partition.extend((base..).zip(values));
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
        let before = world.watched.committed(partition);
        let Some((leads, found)) = client.try_fetch(TOPIC, partition, *position).await else {
            continue;
        };
        world
            .watched
            .fetched(partition, &before, (leads.epoch, found.high_watermark));
        let mut seen = world.seen.borrow_mut();
        let of_partition = seen.entry(partition).or_default();
        for (offset, value) in found.values {
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
        let seen = world.seen.borrow();
        let seen = seen.get(&(partition as i32));
        assert!(
            seen.is_some_and(|seen| !seen.is_empty()),
            "{TOPIC}-{partition} was never read"
        );
        for (offset, value) in seen.into_iter().flatten() {
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
        let acknowledged = world.committed.borrow().get(&number).copied();
        let acknowledged = acknowledged.unwrap_or_else(|| panic!("{group} never committed"));
        let found = rt::timeout(HEALED_WITHIN, async {
            loop {
                if let Some(found) = client.try_committed(&group, TOPIC).await {
                    return found;
                }
            }
        });
        let found = found.await.expect("a coordinator");
        assert!(
            found >= acknowledged,
            "the offset of {group} went back: {found} after {acknowledged}"
        );
    }
}
