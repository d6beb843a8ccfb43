//! Observed and what was decided -> conditions, the status, and the Events of what changed. Pure.

use super::apply::Applied;
use super::build::{Desired, labels, listeners};
use super::lost::{LOST, lost};
use super::model::Cluster;
use super::observe::{Observed, PodFacts};
use super::plan::Plan;
use super::validate::Invalid;
use crate::crd::conditions::{self, Finding};
use crate::crd::kafka_cluster::{BrokerStatus, ListenerStatus, SeccompKind};
use crate::crd::{KafkaCluster, KafkaClusterStatus};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What one reconcile came to.
pub struct Outcome<'a> {
    /// The checked cluster with what was built of it, or its mistakes.
    pub checked: Result<(&'a Cluster, &'a Desired), &'a [Invalid]>,
    /// What there was before the steps.
    pub observed: &'a Observed,
    /// The steps.
    pub plan: &'a Plan,
    /// What became of them, or the step that failed.
    pub applied: Result<&'a Applied, &'a str>,
    /// Hands off.
    pub paused: bool,
}

/// The status to write.
pub fn status(resource: &KafkaCluster, outcome: &Outcome<'_>, now: Timestamp) -> KafkaClusterStatus {
    let before = resource.status.clone().unwrap_or_default();
    let generation = resource.metadata.generation;
    let name = resource.metadata.name.as_deref().unwrap_or_default();
    let pods = &outcome.observed.pods;
    let ready_pods = pods.values().filter(|pod| pod.ready && !pod.deleting).count();
    let wanted = resource.spec.replicas;
    let found = findings(resource, outcome, ready_pods);
    let phase = phase(&found);
    let facts = outcome.observed.brokers.values().flatten().next();
    let (cluster_id, listeners, brokers) = match outcome.checked {
        Ok((cluster, desired)) => (
            Some(cluster.cluster_id.clone()),
            listener_status(cluster, desired),
            broker_status(cluster, desired, outcome),
        ),
        Err(_) => (
            before.cluster_id.clone(),
            before.listeners.clone(),
            before.brokers.clone(),
        ),
    };
    KafkaClusterStatus {
        observed_generation: generation,
        conditions: conditions::settle(&before.conditions, found, generation, now),
        phase: Some(phase),
        replicas: count(pods.len()),
        ready_replicas: count(ready_pods),
        ready_text: Some(format!("{ready_pods}/{wanted}")),
        selector: Some(labels::selector_text(name)),
        cluster_id,
        formed: was_formed(resource, outcome).then_some(true),
        version: facts.map(|facts| facts.version.clone()).or(before.version),
        listeners,
        brokers,
        operator_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

/// Once and for ever. A lone broker's cluster is formed with its first start, that of several when all are registered.
fn was_formed(resource: &KafkaCluster, outcome: &Outcome<'_>) -> bool {
    let (replicas, observed) = (resource.spec.replicas, outcome.observed);
    let recorded = resource.status.as_ref().and_then(|status| status.formed) == Some(true);
    if recorded || outcome.checked.is_ok_and(|(cluster, _)| cluster.formed) {
        return true;
    }
    if replicas <= 1 {
        return observed.running().next().is_some();
    }
    let mut views = observed.running().filter_map(|(_, facts)| facts.view.as_ref());
    views.any(|view| (0..replicas).all(|id| view.registered.contains(&id)))
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn findings(resource: &KafkaCluster, outcome: &Outcome<'_>, ready_pods: usize) -> Vec<Finding> {
    use conditions::{PAUSED, READY, RECONCILING, ROLLOUT_BLOCKED, STALLED};
    let observed = outcome.observed;
    let stalled = stalled(outcome);
    let available = available(outcome);
    let listeners = listeners_ready(outcome);
    let blocked = outcome.applied.ok().and_then(|applied| applied.blocked.clone());
    let all_ready = ready_pods == usize::try_from(resource.spec.replicas).unwrap_or(0);
    let pending = !outcome.plan.restart_reasons.is_empty();
    let waiting = observed.pods.values().find_map(|pod| pod.trouble.as_ref());
    let ready = if let Some((reason, message)) = &stalled {
        Finding::new(READY, false, reason, message.clone())
    } else if let Err(error) = outcome.applied {
        Finding::new(READY, false, "ApplyFailed", error)
    } else if available.status == Some(false) && LOST.contains(&available.reason.as_str()) {
        Finding::new(READY, false, &available.reason, available.message.clone())
    } else if !all_ready {
        let message = waiting.map(|trouble| format!("{}: {}", trouble.reason, trouble.message));
        Finding::new(
            READY,
            false,
            "BrokersStarting",
            message.unwrap_or_else(|| starting(observed)),
        )
    } else if available.status != Some(true) {
        Finding::new(READY, false, &available.reason, available.message.clone())
    } else if listeners.status != Some(true) {
        Finding::new(READY, false, &listeners.reason, listeners.message.clone())
    } else {
        Finding::new(READY, true, "Ready", "")
    };
    let busy = stalled.is_none() && !outcome.paused && (ready.status != Some(true) || pending);
    let pause_reason = if outcome.paused { "Asked" } else { "NotAsked" };
    let progress = match busy {
        true if ready.status == Some(true) => outcome.plan.waits.clone().unwrap_or_default(),
        true => ready.message.clone(),
        false => String::new(),
    };
    vec![
        ready,
        Finding::new(
            RECONCILING,
            busy,
            if busy { "Progressing" } else { "Settled" },
            progress,
        ),
        match &stalled {
            Some((reason, message)) => Finding::new(STALLED, true, reason, message.clone()),
            None => Finding::new(STALLED, false, "Settled", ""),
        },
        available,
        listeners,
        io_uring(observed),
        Finding::new(PAUSED, outcome.paused, pause_reason, ""),
        match blocked {
            Some(why) => Finding::new(ROLLOUT_BLOCKED, true, "BrokerMayNotStop", why),
            None => Finding::new(ROLLOUT_BLOCKED, false, "NotBlocked", ""),
        },
    ]
}

fn starting(observed: &Observed) -> String {
    if observed.pods.is_empty() {
        return "no broker pod exists yet".to_owned();
    }
    let steps = observed
        .brokers
        .values()
        .flatten()
        .flat_map(|facts| facts.not_ready.iter().cloned());
    let steps: Vec<String> = steps.take(5).collect();
    if steps.is_empty() {
        "brokers are starting".to_owned()
    } else {
        steps.join("; ")
    }
}

/// Something only a person can change.
fn stalled(outcome: &Outcome<'_>) -> Option<(String, String)> {
    if let Err(wrong) = outcome.checked {
        let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return Some(("InvalidSpec".to_owned(), all.join("; ")));
    }
    let seccomp = outcome
        .checked
        .ok()
        .and_then(|(cluster, _)| cluster.seccomp.clone());
    let lasting = outcome.observed.pods.values().filter(|pod| !pod.deleting);
    let (pod, trouble) = lasting
        .filter_map(|pod: &PodFacts| Some((pod, pod.trouble.as_ref()?)))
        .find(|(_, trouble)| trouble.lasting)?;
    let mut message = format!("pod {}: {}", pod.name, trouble.message);
    let localhost = seccomp.filter(|profile| profile.kind == SeccompKind::Localhost);
    if let (Some(profile), "CreateContainerError" | "RunContainerError") =
        (localhost, trouble.reason.as_str())
    {
        let file = profile.localhost_profile.unwrap_or_default();
        message = format!(
            "{message}; the seccomp profile {file} must be on the node (seccompInstaller.enabled=true in the chart puts it there)"
        );
    }
    Some((trouble.reason.clone(), message))
}

fn available(outcome: &Outcome<'_>) -> Finding {
    let observed = outcome.observed;
    if let Ok((cluster, _)) = outcome.checked
        && cluster.formed
        && let Some(lost) = lost(cluster, observed)
    {
        return lost;
    }
    let running: Vec<_> = observed
        .brokers
        .values()
        .flatten()
        .filter(|facts| facts.state == "Running")
        .collect();
    let silent = observed.brokers.values().find_map(|said| said.as_ref().err());
    match running.first() {
        None => {
            let message = silent
                .cloned()
                .unwrap_or_else(|| "no broker is running".to_owned());
            Finding::new(conditions::AVAILABLE, false, "NoBroker", message)
        }
        Some(facts) if facts.offline_partitions > 0 => {
            let message = format!("{} partitions have no leader", facts.offline_partitions);
            Finding::new(conditions::AVAILABLE, false, "OfflinePartitions", message)
        }
        Some(_) => Finding::new(conditions::AVAILABLE, true, "Available", ""),
    }
}

/// Every listener has an address, and the brokers hand it out.
fn listeners_ready(outcome: &Outcome<'_>) -> Finding {
    let kind = conditions::LISTENERS_READY;
    let Ok((cluster, desired)) = outcome.checked else {
        return Finding::unknown(kind, "InvalidSpec", "");
    };
    for node_id in cluster.node_ids() {
        let known = desired.advertised.get(&node_id);
        for listener in &cluster.listeners {
            let name = listener.kafka_name();
            let Some((host, port)) = known.and_then(|known| known.get(&name)) else {
                let message = format!(
                    "listener {} of broker {node_id} has no address yet",
                    listener.name
                );
                return Finding::new(kind, false, "AddressPending", message);
            };
            let in_force = outcome
                .observed
                .brokers
                .get(&node_id)
                .and_then(|said| said.as_ref().ok());
            let told = in_force
                .is_some_and(|facts| facts.advertised.get(&name) == Some(&listeners::text(host, *port)));
            if !told {
                let message = format!(
                    "broker {node_id} does not hand out the address of listener {} yet",
                    listener.name
                );
                return Finding::new(kind, false, "NotAdvertised", message);
            }
        }
    }
    Finding::new(kind, true, "Ready", "")
}

/// The broker's own word and sentence.
fn io_uring(observed: &Observed) -> Finding {
    let kind = conditions::IO_URING_AVAILABLE;
    let mut said = observed
        .brokers
        .values()
        .flatten()
        .filter(|facts| !facts.engine.is_empty())
        .peekable();
    if said.peek().is_none() {
        return Finding::unknown(kind, "Unknown", "no broker has said yet");
    }
    let facts: Vec<_> = said.collect();
    let worst = facts
        .iter()
        .find(|facts| facts.engine != "uring")
        .unwrap_or(&facts[0]);
    let reason = if worst.engine_reason.is_empty() {
        "Unknown"
    } else {
        &worst.engine_reason
    };
    Finding::new(kind, worst.engine == "uring", reason, worst.engine_detail.clone())
}

fn phase(found: &[Finding]) -> String {
    let is = |kind: &str| {
        found
            .iter()
            .find(|finding| finding.kind == kind && finding.status == Some(true))
    };
    if is(conditions::PAUSED).is_some() {
        return "Paused".to_owned();
    }
    if let Some(stalled) = is(conditions::STALLED) {
        return format!("Stalled: {}", stalled.reason);
    }
    if is(conditions::ROLLOUT_BLOCKED).is_some() {
        return "Restart blocked".to_owned();
    }
    match (is(conditions::READY), is(conditions::RECONCILING)) {
        (Some(_), Some(_)) => "Restarting brokers".to_owned(),
        (Some(_), None) => "Ready".to_owned(),
        _ => "Starting".to_owned(),
    }
}

fn listener_status(cluster: &Cluster, desired: &Desired) -> Vec<ListenerStatus> {
    let rows = cluster.listeners.iter().map(|listener| {
        let addresses = cluster
            .node_ids()
            .filter_map(|id| desired.advertised.get(&id)?.get(&listener.kafka_name()));
        let servers = match listener.is_nodeport() {
            false => format!(
                "{}.{}.svc:{}",
                cluster.bootstrap_name(),
                cluster.namespace,
                listener.port
            ),
            true => addresses
                .map(|(host, port)| listeners::text(host, *port))
                .collect::<Vec<_>>()
                .join(","),
        };
        ListenerStatus {
            name: listener.name.clone(),
            kind: if listener.is_nodeport() {
                "nodeport"
            } else {
                "internal"
            }
            .to_owned(),
            bootstrap_servers: servers,
        }
    });
    rows.collect()
}

fn broker_status(cluster: &Cluster, desired: &Desired, outcome: &Outcome<'_>) -> Vec<BrokerStatus> {
    let observed = outcome.observed;
    let rows = cluster.node_ids().map(|node_id| {
        let facts = observed.brokers.get(&node_id).and_then(|said| said.as_ref().ok());
        let pod = observed.pods.get(&node_id);
        let state = match (facts, pod) {
            (_, None) => "Pending",
            (_, Some(pod)) if pod.deleting => "Stopping",
            (Some(facts), _) => &facts.state,
            (None, Some(pod)) if pod.trouble.as_ref().is_some_and(|trouble| trouble.lasting) => "Failing",
            (None, Some(pod)) if pod.node.is_none() => "Pending",
            (None, Some(_)) => "Starting",
        };
        let shown = desired.advertised.get(&node_id).into_iter().flatten();
        let advertised: BTreeMap<String, String> = shown
            .map(|(name, (host, port))| (name.clone(), listeners::text(host, *port)))
            .collect();
        BrokerStatus {
            node_id,
            pod: cluster.pod_name(node_id),
            state: state.to_owned(),
            io_engine: facts
                .map(|facts| facts.engine.clone())
                .filter(|engine| !engine.is_empty()),
            advertised: facts.map_or(advertised, |facts| facts.advertised.clone()),
            pending_restart_reasons: outcome
                .plan
                .restart_reasons
                .get(&node_id)
                .cloned()
                .unwrap_or_default(),
        }
    });
    rows.collect()
}

/// The broker's word for `io.engine=posix`.
const POSIX_ASKED_FOR: &str = "Disabled";

/// An Event to write: warning or not, reason, text.
pub type Told = (bool, &'static str, String);

/// Events for what changed between two statuses, and for what was done.
pub fn events(
    before: &KafkaClusterStatus,
    after: &KafkaClusterStatus,
    applied: Option<&Applied>,
) -> Vec<Told> {
    use conditions::{IO_URING_AVAILABLE, READY, ROLLOUT_BLOCKED, STALLED};
    let mut told = Vec::new();
    if before.cluster_id.is_none()
        && let Some(id) = &after.cluster_id
    {
        told.push((false, "Created", format!("cluster id {id}")));
    }
    let became = |kind: &str, status: &str| {
        let now = conditions::find(&after.conditions, kind).filter(|now| now.status == status)?;
        let was = conditions::find(&before.conditions, kind);
        (was.is_none_or(|was| was.status != status)).then(|| format!("{}: {}", now.reason, now.message))
    };
    if became(READY, "True").is_some() {
        told.push((false, "Ready", "the cluster serves".to_owned()));
    }
    if let Some(text) = became(STALLED, "True") {
        let reason = if text.starts_with("InvalidSpec") {
            "ConfigRejected"
        } else {
            "BrokerFailing"
        };
        told.push((true, reason, text));
    }
    if let Some(text) = became(ROLLOUT_BLOCKED, "True") {
        told.push((true, "RolloutBlocked", text));
    }
    // Who asked for `posix` has what they asked for.
    let asked_for = conditions::find(&after.conditions, IO_URING_AVAILABLE)
        .is_some_and(|condition| condition.reason == POSIX_ASKED_FOR);
    if let Some(text) = became(IO_URING_AVAILABLE, "False").filter(|_| !asked_for) {
        told.push((true, "IoUringUnavailable", text));
    }
    for restart in applied.into_iter().flat_map(|applied| &applied.restarted) {
        told.push((
            false,
            "BrokerRestarted",
            format!("broker {}: {}", restart.node_id, restart.reasons.join(", ")),
        ));
    }
    for (node_id, addresses) in applied.into_iter().flat_map(|applied| &applied.advertised) {
        told.push((
            false,
            "ListenerAddressChanged",
            format!("broker {node_id}: {addresses}"),
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerFacts;
    use crate::cluster::build::build;
    use crate::cluster::build::listeners::Whereabouts;
    use crate::cluster::observe::Trouble;
    use crate::fixtures::{checked, cluster};

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn conclude(observed: &Observed, plan: &Plan) -> KafkaClusterStatus {
        let resource = cluster("a").build();
        let checked = checked(cluster("a"));
        let desired = build(&checked, &Whereabouts::default());
        let outcome = Outcome {
            checked: Ok((&checked, &desired)),
            observed,
            plan,
            applied: Ok(&Applied::default()),
            paused: false,
        };
        status(&resource, &outcome, now())
    }

    fn running() -> Observed {
        let facts = BrokerFacts {
            state: "Running".into(),
            engine: "uring".into(),
            engine_reason: "Enabled".into(),
            advertised: BTreeMap::from([(
                "PLAIN".to_owned(),
                "a-kafka-0.a-kafka-brokers.apps.svc:9092".to_owned(),
            )]),
            ..BrokerFacts::default()
        };
        let pod = PodFacts {
            name: "a-kafka-0".into(),
            ready: true,
            ..PodFacts::default()
        };
        Observed {
            pods: BTreeMap::from([(0, pod)]),
            brokers: BTreeMap::from([(0, Ok(facts))]),
            ..Observed::default()
        }
    }

    fn shown<'a>(status: &'a KafkaClusterStatus, kind: &str) -> (&'a str, &'a str) {
        let condition = conditions::find(&status.conditions, kind).unwrap();
        (&condition.status, &condition.reason)
    }

    #[test]
    fn a_running_cluster_is_ready_and_says_where() {
        let status = conclude(&running(), &Plan::default());
        assert_eq!(shown(&status, "Ready"), ("True", "Ready"));
        assert_eq!(shown(&status, "Reconciling"), ("False", "Settled"));
        assert_eq!(shown(&status, "IoUringAvailable"), ("True", "Enabled"));
        assert_eq!(
            status.listeners[0].bootstrap_servers,
            "a-kafka-bootstrap.apps.svc:9092"
        );
        assert_eq!(status.ready_text.as_deref(), Some("1/1"));
        assert_eq!(status.phase.as_deref(), Some("Ready"));
    }

    #[test]
    fn a_ready_cluster_with_a_restart_to_do_is_reconciling() {
        let plan = Plan {
            restart_reasons: BTreeMap::from([(0, vec!["image".to_owned()])]),
            ..Plan::default()
        };
        let status = conclude(&running(), &plan);
        assert_eq!(shown(&status, "Ready").0, "True");
        assert_eq!(shown(&status, "Reconciling").0, "True");
        assert_eq!(status.brokers[0].pending_restart_reasons, ["image"]);
    }

    #[test]
    fn a_crash_loop_stalls_with_the_brokers_words() {
        let mut observed = running();
        observed.brokers.clear();
        let pod = observed.pods.get_mut(&0).unwrap();
        pod.ready = false;
        pod.trouble = Some(Trouble {
            reason: "CrashLoopBackOff".into(),
            message: "log.dirs: read-only file system".into(),
            lasting: true,
        });
        let status = conclude(&observed, &Plan::default());
        assert_eq!(shown(&status, "Stalled"), ("True", "CrashLoopBackOff"));
        let ready = conditions::find(&status.conditions, "Ready").unwrap();
        assert!(
            ready.message.contains("read-only file system"),
            "{}",
            ready.message
        );
    }

    #[test]
    fn the_engines_reason_is_copied() {
        let mut observed = running();
        if let Some(Ok(facts)) = observed.brokers.get_mut(&0) {
            facts.engine = "posix".into();
            facts.engine_reason = "SeccompDenied".into();
        }
        assert_eq!(
            shown(&conclude(&observed, &Plan::default()), "IoUringAvailable"),
            ("False", "SeccompDenied")
        );
    }

    #[test]
    fn missing_io_uring_is_warned_of_unless_posix_was_asked_for() {
        for (reason, warned) in [("SeccompDenied", true), ("Disabled", false)] {
            let mut observed = running();
            if let Some(Ok(facts)) = observed.brokers.get_mut(&0) {
                facts.engine = "posix".into();
                facts.engine_reason = reason.into();
            }
            let after = conclude(&observed, &Plan::default());
            let told = events(&KafkaClusterStatus::default(), &after, None);
            let found = told.iter().any(|(_, reason, _)| *reason == "IoUringUnavailable");
            assert_eq!(found, warned, "{reason}");
        }
    }

    #[test]
    fn events_are_told_on_transitions_only() {
        let after = conclude(&running(), &Plan::default());
        let reasons = |before: &KafkaClusterStatus| {
            events(before, &after, None)
                .into_iter()
                .map(|(_, reason, _)| reason)
                .collect::<Vec<_>>()
        };
        assert_eq!(reasons(&KafkaClusterStatus::default()), ["Created", "Ready"]);
        assert!(reasons(&after).is_empty());
    }
}
