//! IO: sends the steps of many topics to the brokers, one request per kind of step.

use super::plan::{Plan, Step};
use crate::kafka::{Answers, Kafka, KafkaError, Refusal};
use std::collections::BTreeMap;

/// What became of the steps of each topic: the first refusal, if any.
pub type Results = BTreeMap<String, Result<(), Refusal>>;

/// Carries out the plans, by topic name.
pub async fn apply(kafka: &mut Kafka, plans: &BTreeMap<String, Plan>) -> Result<Results, KafkaError> {
    let (mut create, mut grow, mut alter, mut delete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, plan) in plans {
        for step in &plan.steps {
            match step {
                Step::Create(topic) => create.push(topic.clone()),
                Step::AddPartitions { to, .. } => grow.push((name.clone(), *to)),
                Step::Alter(set) => alter.push((name.clone(), set.clone())),
                Step::Delete => delete.push(name.clone()),
            }
        }
    }
    let mut results: Results = plans.keys().map(|name| (name.clone(), Ok(()))).collect();
    if !create.is_empty() {
        merge(&mut results, kafka.create(&create).await?);
    }
    if !grow.is_empty() {
        merge(&mut results, kafka.add_partitions(&grow).await?);
    }
    if !alter.is_empty() {
        merge(&mut results, kafka.alter(&alter).await?);
    }
    if !delete.is_empty() {
        merge(&mut results, kafka.delete(&delete).await?);
    }
    Ok(results)
}

fn merge(results: &mut Results, answers: Answers) {
    for (name, answer) in answers {
        let result = results.entry(name).or_insert(Ok(()));
        if result.is_ok() {
            *result = answer;
        }
    }
}
