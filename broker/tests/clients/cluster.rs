//! Three broker processes on addresses of their own, and a load of third-party clients that goes on while brokers come and go.
//!
//! Owns the cluster's processes and the audit at the end: what was acknowledged is there, once, in order. Leaves the faults to
//! `faults.rs`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Broker, free_port};
use crate::kcat::kcat;
use crate::program::{DEADLINE, Running, java, prepared, run};

pub(crate) const BROKERS: usize = 3;

/// A cluster of three, every topic on all of them.
pub(crate) struct Cluster {
    pub(crate) brokers: Vec<Broker>,
}

impl Cluster {
    /// All three on loopback.
    pub(crate) fn start() -> Cluster {
        Cluster::at([("127.0.0.1", None); BROKERS])
    }

    /// Each at its own address, in its own network namespace where one is named.
    pub(crate) fn at(places: [(&str, Option<&str>); BROKERS]) -> Cluster {
        let control: Vec<u16> = (0..BROKERS).map(|_| free_port()).collect();
        let voters = places
            .iter()
            .zip(&control)
            .enumerate()
            .map(|(node, ((host, _), port))| format!("{node}@{host}:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        let brokers = places.iter().enumerate().map(|(node, (host, namespace))| {
            let port = free_port();
            let settings = vec![
                format!("node.id={node}"),
                "cluster.id=three-of-a-kind".to_string(),
                format!("listeners=PLAINTEXT://{host}:{port}"),
                format!("control.listener={host}:{}", control[node]),
                format!("replication.listener={host}:{}", free_port()),
                format!("controller.quorum.voters={voters}"),
                "shards=1".to_string(),
                "default.replication.factor=3".to_string(),
                "min.insync.replicas=2".to_string(),
                "offsets.topic.replication.factor=3".to_string(),
                "replica.lag.time.max.ms=5000".to_string(),
                "group.initial.rebalance.delay.ms=0".to_string(),
            ];
            Broker::of_cluster(host, *namespace, port, settings)
        });
        let mut cluster = Cluster {
            brokers: brokers.collect(),
        };
        cluster.brokers.iter_mut().for_each(Broker::wait_ready);
        cluster
    }

