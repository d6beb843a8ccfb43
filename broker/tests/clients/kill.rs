//! SIGKILL at any moment loses nothing that was acknowledged, as a third-party producer and consumer see it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::kcat::create_topic;
use crate::program::{Running, prepared};

/// A producer that prints every acknowledged value and goes on through broker restarts until it is ended.
const PRODUCER: &str = r#"
import sys, time
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "enable.idempotence": True, "linger.ms": 1,
    "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50})
def landed(error, message):
    if error is None:
        print("acked", message.value().decode(), "whole", flush=True)
number = 0
while True:
    try:
        producer.produce(sys.argv[2], value=str(number), on_delivery=landed)
        number += 1
    except BufferError:
        producer.poll(0.05)
    producer.poll(0)
    if number % 100 == 0:
        time.sleep(0.002)
"#;

/// Whole lines only: the producer is killed in the middle of its last one.
fn acknowledged(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("acked ")?.strip_suffix(" whole"))
        .map(str::to_string)
        .collect()
}

#[test]
fn acknowledged_records_survive_being_killed_again_and_again() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "orders", 3);
    let mut producer = Running::start(
        Command::new(prepared("python-example").join("venv/bin/python")).args([
            "-c",
            PRODUCER,
            &broker.bootstrap(),
            "orders",
        ]),
    );
    let mut so_far = 0;
    for round in 0u64..5 {
        so_far = acknowledged(producer.until("a thousand more", |lines| {
            acknowledged(lines).len() >= so_far + 1000
        }))
        .len();
        std::thread::park_timeout(Duration::from_millis(7 * round)); // another place in the round each time
        broker.kill();
        broker.start_again();
    }
    producer.until("acknowledged after the last restart", |lines| {
        acknowledged(lines).len() >= so_far + 1000
    });
    let acknowledged = acknowledged(&producer.kill());
    let unique: BTreeSet<&String> = acknowledged.iter().collect();
    assert_eq!(
        unique.len(),
        acknowledged.len(),
        "each value is acknowledged once"
    );

    let read = crate::kcat::read_all(&broker.bootstrap(), "orders");
    let stored: BTreeSet<&String> = read.iter().collect();
    assert_eq!(
        stored.len(),
        read.len(),
        "an idempotent producer leaves no duplicates"
    );
    let lost: Vec<_> = unique.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged records are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    println!(
        "{} acknowledged, {} stored, 5 kills",
        acknowledged.len(),
        read.len()
    );
}
