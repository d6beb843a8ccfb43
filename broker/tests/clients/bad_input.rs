//! Bad input of every kind a broker meets: each gets one clear line or error code, and what was there before is still there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::broker::{Broker, free_port};
use crate::kcat::{create_topic, kcat, numbered, read_all};
use crate::program::{is_root, prepared, run, wait};

/// Sends bytes to the Kafka port and returns what came back before the broker closed the connection.
fn answer_to(broker: &Broker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.bootstrap()).expect("the broker listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    // The broker may close while we still write: that is an answer too.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn garbage_and_http_and_huge_lengths_close_one_connection_and_nothing_else() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "orders", 1);
    let records = numbered(10);
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "orders"]),
        &(records.join("\n") + "\n"),
    )
    .success();

    let half_open = TcpStream::connect(broker.bootstrap()).expect("the broker listens");
    assert_eq!(
        answer_to(&broker, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        b"",
        "HTTP is not answered"
    );
    assert_eq!(
        answer_to(&broker, &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 9]),
        b"",
        "2 GiB are not waited for"
    );
    assert_eq!(answer_to(&broker, &[0xff; 64]), b"", "a negative length");
    let garbage: Vec<u8> = std::iter::once([0u8, 0, 0, 60])
        .flatten()
        .chain((0..60u8).map(|byte| byte.wrapping_mul(91) ^ 0xa5))
        .collect();
    assert_eq!(answer_to(&broker, &garbage), b"", "garbage of a good length");

    assert_eq!(
        read_all(&broker.bootstrap(), "orders"),
        records,
        "everybody else goes on"
    );
    let log = broker.log();
    assert!(log.contains("HTTP"), "one line names what came:\n{log}");
    drop(half_open);
}

/// A broker that must not start: its exit code and everything it said.
fn refused(arguments: &[&str]) -> String {
    let dir = tempfile::TempDir::new().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace-broker"))
        .env_clear()
        .args([
            "--override",
            "admin.listener=127.0.0.1:0",
            "--override",
            "http.listener=127.0.0.1:0",
        ])
        .args([
            "--override",
            &format!("log.dirs={}", dir.path().join("data").display()),
        ])
        .args([
            "--override",
            &format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
        ])
        .args(arguments.iter().flat_map(|setting| ["--override", setting]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the broker binary runs");
    let ended = wait(&mut child, Duration::from_secs(60));
    if ended.is_none() {
        child.kill().expect("a child of this test");
    }
    let output = child.wait_with_output().expect("a child of this test");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        ended,
        Some(false),
        "{arguments:?} must end the start with an error; it said:\n{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_start_that_cannot_be_says_what_is_wrong() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    for (setting, named) in [
        ("log.segment.byte=1048576", "log.segment.bytes"),
        ("log.segment.bytes=tiny", "log.segment.bytes"),
        ("log.cleaner.threads=4", "log.cleaner.threads"),
        ("listeners=PLAINTEXT//nohost", "listeners"),
        ("listener.security.protocol.map=PLAINTEXT:SSL", "SSL"),
        ("log.dirs=/proc/no-such-place", "/proc/no-such-place"),
        (listeners.as_str(), &port.to_string()),
    ] {
        let said = refused(&[setting]);
        assert!(
            said.contains(named),
            "{setting}: the message must name {named}:\n{said}"
        );
    }
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused() {
    let mut broker = Broker::start(&["node.id=1"]);
    create_topic(&broker, "orders", 1);
    broker.stop();
    let dirs = format!("log.dirs={}", broker.data().display());
    let said = refused(&["node.id=2", &dirs]);
    assert!(
        said.contains("node") && said.contains('1') && said.contains('2'),
        "{said}"
    );
    broker.start_again();
    let listed = run(kcat(&broker.bootstrap()).arg("-L"), "").success();
    assert!(listed.contains("orders"), "the refusal changed nothing: {listed}");
}

/// Fills the disk with acknowledged records until the broker refuses, then says how many it acknowledged.
const FILL: &str = r#"
import sys
from confluent_kafka import Producer, KafkaException
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "message.timeout.ms": 8000, "retries": 3})
acked, failed = 0, []
def landed(error, message):
    global acked
    if error is None:
        acked += 1
    else:
        failed.append(str(error))
