//! Local mode as a person uses it: the real operator program, the real broker program, a manifest that is edited.
//!
//! The broker is the one that `cargo test` of the workspace (`make test`) builds beside this test. Where only this package
//! is tested and there is none, the test says so and ends.

// The helpers of a test fail as the test does.
#![allow(clippy::unwrap_used)]

mod records;

use operator::crd::kafka_cluster::NO_FEWER_BROKERS;
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

fn command(broker: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace-operator"));
    command
        .arg("local")
        .arg(folder.join("manifest.yaml"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--broker")
        .arg(broker);
    command
}

impl Local {
    fn start(broker: &Path, folder: &Path) -> Local {
        let mut child = command(broker, folder).stdout(Stdio::piped()).spawn().unwrap();
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

    /// Every broker's address, once all serve and none has to be restarted.
    fn addresses(&mut self) -> Vec<String> {
        let said = self.says("Bootstrap address:");
        said.split(',').map(str::to_owned).collect()
    }

    fn stop_in_order(&mut self) {
        self.signal(rustix::process::Signal::INT);
        self.says("stopped; the next run finds the data");
        assert!(self.child.wait().unwrap().success());
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

/// Looks until it is so.
fn becomes(mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if so() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn nobody_answers(address: &str) -> bool {
    becomes(|| std::net::TcpStream::connect(address).is_err())
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
    local.stop_in_order();
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

/// The file that `make cluster` runs.
#[test]
fn three_brokers_form_one_cluster_and_are_found_again() {
    let Some(broker) = broker() else {
        eprintln!("millrace-broker is not built; `make test` builds it and runs this test");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/examples/three-brokers.yaml");
    std::fs::copy(example, folder.path().join("manifest.yaml")).unwrap();
    let mut local = Local::start(&broker, folder.path());
    let addresses = local.addresses();
    assert_eq!(addresses.len(), 3);
    // Every broker tells the same of the topic, with a replica on each; one may hear of it a moment later.
    let told = |address: &str| {
        let mut found = None;
        becomes(|| {
            found = describe(address, &["payments"]).remove("payments");
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("{address} does not know of payments"))
    };
    let first = told(&addresses[0]);
    assert_eq!((first.partitions, first.replicas), (6, 3));
    for address in &addresses {
        assert_eq!(told(address).id, first.id);
    }
    local.stop_in_order();

    // Now told that it was formed: it must find itself, not begin anew.
    let mut local = Local::start(&broker, folder.path());
    let addresses = local.addresses();
    let file = std::fs::read_to_string(folder.path().join("data/three/0/server.properties")).unwrap();
    assert!(file.contains("cluster.formed=true"), "{file}");
    assert_eq!(told(&addresses[0]).id, first.id);
}

/// Topics and their replicas, of a cluster that grows: with one broker, and with three.
const BEGUN: &[(&str, i32)] = &[("orders", 1)];
const GROWN: &[(&str, i32)] = &[("orders", 1), ("payments", 3)];

/// A cluster that grows: its first topic has one partition, and so its leader is the first broker.
fn write_growing(folder: &Path, replicas: i32, listener: (&str, u16), topics: &[(&str, i32)]) {
    let (listener, port) = listener;
    let mut text = format!(
        "apiVersion: millrace.dev/v1alpha1\nkind: KafkaCluster\nmetadata: {{name: grows}}\nspec: {{replicas: {replicas}, listeners: [{{name: {listener}, port: {port}, type: internal}}], storage: {{type: persistent-claim, size: 1Gi}}}}\n"
    );
    for (name, replicas) in topics {
        text.push_str(&format!(
            "---\napiVersion: millrace.dev/v1alpha1\nkind: KafkaTopic\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: grows}}, partitions: 1, replicas: {replicas}}}\n"
        ));
    }
    std::fs::write(folder.join("manifest.yaml"), text).unwrap();
}

/// Three brokers of one cluster, in which the records of the first are, and whose new topics have three copies.
fn is_grown(addresses: &[String], before: &Topic) {
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for address in addresses {
        let grown = || {
            let found = describe(address, &["orders", "payments"]);
            let copies = found.get("payments").map(|topic| (topic.replicas, topic.in_sync));
            let same = found.get("orders").is_some_and(|topic| topic.id == before.id);
            same && copies == Some((3, 3))
        };
        assert!(
            becomes(grown),
            "{address} is of another cluster, or payments lacks a copy"
        );
    }
    let mut found = Err(0);
    becomes(|| {
        found = records::read(&addresses[0], "orders");
        found.is_ok()
    });
    assert_eq!(found, Ok(vec!["one".to_owned(), "two".to_owned()]));
}

#[test]
fn one_broker_becomes_three_while_it_runs_and_not_one_again() {
    let Some(broker) = broker() else {
        eprintln!("millrace-broker is not built; `make test` builds it and runs this test");
        return;
    };
    // No other test begins there: while the first broker is restarted somebody else would get its port.
    const PLAIN: (&str, u16) = ("plain", 9600);
    let folder = tempfile::tempdir().unwrap();
    write_growing(folder.path(), 1, PLAIN, BEGUN);
    let mut local = Local::start(&broker, folder.path());
    let first = local.addresses();
    records::append(&first[0], "orders", &["one", "two"]);
    let before = describe(&first[0], &["orders"]).remove("orders").unwrap();

    // The new ones join, and the first is restarted once they vote, for its own new defaults.
    write_growing(folder.path(), 3, PLAIN, GROWN);
    let reasons = local.says("grows: restarting broker 0:");
    assert!(reasons.contains("default.replication.factor 1 -> 3"), "{reasons}");
    let grown = local.addresses();
    assert_eq!(grown[0], first[0], "clients find the first where it was");
    is_grown(&grown, &before);

    // Fewer are refused, in the words of the rule, and nothing changes.
    write_growing(folder.path(), 1, PLAIN, GROWN);
    assert_eq!(local.says("spec.replicas:"), NO_FEWER_BROKERS);
    is_grown(&grown, &before);

    // Another listener takes a restart of each: one at a time, and all but one serve.
    let seen = local.seen.len();
    write_growing(folder.path(), 3, ("clients", 9600), GROWN);
    let moved = local.addresses();
    is_grown(&moved, &before);
    let said = &local.seen[seen..];
    let restarted = said.iter().filter(|line| line.contains("restarting broker"));
    assert_eq!(restarted.count(), 3, "{said:#?}");
    for fewer in ["0/3 ready", "1/3 ready"] {
        assert!(!said.iter().any(|line| line.contains(fewer)), "{said:#?}");
    }
}

#[test]
fn one_broker_becomes_three_between_two_runs_and_not_one_again() {
    let Some(broker) = broker() else {
        eprintln!("millrace-broker is not built; `make test` builds it and runs this test");
        return;
    };
    const PLAIN: (&str, u16) = ("plain", 9900);
    let folder = tempfile::tempdir().unwrap();
    write_growing(folder.path(), 1, PLAIN, BEGUN);
    let mut local = Local::start(&broker, folder.path());
    let first = local.addresses();
    records::append(&first[0], "orders", &["one", "two"]);
    let before = describe(&first[0], &["orders"]).remove("orders").unwrap();
    local.stop_in_order();

    write_growing(folder.path(), 3, PLAIN, GROWN);
    let mut local = Local::start(&broker, folder.path());
    is_grown(&local.addresses(), &before);
    local.stop_in_order();

    // Not begun anew with fewer: refused, in the words of the rule.
    write_growing(folder.path(), 1, PLAIN, BEGUN);
    let refused = command(&broker, folder.path()).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        words.contains(&format!("spec.replicas: {NO_FEWER_BROKERS}")),
        "{words}"
    );

    write_growing(folder.path(), 3, PLAIN, GROWN);
    let mut local = Local::start(&broker, folder.path());
    is_grown(&local.addresses(), &before);
}
