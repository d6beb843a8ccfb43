//! Kafka's own console tools, the newest and those of 2.5 with `--bootstrap-server`.

use std::process::Command;

use crate::broker::Broker;
use crate::kcat::{kcat, numbered};
use crate::program::{java, run};

/// The classes behind kafka-topics.sh and friends in one release.
struct Release {
    folder: &'static str,
    topics: &'static str,
    producer: &'static str,
    consumer: &'static str,
    groups: &'static str,
}

const NEW: Release = Release {
    folder: "tools-new",
    topics: "org.apache.kafka.tools.TopicCommand",
    producer: "org.apache.kafka.tools.ConsoleProducer",
    consumer: "org.apache.kafka.tools.consumer.ConsoleConsumer",
    groups: "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
};

const OLD: Release = Release {
    folder: "tools-2.5",
    topics: "kafka.admin.TopicCommand",
    producer: "kafka.tools.ConsoleProducer",
    consumer: "kafka.tools.ConsoleConsumer",
    groups: "kafka.admin.ConsumerGroupCommand",
};

impl Release {
    fn tool(&self, class: &str, broker: &Broker) -> Command {
        let mut command = java(self.folder, class);
        command.args(["--bootstrap-server", &broker.bootstrap()]);
        command
    }
}

#[test]
fn the_newest_console_tools_work() {
    the_console_tools_work(&NEW);
}

#[test]
fn the_console_tools_of_2_5_work() {
    the_console_tools_work(&OLD);
}

fn the_console_tools_work(release: &Release) {
    let broker = Broker::start(&[]);
    let topics = |arguments: &[&str]| run(release.tool(release.topics, &broker).args(arguments), "");
    topics(&[
        "--create",
        "--topic",
        "orders",
        "--partitions",
        "2",
        "--replication-factor",
        "1",
    ])
    .success();
    assert!(topics(&["--list"]).success().lines().any(|line| line == "orders"));
    let described = topics(&["--describe", "--topic", "orders"]).success();
    assert!(
        described.replace(' ', "").contains("PartitionCount:2"),
        "{described}"
    );
    topics(&["--alter", "--topic", "orders", "--partitions", "4"]).success();
    let described = topics(&["--describe", "--topic", "orders"]).success();
    assert!(
        described.replace(' ', "").contains("PartitionCount:4"),
        "{described}"
    );

    let records = numbered(100);
    run(
        release
            .tool(release.producer, &broker)
            .args(["--topic", "orders"]),
        &(records.join("\n") + "\n"),
    )
    .success();
    let read = run(
        release.tool(release.consumer, &broker).args([
            "--topic",
            "orders",
            "--from-beginning",
            "--group",
            "readers",
            "--max-messages",
            "100",
        ]),
        "",
    )
    .success();
    let mut read: Vec<_> = read.lines().map(str::to_string).collect();
    let mut wanted = records;
    read.sort();
    wanted.sort();
    assert_eq!(read, wanted);

    let groups = run(release.tool(release.groups, &broker).arg("--list"), "").success();
    assert!(groups.lines().any(|line| line.trim() == "readers"), "{groups}");
    let described = run(
        release
            .tool(release.groups, &broker)
            .args(["--describe", "--group", "readers"]),
        "",
    )
    .success();
    let lags: Vec<&str> = described
        .lines()
        .filter(|line| line.split_whitespace().next() == Some("readers"))
        .filter_map(|line| line.split_whitespace().nth(5))
        .collect();
    assert_eq!(lags, ["0"; 4], "all of it was read and committed:\n{described}");

    topics(&["--delete", "--topic", "orders"]).success();
    assert!(!topics(&["--list"]).success().lines().any(|line| line == "orders"));
}

#[test]
fn configs_are_shown_and_changed() {
    let broker = Broker::start(&[]);
    crate::kcat::create_topic(&broker, "orders", 1);
    let configs = |arguments: &[&str]| {
        run(
            java("tools-new", "kafka.admin.ConfigCommand")
                .args([
                    "--bootstrap-server",
                    &broker.bootstrap(),
                    "--entity-type",
                    "topics",
                    "--entity-name",
                    "orders",
                ])
                .args(arguments),
            "",
        )
    };
    configs(&["--alter", "--add-config", "retention.ms=3600000"]).success();
    let shown = configs(&["--describe"]).success();
    assert!(shown.contains("retention.ms=3600000"), "{shown}");
    let refused = configs(&["--alter", "--add-config", "cleanup.policy=compact"]);
    let said = refused.stdout + &refused.stderr;
    assert!(said.contains("cleanup.policy"), "refused by name: {said}");
    configs(&["--alter", "--delete-config", "retention.ms"]).success();
    assert!(
        !configs(&["--describe"])
            .success()
            .contains("retention.ms=3600000")
    );
}

#[test]
fn the_log_directories_are_described() {
    let broker = Broker::start(&[]);
    let kafka = |class: &str, arguments: &[&str], input: &str| {
        let mut command = java("tools-new", class);
        command
            .args(["--bootstrap-server", &broker.bootstrap()])
            .args(arguments);
        run(&mut command, input).success()
    };
    kafka(
        "org.apache.kafka.tools.TopicCommand",
        &["--create", "--topic", "sized", "--partitions", "2"],
        "",
    );
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "sized", "-p", "1", "-X", "acks=all"]),
        &format!("{}\n", "x".repeat(5_000)),
    )
    .success();
    let told = kafka(
        "org.apache.kafka.tools.LogDirsCommand",
        &["--describe", "--topic-list", "sized"],
        "",
    );
    let json = told
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap_or_else(|| panic!("{told}"));
    let size = |partition: &str| {
        let at = json
            .find(&format!("\"partition\":\"{partition}\""))
            .unwrap_or_else(|| panic!("{json}"));
        let rest = json[at..]
            .split("\"size\":")
            .nth(1)
            .unwrap_or_else(|| panic!("{json}"));
        rest.split(',')
            .next()
            .and_then(|size| size.parse::<u64>().ok())
            .unwrap_or_else(|| panic!("{json}"))
    };
    assert!(size("sized-1") > 5_000 && size("sized-0") == 0, "{json}");
}

#[test]
fn the_features_are_described() {
    let broker = Broker::start(&[]);
    let mut command = java("tools-new", "org.apache.kafka.tools.FeatureCommand");
    command.args(["--bootstrap-server", &broker.bootstrap(), "describe"]);
    let told = run(&mut command, "").success();
    let line = told.lines().find(|line| line.contains("metadata.version"));
    assert!(
        line.is_some_and(|line| line.contains("FinalizedVersionLevel: 4.3-IV0")),
        "{told}"
    );
}

#[test]
fn the_metadata_quorum_is_described() {
    let broker = Broker::start(&[]);
    let described = |what: &str| {
        run(
            java("tools-new", "org.apache.kafka.tools.MetadataQuorumCommand").args([
                "--bootstrap-server",
                &broker.bootstrap(),
                "describe",
                what,
            ]),
            "",
        )
        .success()
    };
    let status = described("--status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}\n{status}"))
            .trim()
            .to_string()
    };
    let leader = field("LeaderId:");
    assert!(leader.parse::<i32>().is_ok_and(|node| node >= 0), "{status}");
    assert!(
        field("CurrentVoters:").contains(&format!("\"id\": {leader}")),
        "{status}"
    );
    assert_eq!(field("MaxFollowerLag:"), "0", "{status}");
    let replication = described("--replication");
    assert!(
        replication.lines().any(|line| line.contains("Leader")),
        "{replication}"
    );
}
