//! The wires: one network namespace per machine, joined by a bridge in a namespace of its own. None has a way out.
//!
//! Owns the addresses. `mr-out` is a client outside the cluster: on the same wire, but without routes to pods.

use std::process::Command;

use anyhow::Result;

use crate::kubectl::output_of;

/// The control plane's address.
pub(super) const CONTROL_PLANE: &str = "172.30.0.10";
const CLIENT: &str = "172.30.0.100";

/// The namespace of everything that plays a user outside the cluster.
pub(super) const OUTSIDE: &str = "mr-out";
const WIRE: &str = "mr-lan";

pub(super) fn node_address(node: usize) -> String {
    format!("172.30.0.{}", 10 + node)
}

/// The pod addresses of a node, as `10.244.N.0/24`.
pub(super) fn pod_range(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

pub(super) fn namespace(machine: &str) -> String {
    format!("mr-{machine}")
}

/// Makes the wire and plugs in the control plane, the nodes 1 to `nodes`, and the outside client.
pub(super) fn lay(nodes: usize) -> Result<()> {
    ip(&["netns", "add", WIRE])?;
    ip(&["-n", WIRE, "link", "add", "br0", "type", "bridge"])?;
    ip(&["-n", WIRE, "link", "set", "br0", "up"])?;
    plug("mr-cp", CONTROL_PLANE)?;
    plug(OUTSIDE, CLIENT)?;
    for node in 1..=nodes {
        plug(&namespace(&format!("n{node}")), &node_address(node))?;
    }
    // Pods of other nodes are reached by plain routes, so that pod addresses are real between the nodes.
    for node in 1..=nodes {
        let mut machines = vec!["mr-cp".to_owned()];
        machines.extend(
            (1..=nodes)
                .filter(|&other| other != node)
                .map(|other| namespace(&format!("n{other}"))),
        );
        for machine in machines {
            ip(&[
                "-n",
                &machine,
                "route",
                "add",
                &pod_range(node),
                "via",
                &node_address(node),
            ])?;
        }
    }
    // The wire is a switch, not a firewall.
    inside(WIRE, &["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"])
}

fn plug(namespace: &str, address: &str) -> Result<()> {
    ip(&["netns", "add", namespace])?;
    ip(&["-n", namespace, "link", "set", "lo", "up"])?;
    ip(&[
        "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", namespace, "netns", WIRE,
    ])?;
    ip(&["-n", WIRE, "link", "set", namespace, "master", "br0", "up"])?;
    ip(&[
        "-n",
        namespace,
        "addr",
        "add",
        &format!("{address}/24"),
        "dev",
        "eth0",
    ])?;
    ip(&["-n", namespace, "link", "set", "eth0", "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    output_of(
        Command::new("ip").args(arguments),
        &format!("ip {}", arguments.join(" ")),
    )
    .map(drop)
}

/// The words that run a program in a network namespace and leave everything else as it is.
pub(super) fn enter(namespace: &str) -> Vec<String> {
    vec![
        "nsenter".to_owned(),
        format!("--net=/run/netns/{namespace}"),
        "--".to_owned(),
    ]
}

fn inside(namespace: &str, command: &[&str]) -> Result<()> {
    let words = enter(namespace);
    output_of(
        Command::new(&words[0]).args(&words[1..]).args(command),
        &command.join(" "),
    )
    .map(drop)
}
