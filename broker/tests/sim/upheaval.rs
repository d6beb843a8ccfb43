//! Everything about a cluster changes in one life, while brokers are killed: a broker comes and goes, disks are replaced by
//! empty ones, partitions are moved and moves are given up, voters are removed and added. Checked: nothing acknowledged is
//! lost, no move is stuck, every voter votes at the end and nobody else is a member, and every replica has the same log.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use broker::quorum::FORGOTTEN_AFTER;
use broker::rt;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsRequestTopic,
    AlterPartitionReassignmentsRequestTopicPartition,
};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopic, DescribeQuorumRequestTopicPartition,
    DescribeQuorumResponseTopicPartition,
};
use protocol::messages::elect_leaders::ElectLeadersRequest;
use protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use protocol::messages::metadata::MetadataRequest;
use protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use protocol::messages::unregister_broker::UnregisterBrokerRequest;
use protocol::{ErrorCode, Request, Str};

use crate::client::{Client, batch_of};
use crate::machine::Machine;
use crate::routed::Routed;
use crate::seeds::with_seeds;
use crate::voters::{add_request, directory, voters};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
const REPLICAS: usize = 3;
const PRODUCERS: usize = 3;
/// The first five vote; the sixth comes and goes.
const VOTERS: u8 = 5;
const GUEST: u8 = 6;
const STEPS: usize = 8;
/// Virtual: for one step among kills, and for everything after the last one.
const STEP_WITHIN: Duration = Duration::from_secs(240);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A partition: its topic and number.
type Place = (String, i32);

/// Offset and value.
type Stored = (i64, String);

/// Where a partition is, as a broker says.
#[derive(Clone, Debug)]
struct Placed {
    leader: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
}

struct World {
    /// By node id; another one after a disk was replaced.
    machines: RefCell<BTreeMap<u8, Rc<Machine>>>,
    over: Cell<bool>,
    /// Whom a step starts or stops just now, and whom the killer does: neither touches the other's.
    held: Cell<Option<u8>>,
    victim: Cell<Option<u8>>,
    /// Nothing is moved: a disk is about to be given up, and its copies must be elsewhere.
    still: Cell<bool>,
    acknowledged: RefCell<BTreeMap<(usize, i32), Vec<Stored>>>,
    moves: Cell<usize>,
    given_up: Cell<usize>,
    /// Voters that were removed.
    removed: Cell<usize>,
}

fn machine(host: u8) -> Machine {
    let machine = Machine::new(host, 1)
        .with("cluster.id", "simulated")
        .with_three_replicas()
        .with("offsets.topic.replication.factor", "3")
        .with("offsets.topic.num.partitions", "2")
        .with("replica.lag.time.max.ms", "5000");
    if host == GUEST {
        return machine.with(
            "controller.quorum.bootstrap.servers",
            "10.0.0.1:9646,10.0.0.2:9646,10.0.0.3:9646",
        );
    }
    let list: Vec<String> = (1..=VOTERS)
        .map(|host| format!("{host}@10.0.0.{host}:9646"))
        .collect();
    machine
        .with("controller.quorum.voters", &list.join(","))
        .with("controller.quorum.auto.join.enable", "true")
}

impl World {
    fn of(&self, host: u8) -> Option<Rc<Machine>> {
        self.machines.borrow().get(&host).cloned()
    }

    fn all(&self) -> Vec<Rc<Machine>> {
        self.machines.borrow().values().cloned().collect()
    }

    fn running(&self) -> Vec<Rc<Machine>> {
        let mut running = self.all();
        running.retain(|machine| machine.is_running());
        running
    }

