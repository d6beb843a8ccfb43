//! A load of third-party clients that goes on while brokers come and go: an idempotent producer and a group of two consumers.
//!
//! Owns the clients, what they say, and the audit at the end: what was acknowledged is there once, in order, was read, and is
//! committed. Leaves brokers to `cluster.rs`, faults to `faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::kcat::kcat;
use crate::program::{DEADLINE, Output, Running, java, prepared, run};

/// Errors that a client may show while brokers come and go: its own words for a lost connection, and what Kafka calls retriable.
const RETRIABLE: [&str; 10] = [
    "_TRANSPORT",
    "_ALL_BROKERS_DOWN",
    "_TIMED_OUT",
    "NOT_LEADER_FOR_PARTITION",
    "LEADER_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "NOT_COORDINATOR",
    "COORDINATOR_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
];

/// Writes numbered records to every partition in turn until its input ends, then waits for what is under way.
const PRODUCER: &str = r#"
import sys, threading, time
from confluent_kafka import Producer
def clock():
    return int(time.monotonic() * 1000)
def trouble(error):
    print("error", error.name(), "whole", flush=True)
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "enable.idempotence": True, "linger.ms": 1, "error_cb": trouble,
    "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "topic.metadata.refresh.interval.ms": 1000, "socket.timeout.ms": 2000})
partitions = int(sys.argv[3])
def landed(error, message):
    if error is not None:
        print("failed", error.name(), "whole", flush=True)
    else:
        print("acked", message.partition(), message.offset(), message.value().decode(), clock(), "whole", flush=True)
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
number = 0
while not told.is_set():
    try:
        producer.produce(sys.argv[2], value=str(number), partition=number % partitions, on_delivery=landed)
        number += 1
    except BufferError:
        producer.poll(0.05)
    producer.poll(0)
    if number % 10 == 0:
        time.sleep(0.01)
producer.flush(60)
print("ended", number, "whole", flush=True)
"#;

/// A member of a group that prints what it reads and commits it, whatever happens to brokers, until its input ends.
const CONSUMER: &str = r#"
import sys, threading, time
from confluent_kafka import Consumer
def trouble(error):
    print("error", error.name(), "whole", flush=True)
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[3], "auto.offset.reset": "earliest", "error_cb": trouble,
    "enable.auto.commit": True, "auto.commit.interval.ms": 200, "session.timeout.ms": 10000, "socket.timeout.ms": 5000,
    "reconnect.backoff.max.ms": 200, "topic.metadata.refresh.interval.ms": 1000})
def assigned(_, partitions):
    print("assigned", len(partitions), "whole", flush=True)
def revoked(_, partitions):
    print("revoked", len(partitions), "whole", flush=True)
consumer.subscribe([sys.argv[2]], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
while not told.is_set():
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        trouble(message.error())
        continue
    print("read", message.partition(), message.offset(), message.value().decode(), int(time.monotonic() * 1000), "whole", flush=True)
consumer.close()
print("ended", 0, "whole", flush=True)
"#;

/// Whose clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// The Python package of the examples.
    Librdkafka,
    /// Kafka's own verifiable producer and consumer.
    Java,
}

/// One record as a client saw it.
#[derive(Clone, Debug)]
struct Record {
    partition: i32,
    /// None where a client that repeated itself was not told.
    offset: Option<u64>,
    value: u64,
    /// Milliseconds of the client's clock, which librdkafka's share.
    at_ms: u64,
}

/// What a client said.
#[derive(Clone, Debug)]
enum Event {
    /// A record was acknowledged to the producer.
    Acknowledged(Record),
    /// A record was not written, and the producer will not try again.
    Failed(String),
    /// The tool's main thread sent once more after SIGTERM had its producer closed: that record never left.
    TooLate,
    /// A consumer read a record.
    Read(Record),
    /// A consumer got partitions: it begins where the group had committed.
    Assigned,
    /// They were taken away.
    Revoked,
    /// An error that the client goes on after.
    Error(String),
    /// It ended well; a producer says how many records it had to write.
    Ended(u64),
}

