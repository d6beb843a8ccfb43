//! Two consumers share a topic; one is killed; the other goes on from what was committed.

use std::collections::BTreeSet;

use crate::broker::Broker;
use crate::kcat::{create_topic, kcat, numbered};
use crate::program::{Running, run};

fn member(broker: &Broker) -> Running {
    let mut command = kcat(&broker.bootstrap());
    command.args([
        "-u",
        "-X",
        "auto.offset.reset=earliest",
        "-X",
        "session.timeout.ms=6000",
        "-X",
        "auto.commit.interval.ms=100",
        "-f",
        "%p %o %s\n",
        "-G",
        "workers",
        "orders",
    ]);
    Running::start(&mut command)
}

fn records_of(lines: &[String]) -> BTreeSet<String> {
    lines
        .iter()
        .filter(|line| line.contains("record-"))
        .cloned()
        .collect()
}

#[test]
fn when_one_of_two_consumers_is_killed_the_other_takes_over() {
    let broker = Broker::start(&["group.initial.rebalance.delay.ms=500"]);
    create_topic(&broker, "orders", 4);
    let produce = |records: &[String]| {
        run(
            kcat(&broker.bootstrap()).args(["-P", "-t", "orders", "-X", "acks=all"]),
            &(records.join("\n") + "\n"),
        )
        .success();
    };
    let mut first = member(&broker);
    let mut second = member(&broker);
    // Both are members once each has read from its half: write until both have something.
    let mut written = Vec::new();
    let mut wave = 0;
    loop {
        let records: Vec<_> = numbered(40)
            .iter()
            .map(|record| format!("{record}-wave-{wave}"))
            .collect();
        produce(&records);
        written.extend(records);
        let marker = format!("-wave-{wave}");
        let count = |running: &Running| {
            running
                .so_far()
                .iter()
                .filter(|line| line.ends_with(&marker))
                .count()
        };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while count(&first) + count(&second) < 40 && std::time::Instant::now() < end {
            first.take_lines();
            second.take_lines();
        }
        if count(&first) > 0 && count(&second) > 0 {
            break;
        }
        wave += 1;
        assert!(wave < 60, "two members never shared the topic");
    }
    let read_by_second = records_of(&second.kill());
    // Into each partition by name: what the survivor reads of it now shows that it took over all four.
    let late: Vec<_> = numbered(40)
        .iter()
        .map(|record| format!("{record}-late"))
        .collect();
    for (partition, part) in late.chunks(10).enumerate() {
        run(
            kcat(&broker.bootstrap()).args([
                "-P",
                "-t",
                "orders",
                "-X",
                "acks=all",
                "-p",
                &partition.to_string(),
            ]),
            &(part.join("\n") + "\n"),
        )
        .success();
    }
    written.extend(late);
    let wanted: BTreeSet<String> = written.iter().cloned().collect();
    let seen = first.until("everything that was written", |lines| {
        let values: BTreeSet<String> = records_of(lines)
            .union(&read_by_second)
            .filter_map(|line| line.split_whitespace().nth(2).map(str::to_string))
            .collect();
        values.is_superset(&wanted)
    });
    // What the survivor read is in order within each partition, and nothing was skipped between the two.
    let partitions: BTreeSet<_> = records_of(seen)
        .iter()
        .filter_map(|line| line.split_whitespace().next().map(str::to_string))
        .collect();
    assert_eq!(partitions.len(), 4, "the survivor reads all partitions");
}
