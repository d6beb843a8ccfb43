//! Tests only: resources as chained verbs.

use crate::cluster::model::Cluster;
use crate::cluster::validate::{Defaults, Kept, validate};
use crate::crd::kafka_cluster::{Advertised, Listener, ListenerKind, PullPolicy, Resources, plain_listener};
use crate::crd::{ConfigValue, KafkaCluster, KafkaClusterStatus};
use serde_json::json;
use std::collections::BTreeMap;

/// What the chart would pass.
pub(crate) fn defaults() -> Defaults {
    Defaults {
        image: "broker:1".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        operator_namespace: "system".into(),
    }
}

/// A cluster of one broker with one internal listener, in the namespace `apps`.
pub(crate) fn cluster(name: &str) -> ClusterBuilder {
    let cluster = serde_json::from_value(json!({
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "KafkaCluster",
        "metadata": {"name": name, "namespace": "apps", "uid": "0b6b6f0e-3d4e-4d58-9f6e-0f3b8f7c1a11", "generation": 1},
        "spec": {"replicas": 1, "storage": {"type": "persistent-claim", "size": "1Gi"}}
    }));
    ClusterBuilder(cluster.unwrap())
}

/// Chained verbs for a cluster.
pub(crate) struct ClusterBuilder(KafkaCluster);

impl ClusterBuilder {
    pub(crate) fn config(mut self, name: &str, value: &str) -> Self {
        self.0.spec.config.insert(name.into(), value.into());
        self
    }

    pub(crate) fn nodeport(mut self, name: &str, port: i32) -> Self {
        self.0.spec.listeners.push(Listener {
            name: name.into(),
            port,
            kind: ListenerKind::Nodeport,
            advertised: Some(Advertised::default()),
        });
        debug_assert_eq!(self.0.spec.listeners[0], plain_listener()[0]);
        self
    }

    pub(crate) fn limits(mut self, cpu: &str, memory: &str) -> Self {
        let limits: BTreeMap<String, ConfigValue> = BTreeMap::from([
            ("cpu".to_owned(), cpu.into()),
            ("memory".to_owned(), memory.into()),
        ]);
        self.0.spec.resources = Some(Resources {
            requests: limits.clone(),
            limits,
        });
        self
    }

    pub(crate) fn image(mut self, image: &str) -> Self {
        self.0.spec.image = Some(image.into());
        self
    }

    pub(crate) fn ephemeral(mut self) -> Self {
        self.0.spec.storage.kind = crate::crd::kafka_cluster::StorageKind::Ephemeral;
        self
    }

    pub(crate) fn cluster_id(mut self, id: &str) -> Self {
        let status = self.0.status.get_or_insert_with(KafkaClusterStatus::default);
        status.cluster_id = Some(id.into());
        self
    }

    pub(crate) fn replicas(mut self, count: i32) -> Self {
        self.0.spec.replicas = count;
        self
    }

    /// All brokers have been members once.
    pub(crate) fn formed(mut self) -> Self {
        let status = self.0.status.get_or_insert_with(KafkaClusterStatus::default);
        status.formed = Some(true);
        self
    }

    pub(crate) fn build(self) -> KafkaCluster {
        self.0
    }
}

/// The cluster after `validate`.
pub(crate) fn checked(cluster: ClusterBuilder) -> Cluster {
    validate(&cluster.build(), &Kept::default(), &defaults()).unwrap()
}
