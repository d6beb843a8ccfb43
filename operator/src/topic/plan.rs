//! The spec of a topic and the topic as the brokers see it -> what to send, or why nothing is sent. Pure; the controller
//! and local mode share it.

use crate::crd::KafkaTopic;
use crate::crd::kafka_topic::{AdoptionPolicy, DeletionPolicy, NO_FEWER_PARTITIONS};
use crate::kafka::{NewTopic, Topic};
use protocol::properties;
use std::collections::BTreeMap;

/// A topic as its resource wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name in Kafka.
    pub name: String,
    /// Partitions; `None` leaves the number alone.
    pub partitions: Option<i32>,
    /// Replicas; `None` leaves the number alone.
    pub replicas: Option<i32>,
    /// The properties that are owned.
    pub config: BTreeMap<String, String>,
    /// What to do with a topic that is there already and is not ours.
    pub adoption: AdoptionPolicy,
    /// What a deletion means.
    pub deletion: DeletionPolicy,
    /// Hands off.
    pub paused: bool,
    /// The resource is being deleted.
    pub deleting: bool,
    /// The id of the topic this resource made or took over.
    pub owned_id: Option<String>,
}

impl Wanted {
    /// What a resource asks for.
    pub fn of(topic: &KafkaTopic, owned_id: Option<String>) -> Wanted {
        let spec = &topic.spec;
        Wanted {
            name: topic.topic_name().to_owned(),
            partitions: spec.partitions,
            replicas: spec.replicas,
            config: spec
                .config
                .iter()
                .map(|(name, value)| (name.clone(), value.text()))
                .collect(),
            adoption: spec.adoption_policy,
            deletion: spec.deletion_policy,
            paused: spec.paused,
            deleting: topic.metadata.deletion_timestamp.is_some(),
            owned_id,
        }
    }

    /// A topic whose resource is gone.
    pub fn removed(name: &str, deletion: DeletionPolicy, owned_id: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            partitions: None,
            replicas: None,
            config: BTreeMap::new(),
            adoption: AdoptionPolicy::Never,
            deletion,
            paused: false,
            deleting: true,
            owned_id: Some(owned_id.to_owned()),
        }
    }
}

/// One thing to send to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create(NewTopic),
    /// Raise the number of partitions.
    AddPartitions {
        /// So many there are.
        from: i32,
        /// So many there shall be.
        to: i32,
    },
    /// Set these properties.
    Alter(BTreeMap<String, String>),
    /// Delete it.
    Delete,
}

/// Why nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A property is unknown or its value is not one.
    InvalidConfig(String),
    /// Kafka cannot take partitions away.
    PartitionsExceedSpec(String),
    /// The topic is there, but not ours.
    NotAdopted(String),
}

impl Refusal {
    /// The reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::InvalidConfig(_) => "InvalidConfig",
            Refusal::PartitionsExceedSpec(_) => "PartitionsExceedSpec",
            Refusal::NotAdopted(_) => "NotAdopted",
        }
    }

    /// The sentence for a person.
    pub fn message(&self) -> &str {
        match self {
            Refusal::InvalidConfig(text)
            | Refusal::PartitionsExceedSpec(text)
            | Refusal::NotAdopted(text) => text,
        }
    }
}

/// What to do about one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// What cannot be done.
    pub refusal: Option<Refusal>,
    /// The topic was there before the resource, and is taken over.
    pub adopts: bool,
}

impl Plan {
    fn refused(refusal: Refusal) -> Plan {
        Plan {
            refusal: Some(refusal),
            ..Plan::default()
        }
    }
}

/// Decides. `found` is `None` when the brokers know no topic of that name.
pub fn plan(wanted: &Wanted, found: Option<&Topic>) -> Plan {
    if wanted.paused {
        return Plan::default();
    }
    if wanted.deleting {
        return plan_deletion(wanted, found);
    }
    if let Some(problem) = invalid_config(&wanted.config) {
        return Plan::refused(Refusal::InvalidConfig(problem));
    }
    match found {
        None => Plan {
            steps: vec![Step::Create(creation(wanted))],
            ..Plan::default()
        },
        Some(found) => plan_change(wanted, found),
    }
}

/// Only a topic of our own is deleted: one that somebody made again under the same name is not.
fn plan_deletion(wanted: &Wanted, found: Option<&Topic>) -> Plan {
    let ours = found.is_some_and(|found| wanted.owned_id.as_ref() == Some(&found.id));
    match wanted.deletion {
        DeletionPolicy::Delete if ours => Plan {
            steps: vec![Step::Delete],
            ..Plan::default()
        },
        DeletionPolicy::Delete | DeletionPolicy::Retain => Plan::default(),
    }
}

fn creation(wanted: &Wanted) -> NewTopic {
    NewTopic {
        name: wanted.name.clone(),
        partitions: wanted.partitions.unwrap_or(-1),
        replicas: wanted
            .replicas
            .and_then(|count| i16::try_from(count).ok())
            .unwrap_or(-1),
        config: wanted.config.clone(),
    }
}

