//! Ten thousand partitions, ten thousand groups: brokers are killed and restarted, and everything is led, in sync and known
//! again within bounds, in bounded memory.
//!
//! The bounds end waits on a busy machine and a debug build; they are no measurements, those are in `docs/performance.md`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::broker::Broker;
use crate::cluster::{BROKERS, Cluster};
use crate::kcat::kcat;
use crate::program::{Running, prepared, run};
use crate::wire::Connection;

const TOPIC: &str = "wide";
const PARTITIONS: usize = 10_000;
/// Partitions that one request makes. Kafka takes 10,000 metadata records for one, and the topic is a record too.
const STEP: usize = 5_000;
/// Those that are written to.
const WRITTEN: [i32; 10] = [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000];
/// Rounds of the writer, of 50 ms each. Who was killed may have acknowledged records that are not heard of yet, but none so
/// much newer.
const ROUNDS_LATER: u64 = 20;
/// Of one broker: twice what a release build needs, so that what each of thousands of elections leaves behind is seen.
const MOST_MIB: u64 = 256;

const OFFSETS_TOPIC: &str = "__consumer_offsets";
const GROUPS_TOPIC: &str = "orders";
const GROUPS: usize = 10_000;
/// Clients that share the groups; each waits for one commit after the other.
const CLIENTS: usize = 32;
/// Second commits that are acknowledged before a coordinator is killed among them: some of a few thousand.
const BEFORE_THE_KILL: usize = 300;

const LED_WITHIN: Duration = Duration::from_secs(20);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// An answer about ten thousand partitions is not free, and the brokers have the same cores.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Makes a topic, or makes it larger.
const MAKE: &str = r#"
import sys
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
bootstrap, topic, before, after = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 100000})
patience = {"operation_timeout": 90, "request_timeout": 90}
if before:
    asked = admin.create_partitions([NewPartitions(topic, after)], **patience)
else:
    asked = admin.create_topics([NewTopic(topic, num_partitions=after, replication_factor=3)], **patience)
asked[topic].result()
"#;

/// Writes 0, 1, 2 ... to each of some partitions until its input ends, then waits for what is under way.
const WRITER: &str = r#"
import sys, threading
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "enable.idempotence": True, "linger.ms": 1,
    "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "topic.metadata.refresh.interval.ms": 1000, "socket.timeout.ms": 10000})
partitions = [int(one) for one in sys.argv[3:]]
def landed(error, message):
    if error is not None:
        print("failed", message.partition(), error.name(), "whole", flush=True)
    else:
        print("acked", message.partition(), message.value().decode(), "whole", flush=True)
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
number = 0
while not told.wait(0.05):
    for partition in partitions:
        producer.produce(sys.argv[2], value=str(number), partition=partition, on_delivery=landed)
    number += 1
    producer.poll(0)
producer.flush(60)
print("ended", number, "whole", flush=True)
"#;

/// The tests of this file take turns: beside each other they would starve each other's brokers on a small machine.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn python(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(prepared("python-example").join("venv/bin/python"));
    command.args(["-c", program]).args(arguments);
    command
}

