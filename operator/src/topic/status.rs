//! What became of a topic -> its conditions, its status, and the Events worth telling. Pure.

use super::plan::{Plan, Step};
use crate::crd::conditions::{self, Finding};
use crate::crd::{KafkaTopic, KafkaTopicStatus};
use crate::kafka::Topic;
use jiff::Timestamp;

/// How the last look at a topic ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as the spec says.
    Synced(Topic),
    /// Something in the spec cannot be done; a person has to act. With the topic as it is, if it is ours.
    Refused {
        /// CamelCase word.
        reason: String,
        /// In words.
        message: String,
        /// As it is.
        found: Option<Topic>,
    },
    /// The cluster does not answer yet.
    Waiting(String),
    /// The brokers refused; it will be tried again.
    Failed(String),
    /// Another resource (namespace/name) owns the topic.
    Conflict(String),
    /// Hands off, as asked.
    Paused,
}

/// The status to write.
pub fn status(topic: &KafkaTopic, outcome: &Outcome, now: Timestamp) -> KafkaTopicStatus {
    use conditions::{CONFLICT, PAUSED, READY, RECONCILING, STALLED, SYNCED};
    let before = topic.status.clone().unwrap_or_default();
    let generation = topic.metadata.generation;
    let set = |kind, status, reason: &str, message: &str| Finding::new(kind, status, reason, message);
    let (ready, synced) = match outcome {
        Outcome::Synced(found) if found.leaderless > 0 => {
            let text = format!("{} partitions have no leader", found.leaderless);
            (
                set(READY, false, "Leaderless", &text),
                set(SYNCED, true, "InSync", ""),
            )
        }
        Outcome::Synced(_) => (set(READY, true, "Ready", ""), set(SYNCED, true, "InSync", "")),
        Outcome::Refused { reason, message, .. } => (
            set(READY, false, reason, message),
            set(SYNCED, false, reason, message),
        ),
        Outcome::Waiting(text) => {
            let reason = "ClusterNotReady";
            (set(READY, false, reason, text), set(SYNCED, false, reason, text))
        }
        Outcome::Failed(text) => (
            set(READY, false, "BrokerError", text),
            set(SYNCED, false, "BrokerError", text),
        ),
        Outcome::Conflict(with) => {
            let text = format!("{with} owns the topic {}", topic.topic_name());
            (
                set(READY, false, "Conflict", &text),
                set(SYNCED, false, "Conflict", &text),
            )
        }
        Outcome::Paused => {
            let text = "spec.paused is true";
            let was_ready = conditions::is_true(&before.conditions, READY);
            (
                set(READY, was_ready, "Paused", text),
                Finding::unknown(SYNCED, "Paused", text),
            )
        }
    };
    let stalled = matches!(outcome, Outcome::Refused { .. } | Outcome::Conflict(_));
    let busy = matches!(outcome, Outcome::Waiting(_) | Outcome::Failed(_));
    let found = vec![
        ready.clone(),
        synced,
        set(
            RECONCILING,
            busy,
            if busy { &ready.reason } else { "Settled" },
            "",
        ),
        set(
            STALLED,
            stalled,
            if stalled { &ready.reason } else { "Settled" },
            if stalled { &ready.message } else { "" },
        ),
        set(
            CONFLICT,
            matches!(outcome, Outcome::Conflict(_)),
            if matches!(outcome, Outcome::Conflict(_)) {
                "OwnedByAnother"
            } else {
                "None"
            },
            "",
        ),
        set(
            PAUSED,
            topic.spec.paused,
            if topic.spec.paused { "Asked" } else { "NotAsked" },
            "",
        ),
    ];
    let mut status = KafkaTopicStatus {
        observed_generation: generation,
        conditions: conditions::settle(&before.conditions, found, generation, now),
        topic_name: Some(topic.topic_name().to_owned()),
        conflicts_with: match outcome {
            Outcome::Conflict(with) => Some(with.clone()),
            _ => None,
        },
        ..before
    };
    if let Outcome::Synced(found)
    | Outcome::Refused {
        found: Some(found), ..
    } = outcome
    {
        status.topic_id = Some(found.id.clone());
        status.partitions = Some(found.partitions);
        status.replicas = Some(found.replicas);
        status.in_sync_replicas_text = Some(format!("{}/{}", found.in_sync, found.all_replicas));
    }
    status
}

/// Reason and text of the Events for steps that succeeded.
pub fn events(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut events = Vec::new();
    if plan.adopts && plan.refusal.is_none() {
        events.push((
            "Adopted",
            "the topic was there already and is looked after from now on".to_owned(),
        ));
    }
    for step in &plan.steps {
        events.push(match step {
            Step::Create(topic) => ("Created", format!("topic {}", topic.name)),
            Step::AddPartitions { from, to } => ("PartitionsIncreased", format!("{from} -> {to}")),
            Step::Alter(set) => {
                let keys: Vec<&str> = set.keys().map(String::as_str).collect();
                ("ConfigChanged", keys.join(", "))
            }
            Step::Delete => ("Deleted", "the topic and its records".to_owned()),
        });
    }
    events
}
