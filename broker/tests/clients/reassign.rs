//! `kafka-reassign-partitions.sh`: partitions move to other brokers, throttled, and are verified there.

use std::time::Instant;

use crate::cluster::Cluster;
use crate::kcat::{kcat, numbered, read_all};
use crate::program::{DEADLINE, java, run};

const MOVES: &str = r#"{"version": 1, "partitions": [
    {"topic": "moved", "partition": 0, "replicas": [2, 0]},
    {"topic": "moved", "partition": 1, "replicas": [0, 1]},
    {"topic": "moved", "partition": 2, "replicas": [1, 2]}]}"#;

#[test]
fn the_console_tool_moves_partitions() {
    let cluster = Cluster::start();
    let bootstrap = cluster.bootstrap();
    let kafka = |class: &str, arguments: &[&str]| {
        let class = format!("org.apache.kafka.tools.{class}");
        let mut command = java("tools-new", &class);
        command.args(["--bootstrap-server", &bootstrap]).args(arguments);
        run(&mut command, "").success()
    };
    let create = [
        "--create",
        "--topic",
        "moved",
        "--replica-assignment",
        "0:1,1:2,2:0",
    ];
    kafka("TopicCommand", &create);
    let mut written = numbered(300);
    run(
        kcat(&bootstrap).args(["-P", "-t", "moved", "-X", "acks=all"]),
        &(written.join("\n") + "\n"),
    )
    .success();

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), MOVES).expect("write the moves");
    let file = file.path().to_str().expect("a name");
    let class = "reassign.ReassignPartitionsCommand";
    let throttle = ["--throttle", "50000000"];
    kafka(
        class,
        &[&["--reassignment-json-file", file, "--execute"][..], &throttle].concat(),
    );
    let throttled = || {
        let mut described = String::new();
        for entity in [["brokers", "0"], ["topics", "moved"]] {
            let [kind, name] = entity;
            let mut command = java("tools-new", "kafka.admin.ConfigCommand");
            command.args([
                "--bootstrap-server",
                &bootstrap,
                "--describe",
                "--entity-type",
                kind,
            ]);
            described += &run(command.args(["--entity-name", name]), "").success();
        }
        ["leader.replication.throttled", "follower.replication.throttled"]
            .map(|words| described.matches(words).count())
    };
    assert!(
        throttled().iter().all(|count| *count >= 2),
        "rates and replicas: {:?}",
        throttled()
    );
    let end = Instant::now() + DEADLINE;
    loop {
        let verified = kafka(class, &["--reassignment-json-file", file, "--verify"]);
        if verified.matches("is completed").count() == 3 {
            break;
        }
        assert!(Instant::now() < end, "{verified}");
    }
    // Who verifies that all is done takes the throttles away.
    assert_eq!(throttled(), [0, 0]);
    assert!(kafka(class, &["--list"]).contains("No partition reassignments found"));
    let described = kafka("TopicCommand", &["--describe", "--topic", "moved"]);
    for replicas in ["Replicas: 2,0", "Replicas: 0,1", "Replicas: 1,2"] {
        assert!(described.contains(replicas), "{replicas}\n{described}");
    }
    let mut read = read_all(&bootstrap, "moved");
    read.sort_unstable();
    written.sort_unstable();
    assert_eq!(read, written);
}