    pub(crate) fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(Broker::bootstrap).collect();
        all.join(",")
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        run(
            java("tools-new", "org.apache.kafka.tools.TopicCommand")
                .args([
                    "--bootstrap-server",
                    &self.bootstrap(),
                    "--create",
                    "--topic",
                    topic,
                ])
                .args([
                    "--partitions",
                    &partitions.to_string(),
                    "--replication-factor",
                    "3",
                ]),
            "",
        )
        .success();
        self.wait_whole(topic);
    }

    /// What a broker says of one topic: (leader, number of in-sync replicas) of each partition.
    fn partitions(bootstrap: &str, topic: &str) -> Vec<(i32, usize)> {
        let listed = run(kcat(bootstrap).args(["-L", "-t", topic, "-m", "5"]), "");
        let lines = listed.stdout.lines().map(str::to_string).collect::<Vec<_>>();
        let of_partition = |line: &String| {
            let rest = line.trim().strip_prefix("partition ")?;
            let leader = rest
                .split("leader ")
                .nth(1)?
                .split(',')
                .next()?
                .trim()
                .parse()
                .ok()?;
            let isrs = rest.split("isrs: ").nth(1)?;
            let isrs = isrs.split_whitespace().next()?;
            Some((leader, isrs.split(',').count()))
        };
        lines.iter().filter_map(of_partition).collect()
    }

    /// Node that leads a topic's first partition now.
    pub(crate) fn leader(&self, topic: &str) -> usize {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some((leader, _)) = Cluster::partitions(&self.bootstrap(), topic).first()
                && let Ok(leader) = usize::try_from(*leader)
            {
                return leader;
            }
            assert!(Instant::now() < end, "{topic} has no leader");
        }
    }

    /// Waits until every broker knows of every partition the same leader, and all replicas in sync. One alone may not have
    /// heard yet that it leads no more; then it also tells an old end of the log.
    pub(crate) fn wait_whole(&self, topic: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            let told = self.brokers.iter();
            let told: Vec<_> = told
                .map(|broker| Cluster::partitions(&broker.bootstrap(), topic))
                .collect();
            let whole = |(leader, isr): &(i32, usize)| *leader >= 0 && *isr == BROKERS;
            let agreed = told.windows(2).all(|pair| pair[0] == pair[1]);
            if agreed && !told[0].is_empty() && told[0].iter().all(whole) {
                return;
            }
            assert!(Instant::now() < end, "{topic} is not whole again: {told:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

/// Writes numbered records to every partition in turn and says which were acknowledged, with the time since the
/// one before it on the same partition, and every error that a program would have to handle.
const PRODUCER: &str = r#"
import sys, time
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "enable.idempotence": True, "linger.ms": 1,
    "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "topic.metadata.refresh.interval.ms": 1000, "socket.timeout.ms": 2000})
partitions = int(sys.argv[3])
last = {}
def landed(error, message):
    if error is not None:
        print("failed", error.name(), "whole", flush=True)
        return
    now = time.monotonic()
    partition = message.partition()
    print("acked", partition, message.value().decode(), int((now - last.get(partition, now)) * 1000), "whole", flush=True)
    last[partition] = now
number = 0
while True:
    try:
        producer.produce(sys.argv[2], value=str(number), partition=number % partitions, on_delivery=landed)
        number += 1
    except BufferError:
        producer.poll(0.05)
    producer.poll(0)
    if number % 10 == 0:
        time.sleep(0.01)
"#;

/// A member of a group that prints what it reads and commits it; it goes on whatever happens to brokers.
const CONSUMER: &str = r#"
import sys
from confluent_kafka import Consumer, KafkaException
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[3], "auto.offset.reset": "earliest",
    "enable.auto.commit": True, "auto.commit.interval.ms": 200, "session.timeout.ms": 10000, "socket.timeout.ms": 5000,
    "reconnect.backoff.max.ms": 200, "topic.metadata.refresh.interval.ms": 1000})
consumer.subscribe([sys.argv[2]])
while True:
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        print("error", message.error().name(), "whole", flush=True)
        continue
    print("read", message.partition(), message.offset(), message.value().decode(), "whole", flush=True)
"#;

/// An idempotent producer and a consumer group of two, for as long as a test makes faults.
pub(crate) struct Load<'a> {
    cluster: &'a str,
    topic: String,
    producer: Running,
    consumers: Vec<Running>,
    partitions: i32,
}

fn python(program: &str, arguments: &[&str]) -> Running {
    let interpreter = prepared("python-example").join("venv/bin/python");
    Running::start(Command::new(interpreter).args(["-c", program]).args(arguments))
}

/// (partition, value, milliseconds since the partition's acknowledgement before) of each whole line.
fn acknowledged(lines: &[String]) -> Vec<(i32, u64, u64)> {
    let parse = |line: &String| {
        let words: Vec<&str> = line
            .strip_prefix("acked ")?
            .strip_suffix(" whole")?
            .split(' ')
            .collect();
        Some((
            words[0].parse().ok()?,
            words[1].parse().ok()?,
            words[2].parse().ok()?,
        ))
    };
    lines.iter().filter_map(parse).collect()
}

/// (partition, offset, value) of each whole line.
fn read(lines: &[String]) -> Vec<(i32, u64, u64)> {
    let parse = |line: &String| {
        let words: Vec<&str> = line
            .strip_prefix("read ")?
            .strip_suffix(" whole")?
            .split(' ')
            .collect();
        Some((
            words[0].parse().ok()?,
            words[1].parse().ok()?,
            words[2].parse().ok()?,
        ))
    };
    lines.iter().filter_map(parse).collect()
}