payload = bytes(20000)
for number in range(20000):
    while True:
        try:
            producer.produce(sys.argv[2], value=b"%08d" % number + payload, on_delivery=landed)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)
    if failed:
        break
producer.flush(20)
print("acked", acked, "failed", len(failed), failed[:1])
"#;

#[test]
fn a_full_disk_refuses_producers_serves_consumers_and_heals() {
    if !is_root() {
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let mut broker = Broker::on_small_disk(
        "192m",
        &["log.segment.bytes=8388608", "log.segment.delete.delay.ms=0"],
    );
    create_topic(&broker, "big", 1);
    create_topic(&broker, "small", 1);
    run(kcat(&broker.bootstrap()).args(["-P", "-t", "small"]), "kept\n").success();
    let python = prepared("python-example").join("venv/bin/python");
    let filled = run(
        Command::new(&python).args(["-c", FILL, &broker.bootstrap(), "big"]),
        "",
    )
    .success();
    let words: Vec<&str> = filled.split_whitespace().collect();
    let acknowledged: usize = words[1].parse().expect("a count");
    assert!(
        acknowledged > 1000 && words[3] != "0",
        "it fills and then refuses: {filled}"
    );

    let read = run(
        kcat(&broker.bootstrap()).args(["-C", "-t", "big", "-o", "beginning", "-e", "-f", "%o\n"]),
        "",
    )
    .success();
    assert!(
        read.lines().count() >= acknowledged,
        "consumers go on: {} of {acknowledged}",
        read.lines().count()
    );
    assert_eq!(read_all(&broker.bootstrap(), "small"), ["kept"]);

    let topics = [
        "--bootstrap-server",
        &broker.bootstrap(),
        "--delete",
        "--topic",
        "big",
    ]
    .map(str::to_string);
    run(
        crate::program::java("tools-new", "org.apache.kafka.tools.TopicCommand").args(topics),
        "",
    )
    .success();
    let end = std::time::Instant::now() + crate::program::DEADLINE;
    loop {
        let again = run(
            kcat(&broker.bootstrap()).args(["-P", "-t", "small", "-X", "message.timeout.ms=5000"]),
            "healed\n",
        );
        if again.ok {
            break;
        }
        assert!(
            std::time::Instant::now() < end,
            "it does not heal:\n{}",
            broker.log()
        );
    }
    assert_eq!(
        read_all(&broker.bootstrap(), "small").last().map(String::as_str),
        Some("healed")
    );
    broker.kill();
}

#[test]
fn a_read_only_data_directory_is_one_clear_line() {
    if !is_root() {
        println!("skipped: mounting a file system needs root");
        return;
    }
    let mount = tempfile::tempdir().expect("a mount point");
    // Once empty, and once as a broker left it.
    for fill in [
        "true",
        "\"$@\" >/dev/null 2>&1 & until [ -e \"$0\"/meta.properties ]; do sleep 0.05; done; kill $!; wait $!",
    ] {
        let script = format!(
            "mount -t tmpfs tmpfs \"$0\" && {{ {fill}; mount -o remount,ro \"$0\"; }} && exec \"$@\""
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(mount.path())
            .arg(env!("CARGO_BIN_EXE_millrace-broker"))
            .args(["--override", &format!("log.dirs={}", mount.path().display())])
            .args(["--override", "listeners=PLAINTEXT://127.0.0.1:0"])
            .args(["--override", "admin.listener=127.0.0.1:0"])
            .args(["--override", "http.listener=127.0.0.1:0"])
            .output()
            .expect("unshare runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("read-only")).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(
            lines[0].contains(&format!(
                "log directory {} lies on a read-only file system",
                mount.path().display()
            )),
            "{said}"
        );
    }
}