    /// One that runs, by seed.
    async fn any(&self) -> Rc<Machine> {
        loop {
            let running = self.running();
            if !running.is_empty() {
                return running[rt::random_u64() as usize % running.len()].clone();
            }
            rt::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks anybody, once.
    async fn ask<R>(&self, version: i16, request: &R) -> Option<R::Response>
    where
        R: Request<Response: Debug> + Debug,
    {
        let machine = self.any().await;
        let mut client = Client::connect(machine.address()).await.ok()?;
        client.call(version, request).await.ok()
    }

    /// Asks until it is as wanted.
    async fn until<T>(&self, what: &str, within: Duration, mut wanted: impl AsyncFnMut() -> Option<T>) -> T {
        let asked = async {
            loop {
                if let Some(found) = wanted().await {
                    return found;
                }
                rt::sleep(LOOK_EVERY).await;
            }
        };
        match rt::timeout(within, asked).await {
            Ok(found) => found,
            Err(_) => panic!("not within {within:?}: {what}"),
        }
    }

    async fn placed(&self) -> Option<BTreeMap<Place, Placed>> {
        let request = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        let answer = self.ask(12, &request).await?;
        let mut placed = BTreeMap::new();
        for topic in answer.topics {
            let name = topic.name.as_deref().unwrap_or_default().to_string();
            for partition in topic.partitions {
                let at = Placed {
                    leader: partition.leader_id,
                    replicas: partition.replica_nodes,
                    isr: partition.isr_nodes,
                };
                placed.insert((name.clone(), partition.partition_index), at);
            }
        }
        Some(placed)
    }

    async fn moving(&self) -> Option<usize> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: 5_000,
            topics: None,
        };
        let answer = self.ask(0, &request).await?;
        (answer.error_code == 0).then_some(answer.topics.len())
    }

    /// Nothing moves, and every replica is in sync.
    async fn settled(&self, within: Duration) -> BTreeMap<Place, Placed> {
        self.until("all replicas in sync and no move under way", within, async || {
            let still = self.moving().await? == 0;
            let placed = self.placed().await?;
            let whole = |at: &Placed| {
                at.leader > 0 && at.isr.len() == at.replicas.len() && at.replicas.len() == REPLICAS
            };
            (still && placed.len() >= PARTITIONS as usize && placed.values().all(whole)).then_some(placed)
        })
        .await
    }

    /// Moves partitions, or gives their moves up; what each is told.
    async fn reassign(&self, moves: &[(Place, Option<Vec<i32>>)]) -> Option<Vec<ErrorCode>> {
        let topics = moves.iter().map(
            |((topic, partition), to)| AlterPartitionReassignmentsRequestTopic {
                name: Str::copy_from(topic),
                partitions: vec![AlterPartitionReassignmentsRequestTopicPartition {
                    partition_index: *partition,
                    replicas: to.clone(),
                }],
            },
        );
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: 5_000,
            topics: topics.collect(),
            ..Default::default()
        };
        let answer = self.ask(1, &request).await?;
        if answer.error_code != 0 {
            return None;
        }
        let codes = answer.responses.iter().flat_map(|topic| &topic.partitions);
        Some(
            codes
                .map(|partition| ErrorCode::from_code(partition.error_code))
                .collect(),
        )
    }

    async fn quorum(&self) -> Option<DescribeQuorumResponseTopicPartition> {
        let partition = DescribeQuorumRequestTopicPartition { partition_index: 0 };
        let topic = DescribeQuorumRequestTopic {
            topic_name: Str::from("__cluster_metadata"),
            partitions: vec![partition],
        };
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let mut answer = self.ask(2, &request).await?;
        (answer.error_code == 0).then(|| answer.topics.remove(0).partitions.remove(0))
    }

    /// Takes `host` for a step, as soon as the killer has started it again.
    async fn hold(&self, host: u8) {
        self.until("it is started again", STEP_WITHIN, async || {
            let free = self.victim.get() != Some(host);
            free.then(|| self.held.set(Some(host)))
        })
        .await;
    }
}

async fn some_time(most_ms: u64) {
    rt::sleep(Duration::from_micros(rt::random_u64() % (most_ms * 1000))).await;
}