impl<'a> Load<'a> {
    pub(crate) fn start(bootstrap: &'a str, topic: &str, partitions: u32) -> Load<'a> {
        let consumers = (0..2).map(|_| python(CONSUMER, &[bootstrap, topic, "auditors"]));
        let consumers = consumers.collect();
        Load {
            cluster: bootstrap,
            topic: topic.to_string(),
            partitions: partitions as i32,
            producer: python(PRODUCER, &[bootstrap, topic, &partitions.to_string()]),
            consumers,
        }
    }

    /// Waits for that many further acknowledgements from every partition.
    pub(crate) fn more(&mut self, count: usize) {
        let end = Instant::now() + DEADLINE;
        self.producer.take_lines();
        let mut looked_at = self.producer.so_far().len();
        let mut missing: BTreeMap<i32, usize> = (0..self.partitions).map(|at| (at, count)).collect();
        while !missing.is_empty() {
            self.producer.take_lines();
            for (partition, _, _) in acknowledged(&self.producer.so_far()[looked_at..]) {
                if let Some(left) = missing.get_mut(&partition) {
                    *left -= 1;
                    missing.retain(|_, left| *left > 0);
                }
            }
            looked_at = self.producer.so_far().len();
            assert!(
                Instant::now() < end,
                "partitions that acknowledge nothing, and how much is missing: {missing:?}"
            );
        }
    }

    /// Ends the producer and compares: every acknowledged record was read by the group and is in the log once, and each
    /// partition holds its values in the order they were sent. Prints the longest silence.
    pub(crate) fn audit(mut self, what: &str) {
        let lines = self.producer.kill();
        let errors: Vec<&String> = lines.iter().filter(|line| !line.starts_with("acked ")).collect();
        let fatal: Vec<_> = errors.iter().filter(|line| line.starts_with("failed ")).collect();
        assert!(fatal.is_empty(), "an acks=all producer saw errors: {fatal:?}");
        let acknowledged = acknowledged(&lines);
        let silence = acknowledged.iter().map(|(_, _, gap)| *gap).max().unwrap_or(0);

        let stored = stored(self.cluster, &self.topic);
        for (partition, values) in &stored {
            let in_order = values.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(
                in_order,
                "partition {partition}: values twice or out of order: {:?}",
                values.windows(2).find(|pair| pair[0] >= pair[1])
            );
        }
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|(partition, value, _)| {
                let values = stored.get(partition).map_or(&[][..], Vec::as_slice);
                values.binary_search(value).is_err()
            })
            .collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged records are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );

        let end = Instant::now() + DEADLINE;
        loop {
            self.consumers.iter_mut().for_each(Running::take_lines);
            let mut unread: BTreeMap<(i32, u64), ()> = acknowledged
                .iter()
                .map(|(at, value, _)| ((*at, *value), ()))
                .collect();
            for (partition, _, value) in self.consumers.iter().flat_map(|one| read(one.so_far())) {
                unread.remove(&(partition, value));
            }
            if unread.is_empty() {
                break;
            }
            assert!(
                Instant::now() < end,
                "the group never read {} acknowledged records",
                unread.len()
            );
        }
        for consumer in &self.consumers {
            offsets_name_one_record(&read(consumer.so_far()));
        }
        println!(
            "{what}: {} acknowledged, none lost, longest silence of a partition {silence} ms",
            acknowledged.len()
        );
    }
}

/// One offset always gives the same record, whoever leads.
fn offsets_name_one_record(read: &[(i32, u64, u64)]) {
    let mut seen = BTreeMap::new();
    for (partition, offset, value) in read {
        let before = seen.insert((*partition, *offset), *value);
        assert!(
            before.is_none_or(|before| before == *value),
            "offset {offset} of partition {partition} was {before:?} and then {value}"
        );
    }
}

/// Everything in the topic, by partition, in the order of offsets.
fn stored(bootstrap: &str, topic: &str) -> BTreeMap<i32, Vec<u64>> {
    let out = run(
        kcat(bootstrap).args(["-C", "-t", topic, "-o", "beginning", "-e", "-f", "%p %s\n"]),
        "",
    )
    .success();
    let mut stored: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for line in out.lines() {
        let (partition, value) = line.split_once(' ').expect("partition and value");
        let partition = partition.parse().expect("a partition's number");
        stored
            .entry(partition)
            .or_default()
            .push(value.parse().expect("a record of the producer"));
    }
    stored
}
