//! Local mode as a person uses it: the real operator program, the real broker program, a manifest that is edited.
//!
//! The broker is the one that `cargo test` of the workspace (`make test`) builds beside this test. Where only this package
//! is tested and there is none, the test says so and ends.

// The helpers of a test fail as the test does.
#![allow(clippy::unwrap_used)]

use operator::kafka::{Kafka, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far above what anything here takes; a wait that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

struct Local {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Local {
    fn start(broker: &Path, folder: &Path) -> Local {
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace-operator"))
            .arg("local")
            .arg(folder.join("manifest.yaml"))
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--broker")
            .arg(broker)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Local {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The rest of the first line from now on that has `words` in it.
    fn says(&mut self, words: &str) -> String {
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self
            .lines
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line.clone());
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
        panic!("{words:?} was not said; what was: {:#?}", self.seen);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// A test that failed must not leave brokers behind; they end with their parent.
impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn broker() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_millrace-operator")).with_file_name("millrace-broker");
    beside.is_file().then_some(beside)
}

fn write_manifest(folder: &Path, topics: &[(&str, i32, &str)]) {
    let mut text = "apiVersion: millrace.dev/v1alpha1\nkind: KafkaCluster\nmetadata: {name: first}\nspec: {replicas: 1, storage: {type: persistent-claim, size: 1Gi}}\n".to_owned();
    for (name, partitions, deletion) in topics {
        text.push_str(&format!(
            "---\napiVersion: millrace.dev/v1alpha1\nkind: KafkaTopic\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: first}}, partitions: {partitions}, deletionPolicy: {deletion}}}\n"
        ));
    }
    std::fs::write(folder.join("manifest.yaml"), text).unwrap();
}

fn describe(address: &str, names: &[&str]) -> BTreeMap<String, Topic> {
    let asked = names
        .iter()
        .map(|name| ((*name).to_owned(), BTreeSet::new()))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        Kafka::connect(address)
            .await
            .unwrap()
            .describe(&asked)
            .await
            .unwrap()
    })
}

fn nobody_answers(address: &str) -> bool {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if std::net::TcpStream::connect(address).is_err() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_manifest_is_run_edited_stopped_and_run_again() {
    let Some(broker) = broker() else {
        eprintln!("millrace-broker is not built; `make test` builds it and runs this test");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_manifest(folder.path(), &[("orders", 3, "Delete"), ("kept", 1, "Retain")]);
    let mut local = Local::start(&broker, folder.path());
    let address = local.says("Bootstrap address:");
    let before = describe(&address, &["orders", "kept"]);
    assert_eq!((before["orders"].partitions, before["kept"].partitions), (3, 1));

    // More partitions are added and said.
    write_manifest(folder.path(), &[("orders", 5, "Delete"), ("kept", 1, "Retain")]);
    assert_eq!(local.says("PartitionsIncreased:"), "3 -> 5");
    assert_eq!(describe(&address, &["orders"])["orders"].partitions, 5);

    // Fewer are refused, in the words of the rule, and nothing changes.
    write_manifest(folder.path(), &[("orders", 2, "Delete"), ("kept", 1, "Retain")]);
    let words = local.says("spec.partitions:");
    assert_eq!(words, operator::crd::kafka_topic::NO_FEWER_PARTITIONS);
    assert_eq!(describe(&address, &["orders"])["orders"].partitions, 5);

    // Stopped in order, and run again: the data is there.
    local.signal(rustix::process::Signal::INT);
    local.says("stopped; the next run finds the data");
    assert!(local.child.wait().unwrap().success());
    write_manifest(folder.path(), &[("orders", 5, "Delete"), ("kept", 1, "Retain")]);
    let mut local = Local::start(&broker, folder.path());
    let address = local.says("Bootstrap address:");
    assert_eq!(describe(&address, &["orders"])["orders"].id, before["orders"].id);

    // A topic that leaves the file follows its deletion policy.
    write_manifest(folder.path(), &[]);
    local.says("Retained");
    let after = describe(&address, &["orders", "kept"]);
    assert_eq!(after.keys().collect::<Vec<_>>(), ["kept"]);

    // The broker does not outlive the operator, however that ends.
    local.child.kill().unwrap();
    local.child.wait().unwrap();
    assert!(nobody_answers(&address), "the broker is still there");
}

#[test]
fn three_brokers_form_one_cluster_and_are_found_again() {
    let Some(broker) = broker() else {
        eprintln!("millrace-broker is not built; `make test` builds it and runs this test");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: millrace.dev/v1alpha1\nkind: KafkaCluster\nmetadata: {name: three}\nspec: {replicas: 3, storage: {type: persistent-claim, size: 1Gi}}\n\
         ---\napiVersion: millrace.dev/v1alpha1\nkind: KafkaTopic\nmetadata: {name: payments}\nspec: {clusterRef: {name: three}, partitions: 3, replicas: 3}\n";
    std::fs::write(folder.path().join("manifest.yaml"), text).unwrap();
    let mut local = Local::start(&broker, folder.path());
    let addresses = local.says("Bootstrap address:");
    let addresses: Vec<&str> = addresses.split(',').collect();
    assert_eq!(addresses.len(), 3);
    // Every broker tells the same of the topic, with a replica on each.
    let first = describe(addresses[0], &["payments"]);
    assert_eq!((first["payments"].partitions, first["payments"].replicas), (3, 3));
    for address in &addresses {
        assert_eq!(
            describe(address, &["payments"])["payments"].id,
            first["payments"].id
        );
    }
    local.signal(rustix::process::Signal::INT);
    local.says("stopped; the next run finds the data");
    assert!(local.child.wait().unwrap().success());

    // Now told that it was formed: it must find itself, not begin anew.
    let mut local = Local::start(&broker, folder.path());
    let addresses = local.says("Bootstrap address:");
    let file = std::fs::read_to_string(folder.path().join("data/three/0/server.properties")).unwrap();
    assert!(file.contains("cluster.formed=true"), "{file}");
    let again = describe(addresses.split(',').next().unwrap(), &["payments"]);
    assert_eq!(again["payments"].id, first["payments"].id);
}
