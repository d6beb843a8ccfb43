//! IO: topics as the brokers see them, one batched question for all of them.

use super::plan::Wanted;
use crate::kafka::{Kafka, KafkaError, Topic};
use std::collections::BTreeMap;

/// The wanted topics that exist, each with the properties its resource owns.
pub async fn observe(
    kafka: &mut Kafka,
    wanted: &BTreeMap<String, Wanted>,
) -> Result<BTreeMap<String, Topic>, KafkaError> {
    let asked = wanted
        .iter()
        .map(|(name, wanted)| (name.clone(), wanted.config.keys().cloned().collect()));
    kafka.describe(&asked.collect()).await
}
