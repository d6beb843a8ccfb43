//! Brokers are killed, stopped, restarted in turn, and cut off from one another, while third-party clients go on.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{BROKERS, Cluster};
use crate::load::{Clients, Load};
use crate::program::is_root;

const PARTITIONS: u32 = 3;
/// A promise, not a measurement: restarting the brokers in turn makes no partition wait longer than this, neither for
/// acknowledgements nor for records.
const LONGEST_GAP_OF_A_ROLLING_RESTART: Duration = Duration::from_secs(1);

#[test]
fn brokers_killed_in_turn_lose_nothing() {
    brokers_are_killed_in_turn(Clients::Librdkafka);
}

#[test]
fn brokers_killed_in_turn_lose_nothing_of_java_clients() {
    brokers_are_killed_in_turn(Clients::Java);
}

fn brokers_are_killed_in_turn(clients: Clients) {
    let mut cluster = Cluster::start();
    cluster.create_topic("orders", PARTITIONS);
    let bootstrap = cluster.bootstrap();
    let mut load = Load::start(clients, &bootstrap, "orders", PARTITIONS);
    for round in 0..2 * BROKERS {
        // The leader of a partition in every other round, so that each kind of broker is hit.
        let victim = match round % 2 {
            0 => cluster.leader("orders"),
            _ => round % BROKERS,
        };
        cluster.brokers[victim].kill();
        load.more(150);
        cluster.brokers[victim].start_again();
        cluster.wait_whole("orders");
    }
    load.audit(&format!("six kills, {clients:?}"));
}

#[test]
fn a_stopped_leader_that_goes_on_is_fenced_and_loses_nothing() {
    let cluster = Cluster::start();
    cluster.create_topic("orders", PARTITIONS);
    let bootstrap = cluster.bootstrap();
    let mut load = Load::start(Clients::Librdkafka, &bootstrap, "orders", PARTITIONS);
    for at_least in [Duration::ZERO, Duration::from_secs(30)] {
        let victim = cluster.leader("orders");
        cluster.brokers[victim].signal("STOP");
        let stopped = Instant::now();
        load.more(150);
        while stopped.elapsed() < at_least {
            load.more(150);
        }
        cluster.brokers[victim].signal("CONT");
        cluster.wait_whole("orders");
        load.more(150);
    }
    load.audit("leaders stopped twice, once for 30 s");
}

#[test]
fn a_rolling_restart_under_load_shows_no_error() {
    let mut cluster = Cluster::start();
    cluster.create_topic("orders", PARTITIONS);
    let bootstrap = cluster.bootstrap();
    let mut load = Load::start(Clients::Librdkafka, &bootstrap, "orders", PARTITIONS);
    for node in 0..BROKERS {
        cluster.brokers[node].stop();
        load.more(50);
        cluster.brokers[node].start_again();
        cluster.wait_whole("orders");
        load.more(50);
    }
    let silences = load.audit("each broker restarted once");
    for (who, longest) in [
        ("the producer", silences.producer),
        ("the group", silences.consumers),
    ] {
        assert!(
            longest <= LONGEST_GAP_OF_A_ROLLING_RESTART,
            "{who} had to wait {longest:?} while brokers were restarted in turn"
        );
    }
}

#[test]
fn a_cut_link_between_two_brokers_loses_nothing() {
    if !is_root() {
        println!("skipped: network namespaces need root");
        return;
    }
    let network = Network::new();
    let places = network.places();
    let places = [0, 1, 2].map(|node| (places[node].0.as_str(), Some(places[node].1.as_str())));
    let cluster = Cluster::at(places);
    cluster.create_topic("orders", PARTITIONS);
    let bootstrap = cluster.bootstrap();
    let mut load = Load::start(Clients::Librdkafka, &bootstrap, "orders", PARTITIONS);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        network.cut(from, to);
        load.more(150);
        network.heal(from, to);
        cluster.wait_whole("orders");
    }
    load.audit("each link cut once, one way");
}

/// A network namespace for each broker, joined by a bridge; the test's own end has an address too. Everything is named by
/// this process and removed with the value.
struct Network {
    tag: String,
    subnet: u8,
}

impl Network {
    fn new() -> Network {
        let process = std::process::id();
        let network = Network {
            tag: format!("mr{process}"),
            subnet: (process % 200) as u8 + 20,
        };
        let bridge = &network.tag;
        ip(&["link", "add", bridge, "type", "bridge"]);
        ip(&[
            "addr",
            "add",
            &format!("{}/24", network.address(254)),
            "dev",
            bridge,
        ]);
        ip(&["link", "set", bridge, "up"]);
        for node in 0..BROKERS {
            let (space, outer) = (network.space(node), format!("{}v{node}", network.tag));
            ip(&["netns", "add", &space]);
            ip(&[
                "link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &space,
            ]);
            ip(&["link", "set", &outer, "master", bridge, "up"]);
            let inside = |arguments: &[&str]| ip(&[&["-n", space.as_str()], arguments].concat());
            inside(&["link", "set", "lo", "up"]);
            inside(&[
                "addr",
                "add",
                &format!("{}/24", network.address(node + 1)),
                "dev",
                "eth0",
            ]);
            inside(&["link", "set", "eth0", "up"]);
        }
        network
    }

    fn address(&self, host: usize) -> String {
        format!("10.213.{}.{host}", self.subnet)
    }

    fn space(&self, node: usize) -> String {
        format!("{}n{node}", self.tag)
    }

    fn places(&self) -> Vec<(String, String)> {
        (0..BROKERS)
            .map(|node| (self.address(node + 1), self.space(node)))
            .collect()
    }

    /// What broker `from` sends to broker `to` vanishes; the other direction still works.
    fn cut(&self, from: usize, to: usize) {
        let target = format!("{}/32", self.address(to + 1));
        ip(&["-n", &self.space(from), "route", "add", "blackhole", &target]);
    }

    fn heal(&self, from: usize, to: usize) {
        let target = format!("{}/32", self.address(to + 1));
        ip(&["-n", &self.space(from), "route", "del", "blackhole", &target]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in 0..BROKERS {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.space(node)])
                .status();
        }
        let _ = Command::new("ip").args(["link", "del", &self.tag]).status();
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("ip runs");
    assert!(
        done.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr)
    );
}
