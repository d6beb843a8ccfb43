//! Kafka's own dump tool reads our files: records, indexes, and the offsets topic.

use std::path::PathBuf;

use crate::broker::Broker;
use crate::kcat::{create_topic, kcat, numbered};
use crate::program::{Output, Running, java, run};

fn dump(files: &[PathBuf], more: &[&str]) -> Output {
    let files = files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(",");
    run(
        java("tools-new", "org.apache.kafka.tools.DumpLogSegments")
            .args(["--files", &files])
            .args(more),
        "",
    )
}

fn files(broker: &Broker, partition: &str, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(broker.data().join(partition))
        .expect("the partition's folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    found.sort();
    found
}

#[test]
fn kafkas_dump_tool_reads_our_files() {
    let mut broker = Broker::start(&["log.segment.bytes=1048576"]);
    create_topic(&broker, "orders", 1);
    let long = "x".repeat(1000);
    let records: Vec<String> = numbered(3000)
        .iter()
        .map(|record| format!("{record}-{long}"))
        .collect();
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "orders", "-X", "batch.num.messages=10"]),
        &(records.join("\n") + "\n"),
    )
    .success();
    let mut group = Running::start(kcat(&broker.bootstrap()).args([
        "-u",
        "-X",
        "auto.offset.reset=earliest",
        "-X",
        "auto.commit.interval.ms=100",
        "-c",
        "100",
        "-G",
        "dumped",
        "orders",
    ]));
    group.until("a hundred records", |lines| lines.len() >= 100);
    drop(group);
    broker.stop();

    let logs = files(&broker, "orders-0", "log");
    assert!(logs.len() > 1, "several segments: {logs:?}");
    let printed = dump(&logs, &["--deep-iteration", "--print-data-log"]).success();
    let payloads = printed
        .lines()
        .filter(|line| line.contains("payload: record-"))
        .count();
    assert_eq!(payloads, records.len());
    assert!(!printed.contains("isvalid: false"));

    for ending in ["index", "timeindex"] {
        let indexes = files(&broker, "orders-0", ending);
        assert_eq!(indexes.len(), logs.len(), "each segment has its {ending}");
        let checked = dump(&indexes, &["--verify-index-only"]);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(checked.ok, "{said}");
        for bad in [
            "Mismatches",
            "Found timestamp mismatch",
            "out of order",
            "not found",
            "isn't a valid",
        ] {
            assert!(!said.contains(bad), "{ending}: {said}");
        }
    }

    let offsets: Vec<PathBuf> = (0..50)
        .flat_map(|partition| files(&broker, &format!("__consumer_offsets-{partition}"), "log"))
        .filter(|file| file.metadata().is_ok_and(|found| found.len() > 0))
        .collect();
    assert!(!offsets.is_empty(), "the group left its records");
    let printed = dump(&offsets, &["--offsets-decoder"]).success();
    assert!(
        printed.contains("dumped"),
        "Kafka's decoder reads our group records: {printed}"
    );
}