/// Asks until there is what is wanted. Who has to wait says what is missing.
fn until<T>(what: &str, within: Duration, mut wanted: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + within;
    loop {
        match wanted() {
            Ok(found) => return found,
            Err(missing) => assert!(
                Instant::now() < end,
                "not within {within:?}: {what}; at last {missing}"
            ),
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

fn topic_name(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

/// What this broker says of every partition of a topic.
fn partitions(broker: &Broker, topic: &'static str) -> Result<Vec<MetadataResponsePartition>, String> {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(false);
    let asked = Connection::to(&broker.bootstrap()).and_then(|mut broker| broker.ask(12, &request));
    let told = asked.map_err(|error| format!("it does not answer: {error}"))?;
    let told = told.topics.into_iter().flat_map(|topic| topic.partitions);
    Ok(told.collect())
}

/// Until every broker but `away` says that each of so many partitions is as wanted.
fn wait_for_all(
    cluster: &Cluster,
    many: usize,
    away: Option<usize>,
    (what, within): (&str, Duration),
    wanted: impl Fn(&MetadataResponsePartition) -> bool,
) {
    let began = Instant::now();
    until(what, within, || {
        for (node, broker) in cluster.brokers.iter().enumerate() {
            if Some(node) == away {
                continue;
            }
            let told = partitions(broker, TOPIC).map_err(|why| format!("broker {node}: {why}"))?;
            let fine = told.iter().filter(|partition| wanted(partition)).count();
            if told.len() != many || fine != many {
                return Err(format!(
                    "broker {node} knows {} of {many} partitions and says it of {fine}",
                    told.len()
                ));
            }
        }
        Ok(())
    });
    println!("{many} partitions, {what}: {:?}", began.elapsed());
}

fn wait_whole(cluster: &Cluster, many: usize, what: &str) {
    wait_for_all(cluster, many, None, (what, WHOLE_WITHIN), |partition| {
        partition.leader_id.0 >= 0 && partition.isr_nodes.len() == BROKERS
    });
}

/// Led by one that lives, and out of the in-sync sets: else nothing would have to come back.
fn wait_led_without(cluster: &Cluster, away: usize, what: &str) {
    let gone = i32::try_from(away).expect("one of three");
    let led = |partition: &MetadataResponsePartition| {
        let leader = partition.leader_id.0;
        leader >= 0 && leader != gone && partition.isr_nodes.iter().all(|node| node.0 != gone)
    };
    wait_for_all(cluster, PARTITIONS, Some(away), (what, LED_WITHIN), led);
}

fn make(cluster: &Cluster, topic: &str, before: usize, after: usize) {
    let (before, after) = (before.to_string(), after.to_string());
    let bootstrap = cluster.bootstrap();
    let mut command = python(MAKE, &[bootstrap.as_str(), topic, &before, &after]);
    run(&mut command, "").success();
}

/// A process that is gone takes its peak with it, so this is asked before one ends as well.
fn memory_is_bounded(cluster: &Cluster, when: &str) {
    for (node, broker) in cluster.brokers.iter().enumerate() {
        let status =
            fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("a process of this test");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.split_whitespace().next());
        let kib: u64 = kib
            .expect("the kernel tells it")
            .parse()
            .expect("a number of KiB");
        println!("{when}, broker {node} has had {} MiB resident", kib / 1024);
        assert!(
            kib / 1024 < MOST_MIB,
            "{when}, broker {node} has had {} MiB resident, {MOST_MIB} is the bound",
            kib / 1024
        );
    }
}

/// A producer that goes on whatever happens to brokers.
struct Writer {
    program: Running,
    parsed: usize,
    /// Partition -> the newest value that was acknowledged.
    newest: BTreeMap<i32, u64>,
}

impl Writer {
    fn start(bootstrap: &str) -> Writer {
        let written = WRITTEN.map(|partition| partition.to_string());
        let mut arguments = vec![bootstrap, TOPIC];
        arguments.extend(written.iter().map(String::as_str));
        Writer {
            program: Running::until_told(&mut python(WRITER, &arguments)),
            parsed: 0,
            newest: BTreeMap::new(),
        }
    }

    /// (partition, value) of a line about an acknowledged record.
    fn acknowledged(line: &str) -> Option<(i32, u64)> {
        let (partition, value) = line
            .strip_prefix("acked ")?
            .strip_suffix(" whole")?
            .split_once(' ')?;
        Some((partition.parse().ok()?, value.parse().ok()?))
    }

    fn listen(&mut self) {
        self.program.take_lines();
        let lines = &self.program.so_far()[self.parsed..];
        self.parsed += lines.len();
        let acknowledged = lines.iter().filter_map(|line| Writer::acknowledged(line));
        self.newest.extend(acknowledged);
    }

    /// Waits until every partition that is written to acknowledges records again.
    fn goes_on(&mut self, since: &str) {
        let began = Instant::now();
        self.listen();
        let due = |newest: &u64| newest + ROUNDS_LATER;
        let due = WRITTEN.map(|partition| (partition, self.newest.get(&partition).map_or(0, due)));
        loop {
            self.listen();
            let mut silent = due.to_vec();
            silent.retain(|(partition, due)| self.newest.get(partition).is_none_or(|newest| newest < due));
            if silent.is_empty() {
                println!(
                    "written to all of {} again {:?} after {since}",
                    due.len(),
                    began.elapsed()
                );
                return;
            }
            let lines = self.program.so_far();
            assert!(
                began.elapsed() < LED_WITHIN,
                "no record is acknowledged within {LED_WITHIN:?} of {since}; partitions and the values that are due: \
                 {silent:?}; the writer said last:\n{}",
                lines[lines.len().saturating_sub(20)..].join("\n")
            );
        }
    }

    /// Ends it. Every record that was sent is acknowledged, and is read back once, at its place.
    fn audit(self, bootstrap: &str) {
        let lines = self.program.finish();
        let failed: Vec<_> = lines.iter().filter(|line| line.starts_with("failed ")).collect();
        assert!(failed.is_empty(), "the writer gave records up: {failed:?}");
        let ended = |line: &String| {
            line.strip_prefix("ended ")?
                .strip_suffix(" whole")?
                .parse::<usize>()
                .ok()
        };
        let sent = lines
            .iter()
            .find_map(ended)
            .expect("a writer that ends well says how much it sent");
        for partition in WRITTEN {
            let acknowledged = lines.iter().filter_map(|line| Writer::acknowledged(line));
            let acknowledged = acknowledged.filter(|(of, _)| *of == partition).count();
            assert_eq!(
                acknowledged, sent,
                "records of partition {partition} that are acknowledged at the end"
            );
            let number = partition.to_string();
            let from = ["-C", "-t", TOPIC, "-p", &number, "-o", "beginning", "-e"];
            let out = run(kcat(bootstrap).args(from).args(["-f", "%o %s\n"]), "").success();
            let read: Vec<&str> = out.lines().collect();
            let wanted: Vec<String> = (0..sent).map(|value| format!("{value} {value}")).collect();
            let wrong = read.iter().zip(&wanted).find(|(read, wanted)| read != wanted);
            assert!(
                wrong.is_none() && read.len() == sent,
                "of {sent} records of partition {partition} {} are read back; the first that is not at its place: {wrong:?}",
                read.len()
            );
        }
        println!(
            "{sent} records of each of {} partitions are read back",
            WRITTEN.len()
        );
    }
}

#[test]
fn ten_thousand_partitions_are_led_again_and_come_back_in_sync() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    for many in (STEP..=PARTITIONS).step_by(STEP) {
        make(&cluster, TOPIC, many - STEP, many);
        wait_whole(&cluster, many, "made, and in sync");
    }
    let bootstrap = cluster.bootstrap();
    let mut writer = Writer::start(&bootstrap);
    writer.goes_on("its start");

    let told = partitions(&cluster.brokers[0], TOPIC).expect("a broker that has answered before");
    let first = told
        .iter()
        .find(|partition| partition.partition_index == WRITTEN[0]);
    let leader = first.expect("it is among ten thousand").leader_id.0;
    let killed = usize::try_from(leader).expect("it is led");
    memory_is_bounded(&cluster, "before a kill");
    cluster.brokers[killed].kill();
    writer.goes_on("a kill of a leader");
    wait_led_without(&cluster, killed, "led again after a kill");
    cluster.brokers[killed].start_again();
    wait_whole(&cluster, PARTITIONS, "in sync again after a kill");

    let stopped = (killed + 1) % BROKERS;
    memory_is_bounded(&cluster, "before a clean stop");
    cluster.brokers[stopped].stop();
    writer.goes_on("a clean stop");
    wait_led_without(&cluster, stopped, "led again after a clean stop");
    cluster.brokers[stopped].start_again();
    wait_whole(&cluster, PARTITIONS, "in sync again after a clean start");
    writer.goes_on("the last start");
    writer.audit(&bootstrap);
    memory_is_bounded(&cluster, "at the end");
}

fn group(number: usize) -> GroupId {
    GroupId(StrBytes::from_string(format!("group-{number}")))
}

fn number_of(group: &str) -> usize {
    let number = group.strip_prefix("group-").map(str::parse::<usize>);
    number
        .expect("a group of this test")
        .expect("a group of this test")
}

fn first_commit(group: usize) -> i64 {
    1 + group as i64
}

fn commits_twice(group: usize) -> bool {
    group.is_multiple_of(3)
}

fn last_commit(group: usize) -> i64 {
    let more = if commits_twice(group) { GROUPS as i64 } else { 0 };
    first_commit(group) + more
}

/// One that commits for many groups, and asks for their offsets.
struct Client {
    brokers: Vec<String>,
    connections: BTreeMap<String, Connection>,
}

impl Client {
    fn ask<R: Request>(&mut self, broker: &str, version: i16, request: &R) -> Result<R::Response, String> {
        let told = |error: io::Error| format!("{broker} does not answer: {error}");
        let connection = match self.connections.entry(broker.to_string()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(Connection::to(broker).map_err(told)?),
        };
        let answer = connection.ask(version, request).map_err(told);
        if answer.is_err() {
            self.connections.remove(broker);
        }
        answer
    }

    /// Coordinator -> its groups, of those that have one now.
    fn coordinators(&mut self, groups: &BTreeSet<usize>) -> Result<BTreeMap<String, Vec<usize>>, String> {
        let keys = groups.iter().map(|number| group(*number).0).collect();
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let brokers = self.brokers.clone();
        let answer = brokers
            .iter()
            .find_map(|broker| self.ask(broker, 4, &request).ok());
        let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for one in answer.ok_or("no broker says who coordinates")?.coordinators {
            if one.error_code == 0 {
                let coordinator = format!("{}:{}", one.host, one.port);
                found.entry(coordinator).or_default().push(number_of(&one.key));
            }
        }
        Ok(found)
    }

    /// Has `each` done for groups by their coordinators, and once more for those that it leaves.
    fn at_coordinators(
        mut self,
        what: &str,
        groups: impl Iterator<Item = usize>,
        each: impl Fn(&mut Client, &str, &[usize], &mut BTreeSet<usize>) -> Result<(), String>,
    ) {
        let mut left: BTreeSet<usize> = groups.collect();
        until(what, ANSWERED_WITHIN, || {
            let mut why = "no broker coordinates them".to_string();
            for (coordinator, own) in self.coordinators(&left)? {
                if let Err(trouble) = each(&mut self, &coordinator, &own, &mut left) {
                    why = trouble;
                }
            }
            match left.len() {
                0 => Ok(()),
                many => Err(format!("{many} groups of one client are left: {why}")),
            }
        });
    }
}

/// Commits one after the other up to one that is refused: its coordinator has to be found anew. What is acknowledged is taken
/// from `left` and counted.
fn commit(
    client: &mut Client,
    coordinator: &str,
    own: &[usize],
    left: &mut BTreeSet<usize>,
    offset_of: fn(usize) -> i64,
    acknowledged: &AtomicUsize,
) -> Result<(), String> {
    for number in own {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset_of(*number));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(GROUPS_TOPIC))
            .with_partitions(vec![partition]);
        // Of no member and no generation: that is the default.
        let request = OffsetCommitRequest::default()
            .with_group_id(group(*number))
            .with_topics(vec![topic]);
        let answer = client.ask(coordinator, 8, &request)?;
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let codes: Vec<i16> = codes.map(|partition| partition.error_code).collect();
        if codes != [0] {
            return Err(format!("{coordinator} answers group-{number} codes {codes:?}"));
        }
        left.remove(number);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Asks for all of them at once. An offset that is told must be the last one that was acknowledged.
fn compare(
    client: &mut Client,
    coordinator: &str,
    own: &[usize],
    left: &mut BTreeSet<usize>,
) -> Result<(), String> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name(GROUPS_TOPIC))
        .with_partition_indexes(vec![0]);
    let groups = own.iter().map(|number| {
        OffsetFetchRequestGroup::default()
            .with_group_id(group(*number))
            .with_topics(Some(vec![topic.clone()]))
    });
    let request = OffsetFetchRequest::default().with_groups(groups.collect());
    let mut refused = Ok(());
    for told in client.ask(coordinator, 8, &request)?.groups {
        let number = number_of(&told.group_id);
        let offsets = told.topics.iter().flat_map(|topic| &topic.partitions);
        let offsets: Vec<(i16, i64)> = offsets
            .map(|partition| (partition.error_code, partition.committed_offset))
            .collect();
        match offsets[..] {
            [(0, offset)] if told.error_code == 0 => {
                assert_eq!(
                    offset,
                    last_commit(number),
                    "what {coordinator} tells of group-{number}, and what was acknowledged to it last"
                );
                left.remove(&number);
            }
            _ => {
                refused = Err(format!(
                    "{coordinator} answers group-{number} code {}, partitions {offsets:?}",
                    told.error_code
                ));
            }
        }
    }
    refused
}