fn plan_change(wanted: &Wanted, found: &Topic) -> Plan {
    let mut steps = Vec::new();
    let mut refusal = None;
    match wanted.partitions {
        Some(to) if to > found.partitions => steps.push(Step::AddPartitions {
            from: found.partitions,
            to,
        }),
        Some(to) if to < found.partitions => {
            let there = found.partitions;
            let text = format!("spec.partitions is {to}, the topic has {there}: {NO_FEWER_PARTITIONS}");
            refusal = Some(Refusal::PartitionsExceedSpec(text));
        }
        _ => {}
    }
    let differing: BTreeMap<String, String> = wanted
        .config
        .iter()
        .filter(|(name, value)| found.config.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let adopts = match &wanted.owned_id {
        Some(id) => *id != found.id,
        None => true,
    };
    let changes = !steps.is_empty() || !differing.is_empty() || refusal.is_some();
    if adopts {
        let name = &wanted.name;
        match wanted.adoption {
            AdoptionPolicy::Never => {
                let text = format!("the topic {name} is there already and adoptionPolicy is Never");
                return Plan::refused(Refusal::NotAdopted(text));
            }
            AdoptionPolicy::IfIdentical if changes => {
                let text = format!(
                    "the topic {name} is there already and differs ({}); set adoptionPolicy: Always to take it over",
                    difference(wanted, found, &differing)
                );
                return Plan::refused(Refusal::NotAdopted(text));
            }
            AdoptionPolicy::IfIdentical | AdoptionPolicy::Always => {}
        }
    }
    if !differing.is_empty() {
        steps.push(Step::Alter(differing));
    }
    Plan {
        steps,
        refusal,
        adopts,
    }
}

fn difference(wanted: &Wanted, found: &Topic, differing: &BTreeMap<String, String>) -> String {
    let mut parts = Vec::new();
    if wanted.partitions.is_some_and(|count| count != found.partitions) {
        parts.push(format!("it has {} partitions", found.partitions));
    }
    for name in differing.keys().take(5) {
        let value = found.config.get(name).map_or("not set", String::as_str);
        parts.push(format!("{name} is {value}"));
    }
    parts.join(", ")
}

fn invalid_config(config: &BTreeMap<String, String>) -> Option<String> {
    let mut problems = config
        .iter()
        .filter_map(|(name, value)| properties::check_topic(name, value).err());
    problems.next().map(|problem| format!("spec.config: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "orders".into(),
            partitions: Some(6),
            replicas: None,
            config: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
            adoption: AdoptionPolicy::IfIdentical,
            deletion: DeletionPolicy::Delete,
            paused: false,
            deleting: false,
            owned_id: Some("ours".into()),
        }
    }

    fn found(partitions: i32, retention: &str) -> Topic {
        Topic {
            id: "ours".into(),
            partitions,
            config: BTreeMap::from([("retention.ms".to_owned(), retention.to_owned())]),
            ..Topic::default()
        }
    }

    #[test]
    fn an_absent_topic_is_created() {
        let plan = plan(&wanted(), None);
        assert!(
            matches!(&plan.steps[..], [Step::Create(topic)] if topic.partitions == 6 && topic.replicas == -1)
        );
    }

    #[test]
    fn a_topic_as_wanted_needs_nothing() {
        assert_eq!(plan(&wanted(), Some(&found(6, "1000"))), Plan::default());
    }

    #[test]
    fn partitions_are_added_and_drift_is_corrected() {
        let plan = plan(&wanted(), Some(&found(3, "5")));
        assert_eq!(plan.steps[0], Step::AddPartitions { from: 3, to: 6 });
        assert!(matches!(&plan.steps[1], Step::Alter(set) if set["retention.ms"] == "1000"));
    }

    #[test]
    fn fewer_partitions_are_refused_in_the_words_of_the_rule_and_the_rest_goes_on() {
        let plan = plan(&wanted(), Some(&found(12, "5")));
        assert!(
            plan.refusal
                .as_ref()
                .is_some_and(|refusal| refusal.message().contains(NO_FEWER_PARTITIONS))
        );
        assert_eq!(plan.steps.len(), 1);
    }

    #[test]
    fn unset_partitions_leave_the_number_alone() {
        let free = Wanted {
            partitions: None,
            ..wanted()
        };
        assert_eq!(plan(&free, Some(&found(12, "1000"))), Plan::default());
    }

    #[test]
    fn a_topic_that_was_there_is_taken_over_only_when_identical() {
        let fresh = Wanted {
            owned_id: None,
            ..wanted()
        };
        assert!(plan(&fresh, Some(&found(6, "1000"))).adopts);
        assert_eq!(
            plan(&fresh, Some(&found(3, "1000")))
                .refusal
                .map(|refusal| refusal.reason()),
            Some("NotAdopted")
        );
        let always = Wanted {
            adoption: AdoptionPolicy::Always,
            ..fresh.clone()
        };
        assert_eq!(plan(&always, Some(&found(3, "1000"))).steps.len(), 1);
        let never = Wanted {
            adoption: AdoptionPolicy::Never,
            ..fresh
        };
        assert!(plan(&never, Some(&found(6, "1000"))).refusal.is_some());
    }

    #[test]
    fn only_a_topic_of_our_own_is_deleted() {
        let gone = Wanted {
            deleting: true,
            ..wanted()
        };
        assert_eq!(plan(&gone, Some(&found(6, "1000"))).steps, vec![Step::Delete]);
        let somebody_elses = Topic {
            id: "theirs".into(),
            ..found(6, "1000")
        };
        assert_eq!(plan(&gone, Some(&somebody_elses)), Plan::default());
        let kept = Wanted {
            deletion: DeletionPolicy::Retain,
            ..gone.clone()
        };
        assert_eq!(plan(&kept, Some(&found(6, "1000"))), Plan::default());
        let paused = Wanted { paused: true, ..gone };
        assert_eq!(plan(&paused, Some(&found(6, "1000"))), Plan::default());
    }

    #[test]
    fn an_unknown_property_is_refused_by_name() {
        let mut broken = wanted();
        broken.config.insert("retention.mss".into(), "1".into());
        let refusal = plan(&broken, None).refusal.unwrap();
        assert!(
            refusal.message().contains("retention.mss") && refusal.message().contains("retention.ms?"),
            "{refusal:?}"
        );
    }
}
