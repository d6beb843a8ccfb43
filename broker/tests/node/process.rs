//! The real binary, as a process: killed at any moment, stopped by a signal, started with few open files.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::client::{Client, batch_of, produce_request};
use crate::harness::{Setup, everywhere};

/// A broker process and where it serves.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts it through a shell, after `before` (for example `ulimit`), and waits until it says that it serves.
    fn start(setup: Setup, dir: &Path, before: &str) -> Process {
        let script = format!("{before} exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_millrace-broker")]);
        let properties = [
            format!("log.dirs={}", dir.display()),
            format!("io.engine={}", setup.engine),
            format!("shards={}", setup.shards),
            "listeners=PLAINTEXT://127.0.0.1:0".into(),
            "admin.listener=127.0.0.1:0".into(),
            "http.listener=127.0.0.1:0".into(),
        ];
        for property in properties {
            command.args(["--override", &property]);
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the broker binary runs");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the broker ended at start:\n{}", said.join("\n"))
            };
            if line.contains("clients are served") {
                let address = line
                    .split("address=")
                    .nth(1)
                    .expect("an address")
                    .split_whitespace()
                    .next();
                break address.expect("an address").parse().expect("host:port");
            }
            said.push(line);
        };
        // Somebody has to read on, or the broker would one day wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, address }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    fn end(self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }

    fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("a child of this test")
    }
}

#[test]
fn killed_again_and_again_it_keeps_what_it_acknowledged() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged: Vec<String> = Vec::new();
        for life in 0..4 {
            let broker = Process::start(setup, dir.path(), "");
            let mut client = broker.client();
            if life == 0 {
                client.create_topic("orders", 1, &[]);
            }
            let found: Vec<String> = client
                .read_all("orders", 0, 0)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            let lost: Vec<&String> = acknowledged
                .iter()
                .filter(|value| !found.contains(value))
                .collect();
            assert!(lost.is_empty(), "life {life}: {lost:?}");
            // Several requests are under way when the process dies: some of them acknowledged, some not.
            let sent: Vec<(i32, String)> = (0..200)
                .map(|number| {
                    let value = format!("{life}/{number}");
                    (
                        client.send(9, &produce_request("orders", 0, -1, batch_of(&[&value]))),
                        value,
                    )
                })
                .collect();
            for (at, (correlation, value)) in sent.into_iter().enumerate() {
                if at == 100 {
                    broker.signal("-KILL");
                }
                match client.try_receive::<protocol::messages::produce::ProduceRequest>(9, correlation) {
                    Ok(answer) if answer.responses[0].partition_responses[0].error_code == 0 => {
                        acknowledged.push(value)
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            assert_eq!(broker.ended().signal(), Some(9));
        }
        assert!(acknowledged.len() >= 400);
    });
}

#[test]
fn a_signal_stops_it_in_order() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = Process::start(setup, dir.path(), "");
        let mut client = broker.client();
        client.create_topic("orders", 2, &[]);
        client.append("orders", 0, &["a"]);
        let status = broker.end("-TERM");
        assert_eq!(status.code(), Some(0));
        assert!(client.is_closed());
        assert!(dir.path().join(".kafka_cleanshutdown").exists());
    });
}

#[test]
fn two_hundred_partitions_run_with_256_open_files() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = Process::start(setup, dir.path(), "ulimit -n 256;");
        let mut client = broker.client();
        client.create_topic("orders", 200, &[]);
        for round in 0..2 {
            for partition in 0..200 {
                assert_eq!(
                    client.append("orders", partition, &["x"]),
                    round,
                    "partition {partition}"
                );
            }
        }
        for partition in 0..200 {
            assert_eq!(
                client.read_all("orders", partition, 0).len(),
                2,
                "partition {partition}"
            );
        }
        assert_eq!(broker.end("-KILL").signal(), Some(9));

        let broker = Process::start(setup, dir.path(), "ulimit -n 256;");
        let mut client = broker.client();
        for partition in 0..200 {
            assert_eq!(
                client.read_all("orders", partition, 0).len(),
                2,
                "partition {partition} after the restart"
            );
        }
        assert_eq!(broker.end("-TERM").code(), Some(0));
    });
}

#[test]
fn a_port_in_use_and_a_directory_in_use_are_said_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        engine: "posix",
        shards: 2,
    };
    let broker = Process::start(setup, dir.path(), "");
    let refused = |dir: &Path, listeners: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_millrace-broker"))
            .args([
                "--override",
                &format!("log.dirs={}", dir.display()),
                "--override",
                &format!("listeners={listeners}"),
            ])
            .args([
                "--override",
                "admin.listener=127.0.0.1:0",
                "--override",
                "http.listener=127.0.0.1:0",
            ])
            .args(["--override", "io.engine=posix", "--override", "shards=2"])
            .output()
            .expect("the broker binary runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let words = refused(dir.path(), "PLAINTEXT://127.0.0.1:0");
    assert!(words.contains("in use by another process"), "{words}");
    let other = tempfile::tempdir().unwrap();
    let words = refused(other.path(), &format!("PLAINTEXT://{}", broker.address));
    assert!(words.contains("in use") && words.contains("listener"), "{words}");
    assert_eq!(broker.end("-TERM").code(), Some(0));
}