/// An idempotent producer that sends every batch until it is acknowledged.
async fn produce(world: Rc<World>, number: usize) {
    let mut client = Routed::new(
        (1..=VOTERS)
            .filter_map(|host| Some(world.of(host)?.address()))
            .collect(),
    );
    let identity = client.producer_id().await;
    let mut sequences = [0i32; PARTITIONS as usize];
    for count in 0.. {
        if world.over.get() {
            break;
        }
        some_time(40).await;
        let partition = (rt::random_u64() % PARTITIONS as u64) as i32;
        let sequence = &mut sequences[partition as usize];
        let values = [format!("producer-{number}-{count}-{}", "x".repeat(100))];
        let batch = batch_of(&values, Some((identity, *sequence)));
        let base = client.produce(TOPIC, partition, batch).await;
        *sequence += 1;
        let mut acknowledged = world.acknowledged.borrow_mut();
        let of_partition = acknowledged.entry((number, partition)).or_default();
        of_partition.extend((base..).zip(values));
    }
}

/// Moves partitions to other brokers, gives moves up, and asks for preferred leaders.
async fn move_about(world: Rc<World>) {
    while !world.over.get() {
        some_time(2_000).await;
        if world.still.get() || world.over.get() {
            continue;
        }
        let Some(placed) = world.placed().await else {
            continue;
        };
        let place = placed
            .keys()
            .nth(rt::random_u64() as usize % placed.len().max(1))
            .cloned();
        let Some(place) = place.filter(|_| !world.still.get()) else {
            continue;
        };
        match rt::random_u64() % 6 {
            0 => {
                let request = ElectLeadersRequest {
                    election_type: 0,
                    topic_partitions: None,
                    timeout_ms: 5_000,
                };
                let _ = world.ask(2, &request).await;
            }
            1 => {
                let told = world.reassign(&[(place, None)]).await;
                if told == Some(vec![ErrorCode::None]) {
                    world.given_up.update(|many| many + 1);
                }
            }
            _ => {
                // The guest gets partitions when it comes.
                let mut nodes: Vec<i32> = (1..=i32::from(VOTERS)).collect();
                for at in (1..nodes.len()).rev() {
                    nodes.swap(at, rt::random_u64() as usize % (at + 1));
                }
                nodes.truncate(REPLICAS);
                let told = world.reassign(&[(place, Some(nodes))]).await;
                if told == Some(vec![ErrorCode::None]) {
                    world.moves.update(|many| many + 1);
                }
            }
        }
    }
}

/// Removes voters and adds them again.
async fn revote(world: Rc<World>) {
    while !world.over.get() {
        some_time(6_000).await;
        let Some(quorum) = world.quorum().await else {
            continue;
        };
        let voting = voters(&quorum);
        if voting.len() == usize::from(VOTERS) {
            let node = voting[rt::random_u64() as usize % voting.len()];
            let Some(directory) = directory(&quorum, node) else {
                continue;
            };
            let request = RemoveRaftVoterRequest {
                cluster_id: Some(Str::from("simulated")),
                voter_id: node,
                voter_directory_id: directory,
            };
            let told = world.ask(0, &request).await;
            if told.is_some_and(|told| told.error_code == 0) {
                world.removed.update(|many| many + 1);
            }
        } else {
            let absent = (1..=i32::from(VOTERS)).find(|node| !voting.contains(node));
            let known = absent.and_then(|node| Some((node, directory(&quorum, node)?)));
            if let Some((node, directory)) = known {
                let request = add_request(node, directory);
                // It may be a voter again by itself.
                let _ = world.ask(1, &request).await;
            }
        }
    }
}

/// Kills brokers, or takes their power away, one after the other.
async fn kill(world: Rc<World>, seed: u64) {
    for number in 0.. {
        some_time(6_000).await;
        if world.over.get() {
            break;
        }
        let victim = world.any().await;
        if world.held.get() == Some(victim.host()) || !victim.is_running() {
            continue;
        }
        world.victim.set(Some(victim.host()));
        match rt::random_u64() % 3 {
            0 => victim.stop().await,
            1 => victim.kill(),
            _ => victim.power_off(seed.wrapping_mul(31) + number),
        }
        some_time(4_000).await;
        victim.start().await;
        world.victim.set(None);
    }
}

