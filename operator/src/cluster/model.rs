//! `Cluster`: a KafkaCluster that was checked. After `validate`, nobody reads the raw spec.

use crate::crd::kafka_cluster::{
    Engine, ListenerKind, NodeAddressType, PodTemplate, PullPolicy, SeccompProfile, StorageKind,
};
use std::collections::BTreeMap;

/// A checked cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty in local mode.
    pub namespace: String,
    /// `metadata.uid`; empty in local mode.
    pub uid: String,
    /// Kafka's cluster id, 22 characters.
    pub cluster_id: String,
    /// Number of brokers.
    pub replicas: i32,
    /// All brokers have been members of it: a broker with an empty metadata log has lost one.
    pub formed: bool,
    /// Image of the brokers.
    pub image: String,
    /// When to pull it.
    pub pull_policy: PullPolicy,
    /// Names of Secrets to pull with.
    pub pull_secrets: Vec<String>,
    /// In the order of the spec.
    pub listeners: Vec<Listener>,
    /// Where the records are.
    pub storage: Storage,
    /// Properties a broker reads at its start only.
    pub static_config: BTreeMap<String, String>,
    /// Properties that change while it runs.
    pub dynamic_config: BTreeMap<String, String>,
    /// Resource name to quantity.
    pub requests: BTreeMap<String, String>,
    /// Resource name to quantity.
    pub limits: BTreeMap<String, String>,
    /// Asked for.
    pub engine: Engine,
    /// `None`: RuntimeDefault.
    pub seccomp: Option<SeccompProfile>,
    /// Additions to the pods.
    pub pod: PodTemplate,
    /// Namespace of the operator, which alone may reach the admin port.
    pub operator_namespace: String,
}

/// A checked listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// As in the spec.
    pub name: String,
    /// Port in the pod.
    pub port: u16,
    /// Who reaches it.
    pub kind: ListenerKind,
    /// Which address of the node, if that matters and was said.
    pub node_address: Option<NodeAddressType>,
}

impl Listener {
    /// Its name in Kafka: upper case, as users of Kafka write them.
    pub fn kafka_name(&self) -> String {
        self.name.to_ascii_uppercase()
    }

    /// Reached from outside, by node.
    pub fn is_nodeport(&self) -> bool {
        self.kind == ListenerKind::Nodeport
    }
}

/// Checked storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// A claim, or in the pod.
    pub kind: StorageKind,
    /// Kubernetes quantity; always there with a claim.
    pub size: Option<String>,
    /// StorageClass.
    pub class: Option<String>,
}

/// The names of everything that is made for a cluster.
impl Cluster {
    /// StatefulSet, ServiceAccount, ConfigMap, PodDisruptionBudget and NetworkPolicy; pods are this and their ordinal.
    pub fn set_name(&self) -> String {
        format!("{}-kafka", self.name)
    }

    /// The headless service, which gives each pod its DNS name.
    pub fn headless_name(&self) -> String {
        format!("{}-kafka-brokers", self.name)
    }

    /// The service that clients start from.
    pub fn bootstrap_name(&self) -> String {
        format!("{}-kafka-bootstrap", self.name)
    }

    /// A broker's pod.
    pub fn pod_name(&self, node_id: i32) -> String {
        format!("{}-kafka-{node_id}", self.name)
    }

    /// The service of one nodeport listener of one broker.
    pub fn broker_service_name(&self, node_id: i32, listener: &Listener) -> String {
        format!("{}-kafka-{}-{node_id}", self.name, listener.name)
    }

    /// The volume claim of a broker.
    pub fn claim_name(&self, node_id: i32) -> String {
        format!("data-{}", self.pod_name(node_id))
    }

    /// A broker's DNS name inside the Kubernetes cluster; the same with every cluster domain.
    pub fn pod_host(&self, node_id: i32) -> String {
        format!(
            "{}.{}.{}.svc",
            self.pod_name(node_id),
            self.headless_name(),
            self.namespace
        )
    }

    /// Several brokers: they have a metadata quorum, and ports to talk to each other.
    pub fn is_quorum(&self) -> bool {
        self.replicas > 1
    }

    /// All node ids.
    pub fn node_ids(&self) -> std::ops::Range<i32> {
        0..self.replicas
    }

    /// Listeners reached by node.
    pub fn nodeport_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| listener.is_nodeport())
    }
}
