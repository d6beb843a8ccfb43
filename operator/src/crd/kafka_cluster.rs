//! `KafkaCluster`: the spec a person writes, the status the operator answers with. Only fields that are served are here.

// The columns of `kubectl get` are one attribute each, and the lint takes their equal parts for copies.
#![allow(clippy::duplicated_attributes)]

use super::{Config, Rule, config_schema, rules};
use k8s_openapi::api::core::v1::{EnvVar, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Said when the number of brokers is not one of a metadata quorum.
pub const ODD_BROKERS: &str = "replicas must be 1, 3 or 5: the brokers vote among themselves, and an even number survives no more than the odd one below it";
/// Said when brokers would be taken away.
pub const NO_FEWER_BROKERS: &str = "replicas cannot be lowered in this version: nothing moves the records off a broker that goes; set it to what it was";

/// Rules above `spec`. Names derived from the cluster's name must fit a Service name (63 characters).
pub const ROOT_RULES: &[Rule] = &[
    Rule {
        rule: "self.metadata.name.size() <= 40",
        message: "the name may have at most 40 characters, so that the names of pods and services made from it fit",
        field: "",
    },
    Rule {
        rule: "self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
        message: "the name must be lower-case letters, digits and '-', starting with a letter: services are named after it",
        field: "",
    },
];

const REPLICAS: &[Rule] = &[
    Rule {
        rule: "self in [1, 3, 5]",
        message: ODD_BROKERS,
        field: "",
    },
    Rule {
        rule: "self >= oldSelf",
        message: NO_FEWER_BROKERS,
        field: "",
    },
];

// A value that is no number is refused by its own property; here it must only not break the comparison.
const SPEC: &[Rule] = &[
    Rule {
        rule: "!has(self.replicas) || !has(self.config) || !('default.replication.factor' in self.config) || !string(self.config['default.replication.factor']).matches('^[0-9]{1,9}$') || int(string(self.config['default.replication.factor'])) <= self.replicas",
        message: "default.replication.factor may not exceed replicas",
        field: ".config",
    },
    Rule {
        rule: "!has(self.replicas) || !has(self.config) || !('min.insync.replicas' in self.config) || !string(self.config['min.insync.replicas']).matches('^[0-9]{1,9}$') || int(string(self.config['min.insync.replicas'])) <= self.replicas",
        message: "min.insync.replicas may not exceed replicas",
        field: ".config",
    },
];

const LISTENERS: &[Rule] = &[
    Rule {
        rule: "self.all(a, self.exists_one(b, b.port == a.port))",
        message: "two listeners have the same port; give each its own",
        field: "",
    },
    Rule {
        rule: "self.exists(l, l.type == 'internal')",
        message: "at least one listener of type internal is needed; the operator and pods of the cluster use it",
        field: "",
    },
];

const LISTENER: &[Rule] = &[Rule {
    rule: "self.type == 'nodeport' || !has(self.advertised) || !has(self.advertised.nodeAddressType)",
    message: "nodeAddressType is only for listeners of type nodeport",
    field: ".advertised",
}];

const STORAGE: &[Rule] = &[
    Rule {
        rule: "self.type != 'persistent-claim' || has(self.size)",
        message: "storage of type persistent-claim needs a size, for example 10Gi",
        field: ".size",
    },
    Rule {
        rule: "self.type != 'ephemeral' || !has(self.class)",
        message: "class is only for storage of type persistent-claim",
        field: ".class",
    },
    Rule {
        rule: "self.type == oldSelf.type",
        message: "the type of storage cannot be changed; make a new cluster",
        field: ".type",
    },
    Rule {
        rule: "has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)",
        message: "the storage class cannot be changed; make a new cluster",
        field: ".class",
    },
    Rule {
        rule: "!has(oldSelf.size) || has(self.size)",
        message: "the size cannot be removed; leave it as it is",
        field: ".size",
    },
];

const SIZE: &[Rule] = &[
    Rule {
        rule: "isQuantity(self)",
        message: "the size must be a quantity, for example 10Gi",
        field: "",
    },
    Rule {
        rule: "!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0",
        message: "storage cannot shrink; set the size to at least what it was",
        field: "",
    },
];

const CONFIG: &[Rule] = &[
    Rule {
        rule: "!self.exists(k, k in ['node.id', 'broker.id', 'cluster.id', 'listeners', 'listener.security.protocol.map', 'log.dir', 'log.dirs', 'metadata.log.dir', 'broker.rack', 'process.roles', 'admin.listener', 'http.listener', 'cluster.formed', 'io.engine', 'inter.broker.listener.name', 'zookeeper.connect'])",
        message: "node.id, broker.id, cluster.id, listeners, listener.security.protocol.map, log.dir, log.dirs, metadata.log.dir, broker.rack, process.roles, admin.listener, http.listener, cluster.formed, io.engine, inter.broker.listener.name and zookeeper.connect are set by the operator; use the fields of the spec",
        field: "",
    },
    Rule {
        rule: "!self.exists(k, k.startsWith('advertised.') || k.startsWith('controller.') || k.startsWith('control.') || k.startsWith('replication.'))",
        message: "advertised.*, controller.*, control.* and replication.* are set by the operator; use spec.listeners",
        field: "",
    },
];

const SECCOMP: &[Rule] = &[Rule {
    rule: "(self.type == 'Localhost') == has(self.localhostProfile)",
    message: "localhostProfile is needed with type Localhost, and only then",
    field: ".localhostProfile",
}];

/// A Kafka cluster: brokers, how clients reach them, where their data is.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    plural = "kafkaclusters",
    singular = "kafkacluster",
    shortname = "kc",
    category = "kafka",
    namespaced,
    derive = "PartialEq",
    doc = "A Kafka cluster: brokers, how clients reach them, where their data is.",
    status = "KafkaClusterStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Brokers", type_ = "string", json_path = ".status.readyText"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Bootstrap",
        type_ = "string",
        priority = 1,
        json_path = ".status.listeners[0].bootstrapServers"
    ),
    printcolumn(
        name = "Io",
        type_ = "string",
        priority = 1,
        json_path = ".status.brokers[0].ioEngine"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(SPEC)))]
