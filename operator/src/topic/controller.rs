//! KafkaTopics of one cluster, together: which are due, which may be acted on, finalizers, one reconcile for all of them,
//! statuses and Events.

use super::plan::Wanted;
use super::status::{self, Outcome};
use super::{conflict, reconcile};
use crate::cache::Key;
use crate::cluster::build::{labels, listeners};
use crate::crd::kafka_cluster::ListenerKind;
use crate::crd::kafka_topic::DeletionPolicy;
use crate::crd::{KafkaCluster, KafkaTopic};
use crate::kafka::Kafka;
use crate::run::Context;
use jiff::Timestamp;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Keeps the resource until the topic is deleted.
pub const FINALIZER: &str = "millrace.dev/topic";
/// The way out when the brokers never come back.
pub const FORCE: &str = "millrace.dev/force-finalize";

/// Pause before another try.
const SOON: Duration = Duration::from_secs(2);
/// Topics taken at a time; the rest follows at once.
const BATCH: usize = 1000;

/// One look at the due topics of a cluster (namespace, cluster name). Returns when to look again.
pub async fn look(context: &Context, key: &Key) -> Option<Duration> {
    let (due, more) = context.take_due(key, BATCH);
    let cluster = context.caches.clusters.get(&key.0, &key.1);
    let everything = context.caches.topics.all();
    let mut acting: BTreeMap<String, Arc<KafkaTopic>> = BTreeMap::new();
    let mut again = more.then_some(Duration::ZERO);
    for name in due {
        let Some(topic) = context.caches.topics.get(&key.0, &name) else {
            continue;
        };
        let topic = Arc::new(context.with_written(&*topic));
        match prepare(context, &topic, cluster.as_deref(), &everything).await {
            Ok(true) => {
                acting.insert(topic.topic_name().to_owned(), topic);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(topic = name, error, "prepare");
                context.topic_due(&topic);
                again = sooner(again, SOON);
            }
        }
    }
    if acting.is_empty() {
        return again;
    }
    match act(context, key, cluster.as_deref(), &acting).await {
        Ok(true) => again,
        Ok(false) => {
            acting.values().for_each(|topic| context.topic_due(topic));
            sooner(again, SOON)
        }
        Err(waits) => {
            // The cluster's becoming ready wakes its topics; the slow look is for a wake-up that went missing.
            for topic in acting.values() {
                conclude(context, topic, &Outcome::Waiting(waits.clone())).await;
                context.topic_due(topic);
            }
            sooner(again, Duration::from_secs(10))
        }
    }
}

fn sooner(again: Option<Duration>, at_most: Duration) -> Option<Duration> {
    Some(again.map_or(at_most, |again| again.min(at_most)))
}

/// Everything that needs no broker. True when the topic is to be compared with the brokers.
async fn prepare(
    context: &Context,
    topic: &KafkaTopic,
    cluster: Option<&KafkaCluster>,
    all: &[Arc<KafkaTopic>],
) -> Result<bool, String> {
    let deleting = topic.metadata.deletion_timestamp.is_some();
    let ours = topic.finalizers().iter().any(|one| one == FINALIZER);
    let paused = topic.spec.paused
        || topic
            .annotations()
            .get(labels::PAUSED)
            .is_some_and(|value| value == "true");
    let wants_delete = topic.spec.deletion_policy == DeletionPolicy::Delete && !paused;
    if deleting {
        if !ours {
            return Ok(false);
        }
        let forced = topic
            .annotations()
            .get(FORCE)
            .is_some_and(|value| value == "true");
        let cluster_goes = cluster.is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some());
        let nothing_owned = context.topic_id(topic).is_none();
        if forced || cluster_goes || !wants_delete || nothing_owned {
            if !wants_delete {
                context
                    .event(topic, false, "Retained", "the topic and its records stay")
                    .await;
            }
            context.set_finalizer(topic, FINALIZER, false).await?;
            context.forget_topic(topic);
            return Ok(false);
        }
        return Ok(true);
    }
    if let Some(with) = conflict::owner(topic, all) {
        conclude(context, topic, &Outcome::Conflict(with)).await;
        return Ok(false);
    }
    if paused {
        conclude(context, topic, &Outcome::Paused).await;
    }
    if ours != wants_delete {
        // The write comes back as a change of the resource.
        context.set_finalizer(topic, FINALIZER, wants_delete).await?;
    }
    Ok(!paused)
}

