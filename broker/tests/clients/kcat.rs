//! kcat, which is librdkafka: metadata, produce, consume, every compression.

use std::process::Command;

use crate::broker::Broker;
use crate::program::{java, run};

pub(crate) fn kcat(bootstrap: &str) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-q", "-b", bootstrap]);
    command
}

/// Creates a topic with Kafka's own tool.
pub(crate) fn create_topic(broker: &Broker, topic: &str, partitions: u32) {
    run(
        java("tools-new", "org.apache.kafka.tools.TopicCommand").args([
            "--bootstrap-server",
            &broker.bootstrap(),
            "--create",
            "--topic",
            topic,
            "--partitions",
            &partitions.to_string(),
        ]),
        "",
    )
    .success();
}

pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("record-{number}")).collect()
}

/// Everything in a topic, in the order kcat prints it.
pub(crate) fn read_all(bootstrap: &str, topic: &str) -> Vec<String> {
    let out = run(
        kcat(bootstrap).args(["-C", "-t", topic, "-o", "beginning", "-e"]),
        "",
    )
    .success();
    out.lines().map(str::to_string).collect()
}

#[test]
fn kcat_lists_writes_and_reads() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "orders", 3);
    let listed = run(kcat(&broker.bootstrap()).arg("-L"), "").success();
    assert!(listed.contains("topic \"orders\" with 3 partitions"), "{listed}");
    assert!(listed.contains(&format!("at {}", broker.bootstrap())), "{listed}");

    let records = numbered(1000);
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "orders", "-X", "acks=all"]),
        &(records.join("\n") + "\n"),
    )
    .success();
    let mut read = read_all(&broker.bootstrap(), "orders");
    let mut wanted = records;
    read.sort();
    wanted.sort();
    assert_eq!(read, wanted);
}

#[test]
fn every_compression_comes_back_as_it_went_in() {
    let broker = Broker::start(&[]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        create_topic(&broker, codec, 1);
        let records = numbered(500);
        run(
            kcat(&broker.bootstrap()).args(["-P", "-t", codec, "-z", codec]),
            &(records.join("\n") + "\n"),
        )
        .success();
        assert_eq!(read_all(&broker.bootstrap(), codec), records, "{codec}");
    }
}

#[test]
fn a_topic_is_made_on_first_use_where_that_is_allowed_and_only_there() {
    let allowed = Broker::start(&["auto.create.topics.enable=true"]);
    run(
        kcat(&allowed.bootstrap()).args(["-P", "-t", "made-on-use"]),
        "one\n",
    )
    .success();
    assert_eq!(read_all(&allowed.bootstrap(), "made-on-use"), ["one"]);

    let forbidden = Broker::start(&["auto.create.topics.enable=false"]);
    let refused = run(
        kcat(&forbidden.bootstrap()).args([
            "-P",
            "-t",
            "not-made",
            "-X",
            "topic.metadata.propagation.max.ms=1000",
        ]),
        "one\n",
    );
    assert!(!refused.ok, "{refused:?}");
}

#[test]
fn an_idempotent_producer_works_and_a_transactional_one_is_told_clearly() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "once", 1);
    let records = numbered(300);
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "once", "-X", "enable.idempotence=true"]),
        &(records.join("\n") + "\n"),
    )
    .success();
    assert_eq!(read_all(&broker.bootstrap(), "once"), records);

    let refused = run(
        kcat(&broker.bootstrap()).args([
            "-P",
            "-t",
            "once",
            "-X",
            "transactional.id=tx",
            "-X",
            "socket.timeout.ms=5000",
            "-X",
            "transaction.timeout.ms=6000",
        ]),
        "never\n",
    );
    assert!(!refused.ok, "transactions are not served yet: {refused:?}");
    assert_eq!(
        read_all(&broker.bootstrap(), "once"),
        records,
        "nothing of it was written"
    );
}
