//! Condition types and reasons, and the one way to set a condition: the time of the last transition moves only when the
//! status does, so that a settled resource is never written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The resource does what it is for, at the generation in `observedGeneration`.
pub const READY: &str = "Ready";
/// The brokers answer and every partition has a leader.
pub const AVAILABLE: &str = "Available";
/// Abnormal when true: the operator is still changing something.
pub const RECONCILING: &str = "Reconciling";
/// Abnormal when true: nothing will change until a person acts.
pub const STALLED: &str = "Stalled";
/// Every listener of every broker has an address.
pub const LISTENERS_READY: &str = "ListenersReady";
/// Every broker runs on io_uring; the reason is the broker's own word.
pub const IO_URING_AVAILABLE: &str = "IoUringAvailable";
/// Abnormal when true: `spec.paused` or the annotation `millrace.dev/paused`.
pub const PAUSED: &str = "Paused";
/// Abnormal when true: a broker has to be restarted, but stopping it now would hurt.
pub const ROLLOUT_BLOCKED: &str = "RolloutBlocked";
/// The topic is as the spec says.
pub const SYNCED: &str = "Synced";
/// Abnormal when true: another KafkaTopic owns this topic.
pub const CONFLICT: &str = "Conflict";

/// One condition about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of the types above.
    pub kind: &'static str,
    /// True, False, or (None) Unknown.
    pub status: Option<bool>,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence for a person; may be empty.
    pub message: String,
}

impl Finding {
    /// A condition with its reason and sentence.
    pub fn new(kind: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Finding {
        Finding {
            kind,
            status: Some(status),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// A condition nobody knows yet.
    pub fn unknown(kind: &'static str, reason: &str, message: impl Into<String>) -> Finding {
        Finding {
            status: None,
            ..Finding::new(kind, false, reason, message)
        }
    }
}

/// The conditions to write: `found`, with the transition times of `before` where the status has not changed.
pub fn settle(
    before: &[Condition],
    found: Vec<Finding>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    found
        .into_iter()
        .map(|finding| {
            let status = match finding.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let same = before
                .iter()
                .find(|old| old.type_ == finding.kind && old.status == status);
            let since = same.map_or(Time(whole_seconds(now)), |old| old.last_transition_time.clone());
            // The API server takes at most 32,768 characters, a person far fewer.
            let message = finding.message.chars().take(1024).collect();
            Condition {
                type_: finding.kind.to_owned(),
                status: status.to_owned(),
                reason: finding.reason,
                message,
                observed_generation: generation,
                last_transition_time: since,
            }
        })
        .collect()
}

/// The API server keeps whole seconds.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// A condition by type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Is it there and True?
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = settle(
            &[],
            vec![Finding::new(READY, false, "Starting", "")],
            Some(1),
            at(100),
        );
        let second = settle(
            &first,
            vec![Finding::new(READY, false, "Waiting", "for it")],
            Some(1),
            at(200),
        );
        assert_eq!(second[0].last_transition_time.0, at(100));
        let third = settle(
            &second,
            vec![Finding::new(READY, true, "Ready", "")],
            Some(1),
            at(300),
        );
        assert_eq!(third[0].last_transition_time.0, at(300));
        assert!(is_true(&third, READY));
    }
}
