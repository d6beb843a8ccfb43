//! The examples of this repository: a consumer that is killed after a commit, and the next one that starts exactly there.

use std::collections::BTreeMap;
use std::process::Command;

use crate::broker::Broker;
use crate::kcat::create_topic;
use crate::load::{describe_offsets, offsets_in};
use crate::program::{Running, java, prepared, run};

/// One language's producer and consumer.
struct Example {
    produce: fn() -> Command,
    consume: fn() -> Command,
}

const JAVA: Example = Example {
    produce: || java("java-example", "dev.millrace.examples.Produce"),
    consume: || java("java-example", "dev.millrace.examples.Consume"),
};

const PYTHON: Example = Example {
    produce: || python("produce.py"),
    consume: || python("consume.py"),
};

fn python(script: &str) -> Command {
    let mut command = Command::new(prepared("python-example").join("venv/bin/python"));
    command.arg(format!(
        "{}/../examples/python/{script}",
        env!("CARGO_MANIFEST_DIR")
    ));
    command
}

#[test]
fn java_commits_hold() {
    commits_hold(&JAVA);
}

#[test]
fn python_commits_hold() {
    commits_hold(&PYTHON);
}

/// `partition -> offset` of the last line of each partition that starts with the word.
fn last(lines: &[String], word: &str) -> BTreeMap<String, u64> {
    let places = lines.iter().filter_map(|line| line.strip_prefix(word));
    places.filter_map(|rest| place(rest.trim())).collect()
}

/// `partition -> offset` of the first line of each partition that starts with the word.
fn first(lines: &[String], word: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (partition, offset) in lines
        .iter()
        .filter_map(|line| line.strip_prefix(word))
        .filter_map(|rest| place(rest.trim()))
    {
        found.entry(partition).or_insert(offset);
    }
    found
}

fn place(text: &str) -> Option<(String, u64)> {
    let (partition, offset) = text.split_whitespace().next()?.split_once('@')?;
    Some((partition.to_string(), offset.parse().ok()?))
}

fn commits_hold(example: &Example) {
    let broker = Broker::start(&["group.initial.rebalance.delay.ms=0"]);
    for mode in ["sync", "async", "auto"] {
        let topic = format!("topic-{mode}");
        create_topic(&broker, &topic, 1);
        let written = run((example.produce)().args([&broker.bootstrap(), &topic, "100"]), "").success();
        assert_eq!(written.lines().count(), 100);
        let consumer = |count: &str| {
            Running::start((example.consume)().args([
                &broker.bootstrap(),
                &topic,
                &format!("group-{mode}"),
                mode,
                count,
            ]))
        };

        let mut killed = consumer("40");
        match mode {
            // The automatic commit is not announced: ask the broker, as an operator would.
            "auto" => {
                killed.until("40 records", |lines| {
                    lines.iter().filter(|line| line.starts_with("read ")).count() >= 40
                });
                wait_for_commit(&broker, "group-auto", 40);
            }
            _ => {
                killed.until("a commit of everything read", |lines| {
                    let read = last(lines, "read ");
                    read.values().next().is_some_and(|offset| {
                        *offset >= 39 && last(lines, "committed ").values().next() == Some(&(offset + 1))
                    })
                });
            }
        }
        let lines = killed.kill();
        let read_to = last(&lines, "read ");
        let mut next = consumer("10");
        let seen = next.until("the next consumer's first record", |lines| {
            lines.iter().any(|line| line.starts_with("read "))
        });
        let starts = first(seen, "read ");
        for (partition, offset) in &starts {
            let expected = read_to[partition] + 1;
            assert_eq!(
                *offset, expected,
                "{mode}: the next consumer starts exactly at the committed offset"
            );
        }
        drop(next);
    }
}

/// Until the group's committed offset in its only partition is at least `offset`.
fn wait_for_commit(broker: &Broker, group: &str, offset: u64) {
    let end = std::time::Instant::now() + crate::program::DEADLINE;
    loop {
        let described = describe_offsets(&broker.bootstrap(), group);
        let committed = offsets_in(&described.stdout, group).into_values().next();
        if committed.is_some_and(|committed| committed >= offset) {
            return;
        }
        assert!(
            std::time::Instant::now() < end,
            "no automatic commit of {offset}:\n{}\n{}",
            described.stdout,
            described.stderr
        );
    }
}
