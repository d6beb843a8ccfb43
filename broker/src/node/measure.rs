//! What the health page waits for and what the metrics page shows of the data plane.
//!
//! Owns the names of the start's steps and of the shards' metrics. Leaves rendering to `http.rs`, counting to
//! `shard/counters.rs`.

use std::sync::{Arc, Mutex, PoisonError};

use crate::http::{Health, Kind, Metrics, Sample};
use crate::quorum::{Handle, Voter};
use crate::rt::{self, EngineChoice, Instant};
use crate::shard::counters::ShardCounters;
use crate::shard::replicas::Progress;

/// The steps of a start, in order. Each is a reason on `/readyz` until it is done.
pub(super) const STEPS: &[&str] = &[DIRECTORIES, QUORUM, RECOVERY, LISTENERS, REGISTRATION];
pub(super) const DIRECTORIES: &str = "open the log directories";
pub(super) const QUORUM: &str = "join the metadata quorum";
pub(super) const RECOVERY: &str = "recover the logs";
pub(super) const LISTENERS: &str = "open the listeners";
pub(super) const REGISTRATION: &str = "register with the cluster";

/// Health and metrics of a broker that begins to start.
pub(super) fn begin(began: Instant) -> (Health, Metrics) {
    let health = Health::new(STEPS);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), began, &health);
    (health, metrics)
}

/// Counts recovered logs of `all`, and says how far they are on the health page.
pub(super) fn recovery_progress(health: &Health, all: usize) -> Progress {
    let (health, recovered) = (health.clone(), Mutex::new(0));
    let told = move |more: usize| {
        // Held while it is told: two cores must not tell their numbers in the other order.
        let mut recovered = recovered.lock().unwrap_or_else(PoisonError::into_inner);
        *recovered += more;
        health.progress(RECOVERY, format!("{recovered} of {all} logs recovered"));
    };
    told(0);
    Arc::new(move || told(1))
}

/// Adds what the cores count.
pub(super) fn add_cores(metrics: &Metrics, engine: &EngineChoice, cores: &[Arc<ShardCounters>]) {
    metrics.engine(engine.engine.as_str(), engine.reason.as_str());
    let cores: Vec<Arc<ShardCounters>> = cores.to_vec();
    metrics.add(Box::new(move || {
        cores
            .iter()
            .enumerate()
            .flat_map(|(core, counters)| samples(core, counters))
            .collect()
    }));
}

/// Adds how the quorum and the cluster stand.
pub(super) fn add_quorum(metrics: &Metrics, quorum: &Handle, here: Voter) {
    let quorum = quorum.clone();
    metrics.add(Box::new(move || {
        let (image, state) = (quorum.image(), quorum.state());
        let leads = state.leader.is_some_and(|leader| leader.node == here.node);
        let gauge = |name, help, value| Sample {
            name,
            help,
            kind: Kind::Gauge,
            labels: Vec::new(),
            value,
        };
        vec![
            gauge(
                "millrace_topics",
                "Topics of the cluster",
                image.topics.len() as f64,
            ),
            gauge(
                "millrace_cluster_partitions",
                "Partitions of all topics",
                image.partitions as f64,
            ),
            gauge(
                "millrace_metadata_applied",
                "Index of the last metadata entry in the image",
                image.offset as f64,
            ),
            gauge(
                "millrace_metadata_quorum_reachable",
                "1 while the leader of the metadata quorum counts on this broker",
                f64::from(u8::from(quorum.out_of_reach().is_none())),
            ),
            gauge(
                "millrace_metadata_quorum_term",
                "Term of the metadata quorum, as this broker knows it",
                state.term as f64,
            ),
            gauge(
                "millrace_metadata_quorum_leads",
                "1 where this broker leads the metadata quorum",
                f64::from(u8::from(leads)),
            ),
            gauge(
                "millrace_metadata_quorum_voters",
                "Voters of the metadata quorum, as this broker knows them",
                state.voters.len() as f64,
            ),
            gauge(
                "millrace_metadata_quorum_votes",
                "1 while this broker has a vote in the metadata quorum, with the directory it has now",
                f64::from(u8::from(state.voters.contains(&here))),
            ),
        ]
    }));
}

/// Adds a watch that turns the health page red when the quorum or the disks have failed.
pub(super) fn watch_failures(health: &Health, quorum: &Handle) {
    let quorum = quorum.clone();
    health.watch(move || match quorum.state().failed {
        Some(why) => Some(format!("the metadata quorum has failed: {why}")),
        None => quorum.out_of_reach(),
    });
}

fn samples(core: usize, counters: &ShardCounters) -> Vec<Sample> {
    let labels = || vec![("shard", core.to_string())];
    counters
        .snapshot()
        .into_iter()
        .map(|counted| Sample {
            name: counted.name,
            help: counted.help,
            kind: if counted.is_gauge {
                Kind::Gauge
            } else {
                Kind::Counter
            },
            labels: labels(),
            value: counted.value as f64,
        })
        .collect()
}

/// Resident memory of the process, as the admin service tells it.
pub(super) fn memory_bytes() -> u64 {
    crate::http::resident_bytes()
}

/// A hash over the properties that only a restart changes, so that the operator can tell whether a broker runs with what it
/// should. The same in every build.
pub(super) fn static_config_hash(given: &std::collections::BTreeMap<String, String>) -> String {
    use protocol::properties::{Scope, broker_property};
    let is_static =
        |name: &str| broker_property(name).is_some_and(|property| property.scope == Scope::ReadOnly);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, value) in given.iter().filter(|(name, _)| is_static(name)) {
        for byte in name.bytes().chain([b'=']).chain(value.bytes()).chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Now, for uptimes.
pub(super) fn since(began: Instant) -> std::time::Duration {
    rt::now() - began
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_page_says_how_many_logs_are_recovered() {
        let (health, _) = begin(rt::now());
        [DIRECTORIES, QUORUM].iter().for_each(|step| health.done(step));
        let recovered = recovery_progress(&health, 3);
        assert_eq!(health.not_ready()[0], "recover the logs: 0 of 3 logs recovered");
        recovered();
        recovered();
        assert_eq!(health.not_ready()[0], "recover the logs: 2 of 3 logs recovered");
    }
}