impl Event {
    fn of(clients: Clients, line: &str) -> Option<Event> {
        match clients {
            Clients::Librdkafka => Event::of_words(line),
            Clients::Java => Event::of_json(line),
        }
    }

    /// Of a whole line: one that a client was killed in says nothing.
    fn of_words(line: &str) -> Option<Event> {
        let words: Vec<&str> = line.strip_suffix(" whole")?.split(' ').collect();
        let record = || {
            Some(Record {
                partition: words.get(1)?.parse().ok()?,
                offset: words.get(2)?.parse().ok(),
                value: words.get(3)?.parse().ok()?,
                at_ms: words.get(4)?.parse().ok()?,
            })
        };
        match words[0] {
            "acked" => Some(Event::Acknowledged(record()?)),
            "read" => Some(Event::Read(record()?)),
            "failed" => Some(Event::Failed(words[1].to_string())),
            "error" => Some(Event::Error(words[1].to_string())),
            "assigned" => Some(Event::Assigned),
            "revoked" => Some(Event::Revoked),
            "ended" => Some(Event::Ended(words.get(1)?.parse().ok()?)),
            _ => None,
        }
    }

    fn of_json(line: &str) -> Option<Event> {
        let said: serde_json::Value = serde_json::from_str(line).ok()?;
        let record = || {
            Some(Record {
                partition: i32::try_from(said["partition"].as_i64()?).ok()?,
                offset: said["offset"].as_u64(),
                value: said["value"].as_str()?.parse().ok()?,
                at_ms: said["timestamp"].as_u64()?,
            })
        };
        match said["name"].as_str()? {
            "producer_send_success" => Some(Event::Acknowledged(record()?)),
            "producer_send_error" if line.contains("java.lang.IllegalStateException") => Some(Event::TooLate),
            "producer_send_error" => Some(Event::Failed(line.to_string())),
            "record_data" => Some(Event::Read(record()?)),
            "partitions_assigned" => Some(Event::Assigned),
            "partitions_revoked" => Some(Event::Revoked),
            "tool_data" => Some(Event::Ended(said["sent"].as_u64()?)),
            // The consumer says nothing else at its end.
            "shutdown_complete" => Some(Event::Ended(0)),
            _ => None,
        }
    }
}

/// The longest silences of any one partition, as librdkafka's clients saw them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silences {
    /// Between two acknowledgements.
    pub(crate) producer: Duration,
    /// Between two records that the group read for the first time.
    pub(crate) consumers: Duration,
}

/// One client and what it has said.
struct Client {
    clients: Clients,
    program: Running,
    parsed: usize,
    events: Vec<Event>,
}

impl Client {
    fn new(clients: Clients, program: Running) -> Client {
        Client {
            clients,
            program,
            parsed: 0,
            events: Vec::new(),
        }
    }

    fn listen(&mut self) {
        self.program.take_lines();
        let lines = &self.program.so_far()[self.parsed..];
        self.parsed += lines.len();
        self.events
            .extend(lines.iter().filter_map(|line| Event::of(self.clients, line)));
    }

    /// Ends it as its users do, and returns everything it said.
    fn end(self) -> Vec<Event> {
        let lines = match self.clients {
            Clients::Librdkafka => self.program.finish(),
            Clients::Java => self.program.terminate(),
        };
        let events: Vec<Event> = lines
            .iter()
            .filter_map(|line| Event::of(self.clients, line))
            .collect();
        assert!(
            events.iter().any(|event| matches!(event, Event::Ended(_))),
            "a client of this test did not end well; it said last:\n{}",
            lines[lines.len().saturating_sub(20)..].join("\n")
        );
        events
    }

    /// Whether it reads partitions that it owns.
    fn reads(&self) -> bool {
        let newest = self.events.iter().rev();
        let mut newest = newest.skip_while(|event| matches!(event, Event::Error(_)));
        matches!(newest.next(), Some(Event::Read(_)))
    }
}