/// Compares with the brokers and acts. Ok(false): some have to be tried again soon. Err: the cluster does not answer.
async fn act(
    context: &Context,
    key: &Key,
    cluster: Option<&KafkaCluster>,
    acting: &BTreeMap<String, Arc<KafkaTopic>>,
) -> Result<bool, String> {
    let Some(cluster) = cluster else {
        return Err(format!("there is no KafkaCluster {} in this namespace", key.1));
    };
    let address = address(context, cluster)
        .ok_or_else(|| format!("the cluster {} has no broker that is ready", key.1))?;
    let wanted: BTreeMap<String, Wanted> = acting
        .iter()
        .map(|(name, topic)| (name.clone(), Wanted::of(topic, context.topic_id(topic))))
        .collect();
    let done = async {
        let mut kafka = Kafka::connect(&address).await?;
        reconcile(&mut kafka, &wanted).await
    };
    let done = done.await.map_err(|error| error.to_string())?;
    let mut settled = true;
    for (name, (plan, outcome)) in done {
        let topic: &KafkaTopic = &acting[&name];
        let failed = matches!(outcome, Outcome::Failed(_));
        if !failed {
            for (reason, text) in status::events(&plan) {
                // A change of something that was in order before is drift.
                let reason = if reason == "ConfigChanged" && was_synced(topic) {
                    "DriftCorrected"
                } else {
                    reason
                };
                context.event(topic, false, reason, &text).await;
            }
        }
        if wanted[&name].deleting {
            settled &= finish_deletion(context, topic, failed, &outcome).await;
            continue;
        }
        settled &= !failed && !matches!(outcome, Outcome::Waiting(_));
        if let Outcome::Synced(found) = &outcome {
            context.remember_topic(topic, &found.id);
        }
        conclude(context, topic, &outcome).await;
    }
    Ok(settled)
}

/// The spec was seen and in order already: what differs now, somebody else changed.
fn was_synced(topic: &KafkaTopic) -> bool {
    let status = topic.status.as_ref();
    status.is_some_and(|status| {
        status.observed_generation == topic.metadata.generation
            && crate::crd::conditions::is_true(&status.conditions, crate::crd::conditions::SYNCED)
    })
}

async fn finish_deletion(context: &Context, topic: &KafkaTopic, failed: bool, outcome: &Outcome) -> bool {
    // After a deletion the topic is unknown, which `reconcile` reports as waiting; one that is not ours may stay.
    if failed || matches!(outcome, Outcome::Refused { .. }) {
        conclude(context, topic, outcome).await;
        return false;
    }
    if matches!(outcome, Outcome::Synced(found) if Some(&found.id) == context.topic_id(topic).as_ref()) {
        return false;
    }
    match context.set_finalizer(topic, FINALIZER, false).await {
        Ok(()) => {
            context.forget_topic(topic);
            true
        }
        Err(error) => {
            tracing::warn!(topic = topic.name_any(), error, "remove finalizer");
            false
        }
    }
}

/// Writes the status if it differs.
async fn conclude(context: &Context, topic: &KafkaTopic, outcome: &Outcome) {
    use crate::crd::conditions::{CONFLICT, STALLED, find, is_true};
    let after = status::status(topic, outcome, Timestamp::now());
    let before = topic.status.clone().unwrap_or_default();
    if before == after {
        return;
    }
    if is_true(&after.conditions, STALLED) && !is_true(&before.conditions, STALLED) {
        let told = find(&after.conditions, STALLED);
        let (kind, text) = told.map_or(("", ""), |told| (told.reason.as_str(), told.message.as_str()));
        let reason = if is_true(&after.conditions, CONFLICT) {
            "Conflict"
        } else {
            "Refused"
        };
        context
            .event(topic, true, reason, &format!("{kind}: {text}"))
            .await;
    }
    if let Err(error) = context.write_status(topic, &after).await {
        tracing::warn!(topic = topic.name_any(), error, "write status");
        context.topic_due(topic);
    }
}

/// host:port of a ready broker on an internal listener, by its pod's address: no name has to be resolved.
fn address(context: &Context, cluster: &KafkaCluster) -> Option<String> {
    let internal = cluster
        .spec
        .listeners
        .iter()
        .find(|one| one.kind == ListenerKind::Internal)?;
    let pods = context
        .caches
        .pods
        .of_cluster(&cluster.namespace()?, &cluster.name_any());
    let ip = pods.iter().find_map(|pod| {
        let status = pod
            .status
            .as_ref()
            .filter(|_| pod.metadata.deletion_timestamp.is_none())?;
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        status.pod_ip.clone().filter(|_| ready)
    })?;
    Some(listeners::text(&ip, internal.port))
}

/// The due topics of each cluster.
#[derive(Default)]
pub struct Due(BTreeMap<Key, BTreeSet<String>>);

impl Due {
    /// Adds one.
    pub fn add(&mut self, cluster: Key, topic: String) {
        self.0.entry(cluster).or_default().insert(topic);
    }

    /// Takes some; true when there are more.
    pub fn take(&mut self, cluster: &Key, most: usize) -> (Vec<String>, bool) {
        let Some(all) = self.0.get_mut(cluster) else {
            return (Vec::new(), false);
        };
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(one) = all.pop_first()
        {
            taken.push(one);
        }
        let more = !all.is_empty();
        if !more {
            self.0.remove(cluster);
        }
        (taken, more)
    }
}
