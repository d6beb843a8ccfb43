//! Which of several KafkaTopics owns a topic. Pure. The holder is in the status, so the answer survives a restart of the
//! operator: who has the topic's id keeps it, else the oldest resource gets it.

use crate::crd::KafkaTopic;
use std::sync::Arc;

/// namespace/name of the owner when it is another resource than `topic`. All are of one namespace, so of one cluster when
/// they name the same.
pub fn owner(topic: &KafkaTopic, all: &[Arc<KafkaTopic>]) -> Option<String> {
    let same = all.iter().filter(|other| {
        other.topic_name() == topic.topic_name()
            && other.spec.cluster_ref == topic.spec.cluster_ref
            && other.metadata.namespace == topic.metadata.namespace
    });
    let winner = same.min_by_key(|other| rank(other))?;
    (winner.metadata.uid != topic.metadata.uid).then(|| {
        let metadata = &winner.metadata;
        format!(
            "{}/{}",
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default()
        )
    })
}

fn rank(topic: &KafkaTopic) -> (bool, i64, String) {
    let holds = topic
        .status
        .as_ref()
        .is_some_and(|status| status.topic_id.is_some());
    let created = topic
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(i64::MAX, |at| at.0.as_second());
    (!holds, created, topic.metadata.uid.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn topic(name: &str, created: &str, id: Option<&str>) -> Arc<KafkaTopic> {
        let topic = serde_json::from_value(json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": name, "namespace": "apps", "uid": name, "creationTimestamp": created},
            "spec": {"clusterRef": {"name": "a"}, "topicName": "orders"},
            "status": {"conditions": [], "topicId": id}
        }));
        Arc::new(topic.unwrap())
    }

    #[test]
    fn the_holder_wins_then_the_oldest() {
        let (old, new) = (
            topic("old", "2026-01-01T00:00:00Z", None),
            topic("new", "2026-02-01T00:00:00Z", None),
        );
        let all = [old.clone(), new.clone()];
        assert_eq!(owner(&old, &all), None);
        assert_eq!(owner(&new, &all).as_deref(), Some("apps/old"));
        let holder = topic("new", "2026-02-01T00:00:00Z", Some("id"));
        let all = [old.clone(), holder.clone()];
        assert_eq!(owner(&old, &all).as_deref(), Some("apps/new"));
        assert_eq!(owner(&holder, &all), None);
    }
}