/// An idempotent producer and a consumer group of two, for as long as a test makes faults.
pub(crate) struct Load<'a> {
    cluster: &'a str,
    topic: String,
    group: String,
    partitions: i32,
    producer: Client,
    consumers: Vec<Client>,
    /// Partition -> the newest record when everything flowed: no silence before it is counted.
    warm_up: BTreeMap<i32, u64>,
    /// Kept for as long as a client may read it.
    _settings: NamedTempFile,
}

impl<'a> Load<'a> {
    /// Returns when every partition takes records and both members of the group read.
    pub(crate) fn start(clients: Clients, bootstrap: &'a str, topic: &str, partitions: u32) -> Load<'a> {
        let group = format!("auditors-of-{topic}");
        let mut settings = NamedTempFile::new().expect("a file for a client's settings");
        // Kafka's tool does not repeat what it sends unless it is told to.
        writeln!(settings, "enable.idempotence=true\nretries=2147483647\nretry.backoff.ms=50\nreconnect.backoff.max.ms=200\nlinger.ms=1")
            .expect("a client's settings are written");
        let settings_path = settings.path().to_str().expect("a path of this test").to_string();
        let producer = match clients {
            Clients::Librdkafka => python(PRODUCER, &[bootstrap, topic, &partitions.to_string()]),
            Clients::Java => Running::start(
                java("tools-new", "org.apache.kafka.tools.VerifiableProducer")
                    .args(["--bootstrap-server", bootstrap, "--topic", topic])
                    // Keys, so that every partition always has records under way.
                    .args(["--repeating-keys", "30", "--throughput", "1000"])
                    .args(["--command-config", &settings_path]),
            ),
        };
        let consumer = || match clients {
            Clients::Librdkafka => python(CONSUMER, &[bootstrap, topic, &group]),
            Clients::Java => Running::start(
                java("tools-new", "org.apache.kafka.tools.VerifiableConsumer")
                    .args(["--bootstrap-server", bootstrap, "--topic", topic])
                    .args(["--group-id", &group, "--session-timeout", "10000", "--verbose"]),
            ),
        };
        let consumers = (0..2).map(|_| Client::new(clients, consumer())).collect();
        let mut load = Load {
            cluster: bootstrap,
            topic: topic.to_string(),
            group,
            partitions: i32::try_from(partitions).expect("a few partitions"),
            producer: Client::new(clients, producer),
            consumers,
            warm_up: BTreeMap::new(),
            _settings: settings,
        };
        load.more(150);
        let end = Instant::now() + DEADLINE;
        while !load.consumers.iter().all(Client::reads) {
            load.consumers.iter_mut().for_each(Client::listen);
            assert!(Instant::now() < end, "a member of the group reads nothing");
        }
        load.producer.listen();
        for record in acknowledged(&load.producer.events) {
            let newest = load.warm_up.entry(record.partition).or_default();
            *newest = (*newest).max(record.value);
        }
        load
    }

    /// Waits for that many further acknowledgements from every partition.
    pub(crate) fn more(&mut self, count: usize) {
        let end = Instant::now() + DEADLINE;
        self.producer.listen();
        let mut looked_at = self.producer.events.len();
        let mut missing: BTreeMap<i32, usize> = (0..self.partitions).map(|at| (at, count)).collect();
        while !missing.is_empty() {
            self.producer.listen();
            for record in acknowledged(&self.producer.events[looked_at..]) {
                if let Some(left) = missing.get_mut(&record.partition) {
                    *left -= 1;
                    missing.retain(|_, left| *left > 0);
                }
            }
            looked_at = self.producer.events.len();
            assert!(
                Instant::now() < end,
                "partitions that acknowledge nothing, and how much is missing: {missing:?}"
            );
        }
    }

    /// Ends the producer and compares: what was acknowledged, what is stored and what the group read are the same records, each
    /// stored once, in the order they were sent; one offset is one record whoever says so; what was read is committed.
    pub(crate) fn audit(mut self, what: &str) -> Silences {
        let produced = self.producer.end();
        only_retriable("the producer", &produced);
        let acknowledged = acknowledged(&produced);
        let values: BTreeSet<(i32, u64)> = values(&acknowledged);
        assert_eq!(
            values.len(),
            acknowledged.len(),
            "each record is acknowledged once"
        );
        let too_late = produced
            .iter()
            .filter(|event| matches!(event, Event::TooLate))
            .count();
        let sent = produced.iter().filter_map(|event| match event {
            Event::Ended(sent) => Some(*sent),
            _ => None,
        });
        assert_eq!(
            sent.max(),
            Some((values.len() + too_late) as u64),
            "every record that was sent is acknowledged at the end"
        );

        let stored = Stored::of(self.cluster, &self.topic);
        let lost: Vec<_> = values.difference(&stored.values).collect();
        let unasked: Vec<_> = stored.values.difference(&values).collect();
        assert!(
            lost.is_empty() && unasked.is_empty(),
            "of {} acknowledged records {} are lost: {lost:?}; stored but not acknowledged: {unasked:?}",
            values.len(),
            lost.len()
        );
        stored.holds("the producer", &acknowledged);

        let end = Instant::now() + DEADLINE;
        loop {
            self.consumers.iter_mut().for_each(Client::listen);
            let read = self.consumers.iter().flat_map(|one| read(&one.events));
            let read: BTreeSet<(i32, u64)> = read.map(|record| (record.partition, record.value)).collect();
            if read.is_superset(&stored.values) {
                break;
            }
            assert!(
                Instant::now() < end,
                "the group never read {} of {} records",
                stored.values.difference(&read).count(),
                stored.values.len()
            );
        }
        let consumed: Vec<Vec<Event>> = self.consumers.into_iter().map(Client::end).collect();
        for (member, events) in consumed.iter().enumerate() {
            let who = format!("member {member} of the group");
            only_retriable(&who, events);
            stored.holds(&who, &read(events));
            in_order(&who, events);
        }
        assert_eq!(
            committed(self.cluster, &self.group),
            stored.ends(),
            "everything is committed at the end"
        );

        let read: Vec<Record> = consumed.iter().flat_map(|events| read(events)).collect();
        let silences = Silences {
            producer: silence(&acknowledged, &self.warm_up),
            consumers: silence(&read, &self.warm_up),
        };
        println!(
            "{what}: {} records acknowledged, stored, read and committed, each once; longest silence of a partition: {:?}, of its readers: {:?}",
            stored.values.len(),
            silences.producer,
            silences.consumers
        );
        silences
    }
}

fn python(program: &str, arguments: &[&str]) -> Running {
    let interpreter = prepared("python-example").join("venv/bin/python");
    Running::until_told(Command::new(interpreter).args(["-c", program]).args(arguments))
}

fn acknowledged(events: &[Event]) -> Vec<Record> {
    let records = events.iter().filter_map(|event| match event {
        Event::Acknowledged(record) => Some(record.clone()),
        _ => None,
    });
    records.collect()
}

fn read(events: &[Event]) -> Vec<Record> {
    let records = events.iter().filter_map(|event| match event {
        Event::Read(record) => Some(record.clone()),
        _ => None,
    });
    records.collect()
}

fn values(records: &[Record]) -> BTreeSet<(i32, u64)> {
    records
        .iter()
        .map(|record| (record.partition, record.value))
        .collect()
}

fn only_retriable(who: &str, events: &[Event]) {
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events {
        match event {
            Event::Failed(error) => panic!("{who} gave a record up: {error}"),
            Event::Error(error) => *errors.entry(error.as_str()).or_default() += 1,
            _ => {}
        }
    }
    let wrong: Vec<_> = errors
        .keys()
        .filter(|error| !RETRIABLE.contains(*error))
        .collect();
    assert!(
        wrong.is_empty(),
        "{who} saw errors that are not retriable: {wrong:?}"
    );
}

/// What a member reads of a partition between two assignments is without a gap, a repetition or a step back.
fn in_order(who: &str, events: &[Event]) {
    let mut next: BTreeMap<i32, u64> = BTreeMap::new();
    for event in events {
        match event {
            Event::Assigned | Event::Revoked => next.clear(),
            Event::Read(record) => {
                let offset = record.offset.expect("a consumer knows its offsets");
                if let Some(expected) = next.insert(record.partition, offset + 1) {
                    assert_eq!(
                        offset, expected,
                        "{who} read partition {} out of order",
                        record.partition
                    );
                }
            }
            _ => {}
        }
    }
}

/// The longest time between two records of a partition that were new, after the warm-up; in what was committed meanwhile a group
/// may read again.
fn silence(records: &[Record], warm_up: &BTreeMap<i32, u64>) -> Duration {
    let mut first_seen: BTreeMap<(i32, u64), u64> = BTreeMap::new();
    for record in records {
        let first = first_seen
            .entry((record.partition, record.value))
            .or_insert(record.at_ms);
        *first = (*first).min(record.at_ms);
    }
    let mut times: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for ((partition, value), at_ms) in first_seen {
        if value >= warm_up.get(&partition).copied().unwrap_or_default() {
            times.entry(partition).or_default().push(at_ms);
        }
    }
    let longest = times.into_values().filter_map(|mut times| {
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max()
    });
    Duration::from_millis(longest.max().unwrap_or_default())
}

/// A topic as kcat reads it.
struct Stored {
    by_offset: BTreeMap<(i32, u64), u64>,
    values: BTreeSet<(i32, u64)>,
}

impl Stored {
    /// Checks that each value is there once, in the order it was sent, and that no offset is missing.
    fn of(bootstrap: &str, topic: &str) -> Stored {
        let out = run(
            kcat(bootstrap).args(["-C", "-t", topic, "-o", "beginning", "-e", "-f", "%p %o %s\n"]),
            "",
        )
        .success();
        let mut by_partition: BTreeMap<i32, Vec<(u64, u64)>> = BTreeMap::new();
        for line in out.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number =
                |at: usize| -> u64 { words[at].parse().expect("numbers, as the producer wrote them") };
            let partition = words[0].parse().expect("a partition's number");
            by_partition
                .entry(partition)
                .or_default()
                .push((number(1), number(2)));
        }
        let mut stored = Stored {
            by_offset: BTreeMap::new(),
            values: BTreeSet::new(),
        };
        for (partition, records) in by_partition {
            for (expected, (offset, value)) in records.iter().enumerate() {
                assert_eq!(*offset, expected as u64, "partition {partition} misses an offset");
                stored.by_offset.insert((partition, *offset), *value);
                stored.values.insert((partition, *value));
            }
            let wrong = records.windows(2).find(|pair| pair[0].1 >= pair[1].1);
            assert!(
                wrong.is_none(),
                "partition {partition}: values twice or out of order: {wrong:?}"
            );
        }
        stored
    }