pub struct KafkaClusterSpec {
    /// Number of brokers: 1, 3 or 5. All of them vote on the cluster's metadata.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100), extend("x-kubernetes-validations" = rules(REPLICAS)))]
    pub replicas: i32,
    /// Image of the broker; the operator's own default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When to pull the image; the operator's own default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// How clients reach the brokers.
    #[serde(default = "plain_listener")]
    #[schemars(length(min = 1, max = 8), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = rules(LISTENERS)
    ))]
    pub listeners: Vec<Listener>,
    /// Where the records are kept.
    pub storage: Storage,
    /// Broker properties. What can change without a restart does; for the rest the operator restarts the broker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "broker_config")]
    pub config: Config,
    /// CPU and memory of each broker. Whole CPUs, the same in requests and limits, let each core of the broker have a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How the broker talks to disks and sockets.
    #[serde(default)]
    pub io: Io,
    /// Security settings of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// Additions to the objects the operator makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// The operator leaves the cluster alone while this is true.
    #[serde(default)]
    pub paused: bool,
}

fn three() -> i32 {
    3
}

/// The listener of a cluster that names none.
pub fn plain_listener() -> Vec<Listener> {
    vec![Listener {
        name: "plain".into(),
        port: 9092,
        kind: ListenerKind::Internal,
        advertised: None,
    }]
}

fn broker_config(_: &mut SchemaGenerator) -> Schema {
    config_schema(
        "Broker properties. What can change without a restart does; for the rest the operator restarts the broker.",
        128,
        CONFIG,
    )
}

/// When to pull an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Each time a pod starts.
    Always,
    /// When the node has none.
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

impl PullPolicy {
    /// Kubernetes' word.
    pub fn name(self) -> &'static str {
        match self {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        }
    }
}

/// One way for clients to reach the brokers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(LISTENER)))]
pub struct Listener {
    /// Lower-case letters and digits; Kafka sees it in upper case.
    #[schemars(length(max = 11), regex(pattern = "^[a-z0-9]{1,11}$"))]
    pub name: String,
    /// Port in the pod.
    #[schemars(range(min = 9092, max = 65535))]
    pub port: i32,
    /// Who reaches it.
    #[serde(rename = "type")]
    pub kind: ListenerKind,
    /// What clients are told to connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertised: Option<Advertised>,
}

/// Who reaches a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Pods of this Kubernetes cluster, by the broker's DNS name.
    Internal,
    /// Anybody who reaches a node, by the node's address and an allocated port.
    #[serde(rename = "nodeport")]
    Nodeport,
}

/// What clients are told to connect to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advertised {
    /// Which address of the node; when left out the first that exists of ExternalIP, ExternalDNS, InternalIP, InternalDNS, Hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_address_type: Option<NodeAddressType>,
}

/// The kinds of address a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeAddressType {
    /// Address inside the network of the nodes.
    InternalIP,
    /// Address outside.
    ExternalIP,
    /// The node's name.
    Hostname,
    /// DNS name inside.
    InternalDNS,
    /// DNS name outside.
    ExternalDNS,
}

impl NodeAddressType {
    /// Kubernetes' word.
    pub fn name(self) -> &'static str {
        match self {
            NodeAddressType::InternalIP => "InternalIP",
            NodeAddressType::ExternalIP => "ExternalIP",
            NodeAddressType::Hostname => "Hostname",
            NodeAddressType::InternalDNS => "InternalDNS",
            NodeAddressType::ExternalDNS => "ExternalDNS",
        }
    }
}

