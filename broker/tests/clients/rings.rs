//! What the kernel says of how records come from one broker to the others: on the engine `uring` files are written and sockets
//! are waited for through rings, on both ends; on `posix` the same look sees system calls and epoll.
//!
//! The bytes of a socket that is ready are copied by `recv` and `sendmsg` on both engines; the kernel counts neither.

use std::collections::BTreeSet;
use std::fs;

use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::kcat::kcat;
use crate::program::run;

const TOPIC: &str = "blobs";
const RECORDS: usize = 320;
const RECORD_BYTES: usize = 100_000;
const PAYLOAD: u64 = (RECORDS * RECORD_BYTES) as u64;
const RECEIVED: &str = "millrace_replication_in_bytes_total";

/// What the kernel says of one broker.
#[derive(Debug)]
struct Seen {
    rings: usize,
    /// Bytes that write, pwrite and their kin took while the records came. What a ring writes is not among them.
    written: u64,
    /// Its ends of connections over which the leader gave the records.
    sockets: usize,
    /// Those of them that it waits for through epoll.
    polled: usize,
}

/// Open files of a process: the number of each, and what it is.
fn open_files(broker: &Broker) -> Vec<(String, String)> {
    let files = fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("a process of this test");
    let files = files.filter_map(|entry| {
        // One may be closed meanwhile.
        let entry = entry.ok()?;
        let what = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, what.to_str()?.to_string()))
    });
    files.collect()
}

/// Numbers of the files that a process waits for through epoll.
fn polled(broker: &Broker) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (number, what) in open_files(broker) {
        if what != "anon_inode:[eventpoll]" {
            continue;
        }
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", broker.pid())).unwrap_or_default();
        let targets = info
            .lines()
            .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
        found.extend(targets.map(str::to_string));
    }
    found
}

/// Both ends of the connections to a port, as `/proc/PID/fd` names them.
fn connections(port: u16) -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's connections");
    let port = format!(":{port:04X}");
    let ends = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, inode) = (words.get(1)?, words.get(2)?, words.get(9)?);
        let is_one = local.ends_with(&port) || remote.ends_with(&port);
        (is_one && words[3] == ESTABLISHED).then(|| format!("socket:[{inode}]"))
    });
    ends.collect()
}

fn written(broker: &Broker) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", broker.pid())).expect("a process of this user");
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written
        .expect("the kernel counts bytes")
        .parse()
        .expect("a number")
}

fn counted(broker: &Broker, name: &str) -> u64 {
    let page = broker.http_get("/metrics").expect("the HTTP port answers");
    let values = page.lines().filter_map(|line| {
        let (named, value) = line.rsplit_once(' ')?;
        let is_it = named.split('{').next() == Some(name);
        is_it.then(|| value.parse::<f64>().expect("a number"))
    });
    values.sum::<f64>() as u64
}

/// Has records acknowledged by all three.
fn replicate(cluster: &Cluster) -> Vec<Seen> {
    cluster.create_topic(TOPIC, 1);
    let brokers = &cluster.brokers;
    let before: Vec<(u64, u64)> = brokers
        .iter()
        .map(|broker| (written(broker), counted(broker, RECEIVED)))
        .collect();
    let records = format!("{}\n", "x".repeat(RECORD_BYTES)).repeat(RECORDS);
    run(
        kcat(&cluster.bootstrap()).args(["-P", "-t", TOPIC, "-X", "acks=all"]),
        &records,
    )
    .success();
    let leader = cluster.leader(TOPIC);
    let ends = connections(cluster.replication_ports[leader]);
    let seen = brokers.iter().enumerate().map(|(node, broker)| {
        let received = counted(broker, RECEIVED) - before[node].1;
        assert!(
            node == leader || received >= PAYLOAD,
            "broker {node} got {received} bytes"
        );
        let (files, polled) = (open_files(broker), polled(broker));
        let own: Vec<&String> = files
            .iter()
            .filter(|(_, what)| ends.contains(what))
            .map(|(number, _)| number)
            .collect();
        Seen {
            rings: files
                .iter()
                .filter(|(_, what)| what == "anon_inode:[io_uring]")
                .count(),
            written: written(broker) - before[node].0,
            sockets: own.len(),
            polled: own.iter().filter(|number| polled.contains(**number)).count(),
        }
    });
    seen.collect()
}

fn is_on_rings(broker: &Broker) -> bool {
    let page = broker.http_get("/metrics").expect("the HTTP port answers");
    page.lines()
        .any(|line| line.starts_with("millrace_io_engine_info") && line.contains("uring"))
}

#[test]
fn records_go_through_rings_on_both_ends_of_replication() {
    let cluster = Cluster::with(&["io.engine=auto"]);
    if !cluster.brokers.iter().all(is_on_rings) {
        println!("skipped: this machine does not allow io_uring");
        return;
    }
    for (node, seen) in replicate(&cluster).iter().enumerate() {
        println!("broker {node} of {PAYLOAD} bytes: {seen:?}");
        assert!(seen.rings > 0, "broker {node} has rings");
        assert!(seen.sockets > 0, "broker {node} has an end of a connection");
        assert_eq!(seen.polled, 0, "broker {node} waits for it through a ring");
        assert!(
            seen.written < PAYLOAD / 10,
            "broker {node} wrote {} bytes outside of its rings",
            seen.written
        );
    }
}

#[test]
fn without_rings_the_same_look_sees_system_calls() {
    let cluster = Cluster::with(&["io.engine=posix"]);
    for (node, seen) in replicate(&cluster).iter().enumerate() {
        println!("broker {node} of {PAYLOAD} bytes: {seen:?}");
        assert_eq!(seen.rings, 0, "broker {node} has no rings");
        assert!(seen.sockets > 0, "broker {node} has an end of a connection");
        assert_eq!(seen.polled, seen.sockets, "broker {node} waits through epoll");
        assert!(
            seen.written >= PAYLOAD,
            "broker {node} wrote {} bytes",
            seen.written
        );
    }
}