    /// What a client says of an offset is what is stored there.
    fn holds(&self, who: &str, records: &[Record]) {
        for record in records {
            let Some(offset) = record.offset else { continue };
            let stored = self.by_offset.get(&(record.partition, offset));
            assert_eq!(
                stored,
                Some(&record.value),
                "offset {offset} of partition {} as {who} saw it",
                record.partition
            );
        }
    }

    /// Partition -> end of its log.
    fn ends(&self) -> BTreeMap<i32, u64> {
        let mut ends = BTreeMap::new();
        for (partition, offset) in self.by_offset.keys() {
            ends.insert(*partition, offset + 1);
        }
        ends
    }
}

/// Partition -> committed offset, by Kafka's own tool.
fn committed(bootstrap: &str, group: &str) -> BTreeMap<i32, u64> {
    offsets_in(&describe_offsets(bootstrap, group).success(), group)
}

/// What Kafka's own tool says of a group's offsets.
pub(crate) fn describe_offsets(bootstrap: &str, group: &str) -> Output {
    run(
        java(
            "tools-new",
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        )
        .args([
            "--bootstrap-server",
            bootstrap,
            "--describe",
            "--offsets",
            "--group",
            group,
        ]),
        "",
    )
}

/// Partition -> committed offset, from what that tool said.
pub(crate) fn offsets_in(described: &str, group: &str) -> BTreeMap<i32, u64> {
    let lines = described.lines().filter(|line| line.starts_with(group));
    let committed = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.get(2)?.parse().ok()?, words.get(3)?.parse().ok()?))
    });
    committed.collect()
}
