//! A `KafkaTopic` becomes a topic: observe, plan, apply, status; many topics of one cluster at a time.
//!
//! [`reconcile`] is the part that knows no Kubernetes: local mode calls it too. Finalizers, conflicts and watches are in
//! `controller`.

pub mod apply;
pub mod conflict;
pub mod controller;
pub mod observe;
pub mod plan;
pub mod status;

use crate::kafka::{Kafka, KafkaError, Topic};
use plan::{Plan, Wanted};
use protocol::error_code::ErrorCode;
use status::Outcome;
use std::collections::BTreeMap;

/// What was decided and what became of it, by topic name.
pub type Reconciled = BTreeMap<String, (Plan, Outcome)>;

/// Makes the topics of one cluster as they are wanted.
pub async fn reconcile(
    kafka: &mut Kafka,
    wanted: &BTreeMap<String, Wanted>,
) -> Result<Reconciled, KafkaError> {
    let mut found = observe::observe(kafka, wanted).await?;
    let plans: BTreeMap<String, Plan> = wanted
        .iter()
        .map(|(name, wanted)| (name.clone(), plan::plan(wanted, found.get(name))))
        .collect();
    let mut results = apply::Results::new();
    if plans.values().any(|plan| !plan.steps.is_empty()) {
        results = apply::apply(kafka, &plans).await?;
        found = observe::observe(kafka, wanted).await?;
    }
    let outcomes = plans.into_iter().map(|(name, plan)| {
        let outcome = outcome(&wanted[&name], &plan, results.get(&name), found.get(&name));
        (name, (plan, outcome))
    });
    Ok(outcomes.collect())
}

fn outcome(
    wanted: &Wanted,
    plan: &Plan,
    result: Option<&Result<(), crate::kafka::Refusal>>,
    found: Option<&Topic>,
) -> Outcome {
    if wanted.paused {
        return Outcome::Paused;
    }
    if let Some(Err(refusal)) = result {
        if worth_retrying(refusal.code) {
            return Outcome::Failed(refusal.message.clone());
        }
        return Outcome::Refused {
            reason: reason(refusal.code).to_owned(),
            message: refusal.message.clone(),
            found: found.cloned(),
        };
    }
    if let Some(refusal) = &plan.refusal {
        // What is not ours is not shown as ours.
        let ours = found.filter(|found| wanted.owned_id.as_ref() == Some(&found.id));
        return Outcome::Refused {
            reason: refusal.reason().to_owned(),
            message: refusal.message().to_owned(),
            found: ours.cloned(),
        };
    }
    match found {
        Some(found) => Outcome::Synced(found.clone()),
        None => Outcome::Waiting("the brokers do not know the topic yet".to_owned()),
    }
}

/// A deletion in progress, an election, a second operator: gone in a moment. What the spec asks for is not.
fn worth_retrying(code: ErrorCode) -> bool {
    code.retriable() || code == ErrorCode::TopicAlreadyExists || code == ErrorCode::NotController
}

fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidConfig => "InvalidConfig",
        ErrorCode::InvalidPartitions => "InvalidPartitions",
        ErrorCode::InvalidReplicationFactor => "InvalidReplicationFactor",
        _ => "BrokerError",
    }
}