/// Clients that share all groups, at the same time; and something else beside them.
fn by_clients(brokers: &[String], each: impl Fn(Client, Vec<usize>) + Sync, meanwhile: impl FnOnce()) {
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut brokers = brokers.to_vec();
            brokers.rotate_left(number % BROKERS); // each asks another one first
            let client = Client {
                brokers,
                connections: BTreeMap::new(),
            };
            let own: Vec<usize> = (number..GROUPS).step_by(CLIENTS).collect();
            let each = &each;
            scope.spawn(move || each(client, own));
        }
        meanwhile();
    });
}

fn nothing_is_lost_or_gone_back(brokers: &[String], since: &str) {
    let began = Instant::now();
    let what = format!("every group's offset is told after {since}");
    by_clients(
        brokers,
        |client, own| client.at_coordinators(&what, own.into_iter(), compare),
        || {},
    );
    println!(
        "{GROUPS} groups told their offsets after {since}: {:?}",
        began.elapsed()
    );
}

#[test]
fn ten_thousand_groups_keep_what_they_committed() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    // Offsets of a topic that is not there are refused.
    make(&cluster, GROUPS_TOPIC, 0, 1);
    cluster.wait_whole(GROUPS_TOPIC);
    let brokers: Vec<String> = cluster.brokers.iter().map(Broker::bootstrap).collect();
    let began = Instant::now();
    let firsts = AtomicUsize::new(0);
    let commit_first = |client: Client, own: Vec<usize>| {
        client.at_coordinators(
            "every group has committed",
            own.into_iter(),
            |client, coordinator, own, left| commit(client, coordinator, own, left, first_commit, &firsts),
        );
    };
    by_clients(&brokers, commit_first, || {});
    println!("{GROUPS} groups have committed: {:?}", began.elapsed());

    cluster.wait_whole(OFFSETS_TOPIC);
    let told = partitions(&cluster.brokers[0], OFFSETS_TOPIC).expect("a broker that has answered before");
    let led = |node: &usize| {
        told.iter()
            .filter(|partition| usize::try_from(partition.leader_id.0) == Ok(*node))
            .count()
    };
    let victim = (0..BROKERS).max_by_key(led).expect("three brokers");
    let seconds = AtomicUsize::new(0);
    let commit_again = |client: Client, own: Vec<usize>| {
        client.at_coordinators(
            "groups commit again while their coordinator is killed",
            own.into_iter().filter(|number| commits_twice(*number)),
            |client, coordinator, own, left| commit(client, coordinator, own, left, last_commit, &seconds),
        );
    };
    by_clients(&brokers, commit_again, || {
        until(
            "some groups have committed again",
            ANSWERED_WITHIN,
            || match seconds.load(Ordering::Relaxed) {
                enough if enough >= BEFORE_THE_KILL => Ok(()),
                so_far => Err(format!("{so_far} of {BEFORE_THE_KILL} have")),
            },
        );
        cluster.brokers[victim].kill();
    });
    nothing_is_lost_or_gone_back(&brokers, "a kill of a coordinator");

    cluster.brokers[victim].start_again();
    cluster.wait_whole(OFFSETS_TOPIC);
    for node in 0..BROKERS {
        cluster.brokers[node].stop();
        cluster.brokers[node].start_again();
        cluster.wait_whole(OFFSETS_TOPIC);
    }
    nothing_is_lost_or_gone_back(&brokers, "a restart of all brokers in turn");
}
