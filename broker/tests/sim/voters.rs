//! Members of the metadata quorum come and go: one voter becomes three, an emptied disk gets its vote back, requests add and
//! remove voters, who is cut off from the majority says so, and observers that are no brokers are forgotten.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use broker::quorum::FORGOTTEN_AFTER;
use broker::rt;
use broker::rt::net::TcpStream;
use broker::rt::recorder::Recorder;
use bytes::Bytes;
use futures::future::{Either, select};
use protocol::messages::add_raft_voter::AddRaftVoterRequest;
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopic, DescribeQuorumRequestTopicPartition,
    DescribeQuorumResponse, DescribeQuorumResponseTopicPartition,
};
use protocol::messages::metadata::MetadataRequest;
use protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use protocol::messages::unregister_broker::UnregisterBrokerRequest;
use protocol::{ErrorCode, Str};

use crate::client::{batch_of, metadata_request};
use crate::cluster::{create, start_all, three_with};
use crate::machine::Machine;
use crate::routed::Routed;
use crate::seeds::with_seeds;

const HTTP_PORT: u16 = 9645;
const AUTO_JOIN: &str = "controller.quorum.auto.join.enable";

async fn ask(machine: &Machine) -> Option<DescribeQuorumResponse> {
    let partition = DescribeQuorumRequestTopicPartition { partition_index: 0 };
    let topic = DescribeQuorumRequestTopic {
        topic_name: Str::from("__cluster_metadata"),
        partitions: vec![partition],
    };
    let request = DescribeQuorumRequest { topics: vec![topic] };
    machine.client().await.call(2, &request).await.ok()
}

pub(crate) async fn described(machine: &Machine) -> Option<DescribeQuorumResponseTopicPartition> {
    let mut answer = ask(machine).await?;
    let code = ErrorCode::from_code(answer.error_code);
    if code != ErrorCode::None {
        assert!(code.retriable(), "{code:?}: {:?}", answer.error_message);
        return None;
    }
    Some(answer.topics.remove(0).partitions.remove(0))
}