/// A broker loses its disk, and another one takes its place with an empty one.
async fn replace(world: &World, host: u8) {
    world.still.set(true);
    world.settled(STEP_WITHIN).await;
    world.hold(host).await;
    let old = world.of(host).expect("it is there");
    old.kill();
    let new = Rc::new(machine(host));
    world.machines.borrow_mut().insert(host, new.clone());
    some_time(3_000).await;
    new.start().await;
    world.held.set(None);
    world.settled(STEP_WITHIN).await;
    world.still.set(false);
}

/// A sixth broker comes, gets partitions, gives them back, and is no more.
async fn come_and_go(world: &World) {
    let guest = Rc::new(machine(GUEST));
    world.held.set(Some(GUEST));
    world.machines.borrow_mut().insert(GUEST, guest.clone());
    guest.start().await;
    world.held.set(None);
    let node = i32::from(GUEST);
    world.still.set(true);
    let placed = world.settled(STEP_WITHIN).await;
    let with_guest = |at: &Placed| [node, at.replicas[0], at.replicas[1]].to_vec();
    let moves: Vec<(Place, Option<Vec<i32>>)> = placed
        .iter()
        .step_by(2)
        .map(|(place, at)| (place.clone(), Some(with_guest(at))))
        .collect();
    world
        .until("partitions move to the new broker", STEP_WITHIN, async || {
            world.reassign(&moves).await
        })
        .await;
    world.settled(STEP_WITHIN).await;
    some_time(2_000).await;
    let without = |at: &Placed| {
        let mut left: Vec<i32> = at
            .replicas
            .iter()
            .copied()
            .filter(|replica| *replica != node)
            .collect();
        let other = (1..node).find(|other| !left.contains(other));
        left.extend(other);
        left
    };
    world
        .until("it has none left", STEP_WITHIN, async || {
            let placed = world.settled(STEP_WITHIN).await;
            let moves: Vec<(Place, Option<Vec<i32>>)> = placed
                .iter()
                .filter(|(_, at)| at.replicas.contains(&node))
                .map(|(place, at)| (place.clone(), Some(without(at))))
                .collect();
            if moves.is_empty() {
                return Some(());
            }
            world.reassign(&moves).await;
            None
        })
        .await;
    world.hold(GUEST).await;
    guest.stop().await;
    world.machines.borrow_mut().remove(&GUEST);
    world.held.set(None);
    let request = UnregisterBrokerRequest { broker_id: node };
    world
        .until("it is no member any more", STEP_WITHIN, async || {
            let answer = world.ask(0, &request).await?;
            let code = ErrorCode::from_code(answer.error_code);
            [ErrorCode::None, ErrorCode::BrokerIdNotRegistered]
                .contains(&code)
                .then_some(())
        })
        .await;
    world.still.set(false);
}