/// Where the records are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(STORAGE)))]
pub struct Storage {
    /// On a volume that outlives the cluster, or in the pod and gone with it.
    #[serde(rename = "type")]
    pub kind: StorageKind,
    /// Size of the volume; with ephemeral the most the pod may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = rules(SIZE)))]
    pub size: Option<String>,
    /// StorageClass of the volume; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,
}

/// The kinds of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StorageKind {
    /// A PersistentVolumeClaim, which stays when the cluster is deleted.
    PersistentClaim,
    /// An emptyDir: gone when the pod is.
    Ephemeral,
}

/// CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the pod is promised.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, super::ConfigValue>,
    /// The most it may use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, super::ConfigValue>,
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "By resource name: cpu, memory, ephemeral-storage, hugepages-2Mi.",
        "maxProperties": 8,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$"
        }
    })
}

/// How the broker talks to disks and sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Io {
    /// Auto takes io_uring where it is allowed and says in a condition why not.
    #[serde(default)]
    pub engine: Engine,
}

/// The engine asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// io_uring where it is allowed, else ordinary system calls.
    #[default]
    Auto,
    /// io_uring, or the broker does not start.
    IoUring,
    /// Ordinary system calls.
    Posix,
}

impl Engine {
    /// The value of the broker's property `io.engine`.
    pub fn property(self) -> &'static str {
        match self {
            Engine::Auto => "auto",
            Engine::IoUring => "uring",
            Engine::Posix => "posix",
        }
    }
}

/// Security settings of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// The seccomp profile of the pods; RuntimeDefault when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<SeccompProfile>,
}

/// Which system calls the broker may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(SECCOMP)))]
pub struct SeccompProfile {
    /// RuntimeDefault forbids io_uring on containerd 2 and later; Localhost with the profile of the chart allows it.
    #[serde(rename = "type")]
    pub kind: SeccompKind,
    /// Path below the kubelet's seccomp folder, for example profiles/millrace-v1.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub localhost_profile: Option<String>,
}

/// The kinds of seccomp profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SeccompKind {
    /// What the container runtime brings.
    RuntimeDefault,
    /// A file on the node.
    Localhost,
    /// None; Pod Security `restricted` refuses it.
    Unconfined,
}

impl SeccompKind {
    /// Kubernetes' word.
    pub fn name(self) -> &'static str {
        match self {
            SeccompKind::RuntimeDefault => "RuntimeDefault",
            SeccompKind::Localhost => "Localhost",
            SeccompKind::Unconfined => "Unconfined",
        }
    }
}

/// Additions to the objects the operator makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Additions to the broker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,
}

/// Additions to the broker pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadata>,
    /// Environment of the broker, beside what the operator sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "env_schema")]
    pub env: Vec<EnvVar>,
    /// Nodes the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Kubernetes' affinity, as in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub affinity: Option<Value>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// How long a broker may take to stop; 300 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub termination_grace_period_seconds: Option<i64>,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts")]
    pub annotations: BTreeMap<String, String>,
}

fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string"}})
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "description": "Kubernetes' affinity, as in a Pod.", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

fn env_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Environment of the broker, beside what the operator sets.",
        "maxItems": 64,
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1}, "value": {"type": "string"}}
        },
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"]
    })
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaClusterStatus {
    /// The generation of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Available, Reconciling, Stalled, ListenersReady, IoUringAvailable, Paused, RolloutBlocked.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// One sentence for a person; programs read the conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Broker pods that exist.
    pub replicas: i32,
    /// Broker pods that are ready.
    pub ready_replicas: i32,
    /// Ready and wanted brokers, for example 1/1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_text: Option<String>,
    /// Selector of the broker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Kafka's cluster id. Chosen once, also kept on the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Every broker has been a member of the cluster with this id: from then on empty volumes are lost ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formed: Option<bool>,
    /// Version of the brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Addresses to paste.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub listeners: Vec<ListenerStatus>,
    /// Each broker.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["nodeId"]))]
    pub brokers: Vec<BrokerStatus>,
    /// Version of the operator that wrote this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator_version: Option<String>,
}

/// Addresses of one listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// As in the spec.
    pub name: String,
    /// As in the spec.
    #[serde(rename = "type")]
    pub kind: String,
    /// Value for `--bootstrap-server` and `bootstrap.servers`.
    pub bootstrap_servers: String,
}

/// One broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Kafka's id of the broker.
    pub node_id: i32,
    /// Name of its pod.
    pub pod: String,
    /// Pending, Starting, Recovering, Running, Stopping, Stopped, Failing.
    pub state: String,
    /// uring or posix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<String>,
    /// What clients are told, by listener.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub advertised: BTreeMap<String, String>,
    /// Why it has to be restarted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_restart_reasons: Vec<String>,
}