/// Asks until the quorum is as wanted.
async fn until(
    machine: &Machine,
    what: &str,
    wanted: impl Fn(&DescribeQuorumResponseTopicPartition) -> bool,
) -> DescribeQuorumResponseTopicPartition {
    let mut last = None;
    for _ in 0..200 {
        if let Some(quorum) = described(machine).await {
            if wanted(&quorum) {
                return quorum;
            }
            last = Some(quorum);
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: {last:#?}");
}

pub(crate) fn voters(quorum: &DescribeQuorumResponseTopicPartition) -> Vec<i32> {
    let mut voters: Vec<i32> = quorum
        .current_voters
        .iter()
        .map(|voter| voter.replica_id)
        .collect();
    voters.sort_unstable();
    voters
}

pub(crate) fn directory(quorum: &DescribeQuorumResponseTopicPartition, node: i32) -> Option<[u8; 16]> {
    let voters = quorum
        .current_voters
        .iter()
        .map(|it| (it.replica_id, it.replica_directory_id));
    let observers = quorum
        .observers
        .iter()
        .map(|it| (it.replica_id, it.replica_directory_id));
    voters
        .chain(observers)
        .find(|(id, _)| *id == node)
        .map(|(_, it)| it)
}

pub(crate) fn add_request(node: i32, directory: [u8; 16]) -> AddRaftVoterRequest {
    AddRaftVoterRequest {
        cluster_id: Some(Str::from("simulated")),
        timeout_ms: 5_000,
        voter_id: node,
        voter_directory_id: directory,
        ..Default::default()
    }
}

async fn add(through: &Machine, node: i32, directory: [u8; 16]) -> (ErrorCode, String) {
    let request = add_request(node, directory);
    let answer = through.client().await.call(1, &request).await.expect("an answer");
    let words = answer.error_message.as_deref().unwrap_or_default().to_string();
    (ErrorCode::from_code(answer.error_code), words)
}

pub(crate) async fn remove(through: &Machine, node: i32, directory: [u8; 16]) -> (ErrorCode, String) {
    let request = RemoveRaftVoterRequest {
        cluster_id: Some(Str::from("simulated")),
        voter_id: node,
        voter_directory_id: directory,
    };
    let answer = through.client().await.call(0, &request).await.expect("an answer");
    let words = answer.error_message.as_deref().unwrap_or_default().to_string();
    (ErrorCode::from_code(answer.error_code), words)
}

fn accepted(answered: (ErrorCode, String)) {
    assert_eq!(answered.0, ErrorCode::None, "{}", answered.1);
}

/// What the health port of a machine says of its readiness.
async fn readiness(machine: &Machine) -> String {
    get(machine, "/readyz").await
}

/// What the health port of a machine answers to a GET, with its head.
pub(crate) async fn get(machine: &Machine, path: &str) -> String {
    let address = SocketAddr::new(machine.address().ip(), HTTP_PORT);
    let stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: simulated\r\nConnection: close\r\n\r\n");
    stream
        .write_all(&[Bytes::from(request)])
        .await
        .expect("a request");
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).await.is_ok() {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

/// A broker that knows of the first one, and is to get a vote.
fn joining(host: u8) -> Machine {
    Machine::new(host, 1)
        .with("cluster.id", "simulated")
        .with("controller.quorum.bootstrap.servers", "10.0.0.1:9646")
        .with("cluster.formed", "true")
        .with(AUTO_JOIN, "true")
}

/// A cluster of one that others can join, and two that do.
fn one_and_two_more() -> Vec<Machine> {
    let one = Machine::new(1, 1)
        .with("cluster.id", "simulated")
        .with("controller.quorum.voters", "1@10.0.0.1:9646");
    vec![one, joining(2), joining(3)]
}

#[test]
fn a_cluster_of_one_becomes_one_of_three() {
    with_seeds(4, |seed| async move {
        let machines = one_and_two_more();
        machines[0].start().await;
        create(&machines[0], "before").await;
        let quorum = until(&machines[0], "it leads", |_| true).await;
        assert_eq!((quorum.leader_id, voters(&quorum)), (1, vec![1]));
        start_all(&machines[1..]).await;
        let three = |quorum: &DescribeQuorumResponseTopicPartition| voters(quorum) == [1, 2, 3];
        for machine in &machines {
            until(machine, "three vote", three).await;
        }
        match seed % 2 {
            0 => machines[0].kill(),
            _ => machines[0].power_off(seed),
        }
        create(&machines[1], "after").await;
        let quorum = until(&machines[2], "another leads", |quorum| quorum.leader_id != 1).await;
        assert_eq!(voters(&quorum), [1, 2, 3]);
        machines[0].start().await;
        // The only one it knows does not lead, and says who does.
        let fourth = joining(4);
        fourth.start().await;
        until(&fourth, "the fourth votes", |quorum| {
            quorum.leader_id != 1 && voters(quorum) == [1, 2, 3, 4]
        })
        .await;
        machines[1].stop().await;
        create(&machines[0], "later").await;
    });
}

#[test]
fn a_voter_with_an_emptied_disk_gets_its_vote_back() {
    with_seeds(4, |seed| async move {
        let mut machines: Vec<Machine> = Machine::several(3, 1)
            .into_iter()
            .map(|machine| machine.with(AUTO_JOIN, "true"))
            .collect();
        start_all(&machines).await;
        create(&machines[0], "before").await;
        let before = until(&machines[0], "three vote", |quorum| voters(quorum) == [1, 2, 3]).await;
        // The leader's disk is emptied too, with some seeds.
        let wiped = (seed % 3) as usize;
        let node = wiped as i32 + 1;
        machines[wiped].kill();
        machines[wiped].disk = Arc::new(Recorder::in_memory());
        create(&machines[(wiped + 1) % 3], "meanwhile").await;
        machines[wiped].start().await;
        let other = &machines[(wiped + 1) % 3];
        let lost = directory(&before, node);
        let quorum = until(other, "it votes with its new directory", |quorum| {
            voters(quorum) == [1, 2, 3] && directory(quorum, node) != lost
        })
        .await;
        assert!(
            quorum.observers.is_empty(),
            "its older self is forgotten: {quorum:#?}"
        );
        // Its vote counts: it makes a majority with one other.
        machines[(wiped + 1) % 3].kill();
        create(&machines[wiped], "after").await;
    });
}

#[test]
fn voters_are_added_and_removed_by_request() {
    with_seeds(3, |_| async {
        let machines = three_with("before").await;
        let before = until(&machines[0], "three vote", |quorum| voters(quorum) == [1, 2, 3]).await;
        let leader = before.leader_id;
        let of = |node| directory(&before, node).expect("a member");
        let other = &machines[(leader % 3) as usize];
        let (code, _) = remove(other, leader, [9; 16]).await;
        assert_eq!(code, ErrorCode::VoterNotFound);
        let (code, _) = add(other, leader, of(leader)).await;
        assert_eq!(code, ErrorCode::DuplicateVoter);
        let (code, words) = add(other, 7, [7; 16]).await;
        assert_eq!(code, ErrorCode::RequestTimedOut);
        assert!(words.contains("is no member"), "{words}");

        accepted(remove(other, leader, of(leader)).await);
        let two = until(other, "the leader votes no more", |quorum| {
            voters(quorum).len() == 2
        })
        .await;
        assert!(two.leader_id != leader && !voters(&two).contains(&leader));
        assert_eq!(
            directory(&two, leader),
            Some(of(leader)),
            "it stays as an observer"
        );
        create(&machines[leader as usize - 1], "without-its-vote").await;

        accepted(add(&machines[leader as usize - 1], leader, of(leader)).await);
        until(other, "it votes again", |quorum| voters(quorum) == [1, 2, 3]).await;
        machines[(leader % 3) as usize].kill();
        create(&machines[leader as usize - 1], "with-it").await;
    });
}

#[test]
fn who_is_cut_off_from_the_majority_says_so_and_serves_what_it_knows() {
    with_seeds(2, |seed| async move {
        let machines = three_with("known").await;
        let left = (seed % 3) as usize;
        until(&machines[left], "all know", |quorum| {
            quorum.current_voters.len() == 3
        })
        .await;
        for (number, machine) in machines.iter().enumerate() {
            if number != left {
                machine.kill();
            }
        }
        rt::sleep(Duration::from_secs(5)).await;
        let said = readiness(&machines[left]).await;
        assert!(
            said.starts_with("HTTP/1.1 503") && said.contains("quorum"),
            "{said}"
        );
        let answer = ask(&machines[left]).await.expect("an answer");
        assert_eq!(
            ErrorCode::from_code(answer.error_code),
            ErrorCode::LeaderNotAvailable
        );
        let known = machines[left].client().await.partitions_of("known").await;
        assert_eq!(known.ok(), Some(Some(1)), "Metadata is answered");
        machines[(left + 1) % 3].start().await;
        until(&machines[left], "a majority again", |_| true).await;
        for _ in 0..100 {
            if readiness(&machines[left]).await.starts_with("HTTP/1.1 200") {
                return;
            }
            rt::sleep(Duration::from_millis(100)).await;
        }
        panic!("never ready again: {}", readiness(&machines[left]).await);
    });
}

/// So many brokers, and `orders` with as many partitions, each of which all of them have.
async fn with_orders(many: u8) -> (Vec<Machine>, Routed) {
    let machines: Vec<Machine> = Machine::several(many, 1)
        .into_iter()
        .map(|machine| machine.with("default.replication.factor", &many.to_string()))
        .collect();
    start_all(&machines).await;
    let mut client = Routed::new(machines.iter().map(Machine::address).collect());
    client.create("orders", i32::from(many)).await;
    (machines, client)
}

/// A record for each of the three partitions of `orders`, tried until it is acknowledged.
async fn produce_to_each(client: &mut Routed, value: &str) {
    for partition in 0..3 {
        while client
            .try_produce("orders", partition, batch_of(&[value.into()], None))
            .await
            .is_none()
        {}
    }
}

/// Longer than leases, election timeouts and sessions would allow, if anybody waited for them.
const AT_ONCE: Duration = Duration::from_millis(700);

#[test]
fn a_quorum_leader_that_is_killed_is_succeeded_and_fenced_at_once() {
    with_seeds(5, |_| async {
        let (machines, mut client) = with_orders(3).await;
        produce_to_each(&mut client, "before").await;
        let quorum = until(&machines[0], "it leads", |_| true).await;
        rt::sleep(Duration::from_secs(1)).await;
        let left = machines.iter().enumerate();
        let left = left.filter(|(number, _)| *number as i32 + 1 != quorum.leader_id);
        let mut client = Routed::new(left.map(|(_, machine)| machine.address()).collect());
        machines[quorum.leader_id as usize - 1].kill();
        let killed = rt::now();
        produce_to_each(&mut client, "after").await;
        let gap = rt::now() - killed;
        assert!(gap < AT_ONCE, "{gap:?} until all partitions had a leader again");
    });
}

#[test]
fn a_broker_that_ends_right_after_its_quorum_leader_is_fenced_at_once_too() {
    with_seeds(5, |_| async {
        // Kept, so that no connection ends but those of the brokers that do.
        let (machines, _client) = with_orders(5).await;
        let quorum = until(&machines[0], "it leads", |_| true).await;
        rt::sleep(Duration::from_secs(2)).await;
        let first = quorum.leader_id;
        machines[first as usize - 1].kill();
        let watching = &machines[first as usize % 5];
        let next = until(watching, "another leads", |quorum| quorum.leader_id != first).await;
        let second = (1..=5).find(|node| ![first, next.leader_id, i32::from(watching.host())].contains(node));
        let second = second.expect("five brokers");
        // Long enough for a connection, and not for the next heartbeat that is due.
        rt::sleep(Duration::from_millis(300)).await;
        machines[second as usize - 1].kill();
        led_by_others(watching, &[first, second], AT_ONCE).await;
    });
}

/// Waits until no partition of `orders` is led by `gone`, as `machine` knows it, which takes no longer than `within`.
async fn led_by_others(machine: &Machine, gone: &[i32], within: Duration) {
    let began = rt::now();
    let mut client = machine.client().await;
    let request = metadata_request("orders");
    loop {
        let told = client.call(12, &request).await.expect("it serves");
        let mut leaders = told.topics[0]
            .partitions
            .iter()
            .map(|partition| partition.leader_id);
        if leaders.all(|leader| leader >= 0 && !gone.contains(&leader)) {
            break;
        }
        rt::sleep(Duration::from_millis(20)).await;
    }
    let gap = rt::now() - began;
    assert!(gap < within, "{gap:?} until all partitions had a leader again");
}

/// A session of 3 s, and of the lease and the election before only what is not part of it.
const PAUSED: Duration = Duration::from_secs(4);

#[test]
fn a_quorum_leader_that_is_paused_costs_little_more_than_its_session() {
    with_seeds(5, |_| async {
        let (machines, mut client) = with_orders(3).await;
        produce_to_each(&mut client, "before").await;
        let quorum = until(&machines[0], "it leads", |_| true).await;
        rt::sleep(Duration::from_secs(1)).await;
        let stopped = quorum.leader_id;
        machines[stopped as usize - 1].process().pause();
        led_by_others(&machines[stopped as usize % 3], &[stopped], PAUSED).await;
    });
}

/// A broker that has no vote and wants none.
fn observer(host: u8) -> Machine {
    Machine::new(host, 1)
        .with("cluster.id", "simulated")
        .with(
            "controller.quorum.bootstrap.servers",
            "10.0.0.1:9646,10.0.0.2:9646,10.0.0.3:9646",
        )
        .with("cluster.formed", "true")
}

/// Three voters, and broker 4 that observes.
async fn three_and_an_observer() -> Vec<Machine> {
    let mut machines = Machine::several(3, 1);
    machines.push(observer(4));
    start_all(&machines).await;
    until(&machines[0], "broker 4 observes", |quorum| {
        voters(quorum) == [1, 2, 3] && observing(quorum, 4) == 1
    })
    .await;
    machines
}

/// How many observers say that they are broker `node`.
fn observing(quorum: &DescribeQuorumResponseTopicPartition, node: i32) -> usize {
    let observers = quorum.observers.iter();
    observers.filter(|observer| observer.replica_id == node).count()
}

/// Asks until `node` is no broker of the cluster any more; it must be fenced first.
async fn unregister(through: &Machine, node: i32) {
    let request = UnregisterBrokerRequest { broker_id: node };
    for _ in 0..100 {
        let answer = through.client().await.call(0, &request).await.expect("an answer");
        let code = ErrorCode::from_code(answer.error_code);
        if [ErrorCode::None, ErrorCode::BrokerIdNotRegistered].contains(&code) {
            return;
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("broker {node} is still registered");
}

/// Where clients are sent to for broker `node`.
async fn host_of(machine: &Machine, node: i32) -> Option<String> {
    let told = machine.client().await.call(12, &MetadataRequest::default()).await;
    let told = told.expect("it serves");
    let found = told.brokers.iter().find(|broker| broker.node_id == node)?;
    Some(found.host.to_string())
}

/// So much before a member is forgotten it is there still.
const A_LITTLE: Duration = Duration::from_secs(5);
/// From the start of a broker that was forgotten until it serves: it notices that no leader turns to it, and asks.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn an_unregistered_broker_is_forgotten_after_a_while_and_not_before_and_may_come_back() {
    with_seeds(4, |seed| async move {
        let machines = three_and_an_observer().await;
        let (asked, gone) = (&machines[0], &machines[3]);
        create(asked, "before").await;
        let before = until(asked, "the quorum answers", |_| true).await;
        match seed % 3 {
            0 => gone.stop().await,
            1 => gone.kill(),
            _ => gone.power_off(seed),
        }
        let silent = rt::now();
        unregister(asked, 4).await;
        rt::sleep_until(silent + (FORGOTTEN_AFTER - A_LITTLE)).await;
        let still = until(asked, "the quorum answers", |_| true).await;
        assert_eq!(observing(&still, 4), 1, "it was silent for less: {still:#?}");
        let after = until(asked, "it is forgotten", |quorum| observing(quorum, 4) == 0).await;
        assert_eq!(voters(&after), [1, 2, 3]);
        create(asked, "meanwhile").await;

        // Its disk still says that it is a member.
        let started = rt::now();
        gone.start().await;
        let took = rt::now() - started;
        assert!(took < BACK_WITHIN, "{took:?} until it served again");
        let back = until(asked, "it observes again", |quorum| observing(quorum, 4) == 1).await;
        assert_eq!(directory(&back, 4), directory(&before, 4));
        serves_at(asked, 4, "10.0.0.4").await;
        let known = gone.client().await.partitions_of("meanwhile").await;
        assert_eq!(known.ok(), Some(Some(1)), "it knows what happened without it");
        create(gone, "after").await;
    });
}

#[test]
fn a_broker_that_is_only_away_is_not_forgotten() {
    with_seeds(2, |seed| async move {
        let machines = three_and_an_observer().await;
        let (asked, away) = (&machines[0], &machines[3]);
        match seed % 2 {
            0 => away.kill(),
            _ => away.power_off(seed),
        }
        rt::sleep(FORGOTTEN_AFTER * 2).await;
        let quorum = until(asked, "the quorum answers", |_| true).await;
        assert_eq!(observing(&quorum, 4), 1, "it is registered: {quorum:#?}");
        unregister(asked, 4).await;
        until(asked, "it is forgotten", |quorum| observing(quorum, 4) == 0).await;
    });
}

/// Waits until clients are sent to `host` for broker `node`.
async fn serves_at(through: &Machine, node: i32, host: &str) {
    let mut last = None;
    for _ in 0..200 {
        last = host_of(through, node).await;
        if last.as_deref() == Some(host) {
            return;
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("broker {node} does not serve at {host}: {last:?}");
}

/// Starts a broker, and stops its process right after it has joined: it observes, and is not registered yet.
async fn join_and_hang(newcomer: &Machine, asked: &Machine) {
    let node = i32::from(newcomer.host());
    let joins = async {
        loop {
            let quorum = described(asked).await;
            if quorum.is_some_and(|quorum| observing(&quorum, node) == 1) {
                return;
            }
            rt::sleep(Duration::from_millis(5)).await;
        }
    };
    let (starts, joins) = (pin!(newcomer.try_start()), pin!(joins));
    let first = rt::timeout(Duration::from_secs(20), select(starts, joins)).await;
    assert!(matches!(first, Ok(Either::Right(_))), "it joins before it serves");
    newcomer.process().pause();
}

#[test]
fn a_newcomer_that_hangs_is_forgotten_after_a_while_and_not_before_and_joins_again() {
    with_seeds(4, |seed| async move {
        let machines = three_with("before").await;
        let asked = &machines[0];
        let newcomer = observer(4);
        join_and_hang(&newcomer, asked).await;
        rt::sleep(FORGOTTEN_AFTER - A_LITTLE).await;
        let quorum = until(asked, "the quorum answers", |_| true).await;
        assert_eq!(observing(&quorum, 4), 1, "it was silent for less: {quorum:#?}");
        assert_eq!(host_of(asked, 4).await, None, "it is no broker yet");
        if seed % 2 == 1 {
            until(asked, "it is forgotten", |quorum| observing(quorum, 4) == 0).await;
        }
        newcomer.process().resume();
        serves_at(asked, 4, "10.0.0.4").await;
        until(asked, "it observes", |quorum| observing(quorum, 4) == 1).await;
        create(&newcomer, "after").await;
    });
}

/// A second process of broker 4 is a newcomer for as long as the first one lives: it observes, and may not register.
#[test]
fn a_newcomer_that_lives_is_not_forgotten_however_long_it_waits() {
    with_seeds(2, |_| async {
        let machines = three_and_an_observer().await;
        let (asked, first) = (&machines[0], &machines[3]);
        let second = observer(5).with("node.id", "4");
        let started = rt::timeout(FORGOTTEN_AFTER + A_LITTLE * 2, second.try_start()).await;
        assert!(started.is_err(), "it has to wait: {started:?}");
        let quorum = until(asked, "the quorum answers", |_| true).await;
        assert_eq!(observing(&quorum, 4), 2, "it lives: {quorum:#?}");
        first.kill();
        serves_at(asked, 4, "10.0.0.5").await;
        until(asked, "the first one is forgotten", |quorum| {
            observing(quorum, 4) == 1
        })
        .await;
    });
}

#[test]
fn a_voter_that_was_removed_while_it_was_away_comes_back_without_its_vote() {
    with_seeds(3, |seed| async move {
        let machines = three_with("before").await;
        let before = until(&machines[0], "three vote", |quorum| voters(quorum) == [1, 2, 3]).await;
        let leader = &machines[before.leader_id as usize - 1];
        let away = &machines[before.leader_id as usize % 3];
        let node = i32::from(away.host());
        match seed % 2 {
            0 => away.kill(),
            _ => away.power_off(seed),
        }
        rt::sleep(Duration::from_secs(5)).await;
        accepted(remove(leader, node, directory(&before, node).expect("it votes")).await);
        until(leader, "it is no member", |quorum| {
            directory(quorum, node).is_none()
        })
        .await;
        let started = rt::now();
        away.start().await;
        let took = rt::now() - started;
        assert!(took < BACK_WITHIN, "{took:?} until it served again");
        let quorum = until(leader, "it observes", |quorum| observing(quorum, node) == 1).await;
        assert_eq!(voters(&quorum).len(), 2);
        create(away, "after").await;
    });
}