/// What every life ends with.
async fn check(world: &World, seed: u64) {
    world.settled(SETTLED_WITHIN).await;
    world
        .until("every voter votes", SETTLED_WITHIN, async || {
            let quorum = world.quorum().await?;
            let all: Vec<i32> = (1..=i32::from(VOTERS)).collect();
            (voters(&quorum) == all).then_some(())
        })
        .await;
    // Who was unregistered is an observer until it was silent for long.
    world
        .until(
            "nobody observes only",
            FORGOTTEN_AFTER + SETTLED_WITHIN,
            async || {
                let observers = world.quorum().await?.observers;
                observers.is_empty().then_some(())
            },
        )
        .await;
    let mut client = Routed::new(world.running().iter().map(|machine| machine.address()).collect());
    let mut there = 0;
    let mut acknowledged_in_all = 0;
    for partition in 0..PARTITIONS {
        let found = loop {
            if let Some(found) = client.try_read(TOPIC, partition, 0).await {
                break found;
            }
        };
        there += found.len();
        for ((number, of), values) in world.acknowledged.borrow().iter() {
            if *of != partition {
                continue;
            }
            acknowledged_in_all += values.len();
            for (offset, value) in values {
                assert_eq!(
                    found.get(*offset as usize),
                    Some(&(*offset, value.clone())),
                    "seed {seed}: producer {number}, {TOPIC}-{partition}"
                );
            }
        }
    }
    assert_eq!(there, acknowledged_in_all, "each once");
    assert!(there > 200, "only {there} records");
    world
        .until("replicas alone hold logs, alike", SETTLED_WITHIN, async || {
            // Asked again each time: who decided on a last move may have told nobody in time.
            let placed = world.placed().await?;
            for ((topic, partition), at) in placed.iter().filter(|((topic, _), _)| topic == TOPIC) {
                let file: PathBuf = format!("/data/{topic}-{partition}/{:020}.log", 0).into();
                let machines = world.all();
                let held = |machine: &Rc<Machine>| {
                    let log = machine.disk.durable_bytes(&file)?;
                    Some((i32::from(machine.host()), log))
                };
                let logs: Vec<(i32, Vec<u8>)> = machines.iter().filter_map(held).collect();
                let alike = logs.windows(2).all(|pair| pair[0].1 == pair[1].1);
                let replicas_only = logs.iter().all(|(node, _)| at.replicas.contains(node));
                if !alike || !replicas_only || logs.len() != at.replicas.len() {
                    return None;
                }
            }
            Some(())
        })
        .await;
    for machine in world.all() {
        assert_eq!(machine.disk.violations(), Vec::<String>::new(), "promises");
    }
}

async fn upheaval(seed: u64) {
    let machines: BTreeMap<u8, Rc<Machine>> =
        (1..=VOTERS).map(|host| (host, Rc::new(machine(host)))).collect();
    futures::future::join_all(machines.values().map(|machine| machine.start())).await;
    let world = Rc::new(World {
        machines: RefCell::new(machines),
        over: Cell::new(false),
        held: Cell::new(None),
        victim: Cell::new(None),
        still: Cell::new(false),
        acknowledged: RefCell::default(),
        moves: Cell::new(0),
        given_up: Cell::new(0),
        removed: Cell::new(0),
    });
    let addresses = world.all().iter().map(|machine| machine.address()).collect();
    let mut client = Routed::new(addresses);
    client.create(TOPIC, PARTITIONS).await;
    // The offsets topic is one of those that move.
    while !client.try_commit("readers", TOPIC, 1).await {}
    let mut actors: Vec<_> = (0..PRODUCERS)
        .map(|number| rt::spawn(produce(world.clone(), number)))
        .collect();
    actors.push(rt::spawn(move_about(world.clone())));
    actors.push(rt::spawn(revote(world.clone())));
    actors.push(rt::spawn(kill(world.clone(), seed)));
    for step in 0..STEPS {
        some_time(6_000).await;
        let host = 1 + (rt::random_u64() % u64::from(VOTERS)) as u8;
        match step % 4 {
            // In every life, and twice.
            0 => replace(&world, host).await,
            2 => come_and_go(&world).await,
            _ => {}
        }
    }
    world.over.set(true);
    for actor in actors {
        rt::timeout(STEP_WITHIN, actor)
            .await
            .expect("a healed cluster answers everybody");
    }
    check(&world, seed).await;
    let (moves, given_up, removed) = (world.moves.get(), world.given_up.get(), world.removed.get());
    println!("seed {seed}: {moves} moves begun, {given_up} given up, {removed} voters removed");
    assert!(
        moves > 5 && removed > 0,
        "{moves} moves, {removed} voters removed"
    );
}

#[test]
fn everything_about_a_cluster_changes_while_brokers_are_killed() {
    with_seeds(3, upheaval);
}
