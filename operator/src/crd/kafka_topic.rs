//! `KafkaTopic`: the spec a person writes, the status the operator answers with.

// The columns of `kubectl get` are one attribute each, and the lint takes their equal parts for copies.
#![allow(clippy::duplicated_attributes)]

use super::{Config, Rule, config_schema, rules};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Said when fewer partitions are asked for; local mode says the same.
pub const NO_FEWER_PARTITIONS: &str =
    "the number of partitions can only grow; set it to at least the current number";

/// Rules above `spec`: the topic's name is the resource's where none is given.
pub const ROOT_RULES: &[Rule] = &[
    Rule {
        rule: "has(self.spec.topicName) || self.metadata.name.size() <= 249",
        message: "a topic name may have at most 249 characters; give spec.topicName",
        field: "",
    },
    Rule {
        rule: "!has(oldSelf.spec.topicName) == !has(self.spec.topicName)",
        message: "topicName cannot be added or removed; make a new KafkaTopic",
        field: ".spec.topicName",
    },
];

const SPEC: &[Rule] = &[
    Rule {
        rule: "!has(oldSelf.partitions) || has(self.partitions)",
        message: "partitions cannot be removed once set; leave it as it is",
        field: ".partitions",
    },
    Rule {
        rule: "!has(self.replicas) || self.replicas <= 5",
        message: "replicas may not exceed 5, the most brokers a cluster has in this version",
        field: ".replicas",
    },
    Rule {
        rule: "!has(self.replicas) || !has(self.config) || !('min.insync.replicas' in self.config) || !string(self.config['min.insync.replicas']).matches('^[0-9]{1,9}$') || int(string(self.config['min.insync.replicas'])) <= self.replicas",
        message: "min.insync.replicas may not exceed replicas",
        field: ".config",
    },
];

const PARTITIONS: &[Rule] = &[Rule {
    rule: "self >= oldSelf",
    message: NO_FEWER_PARTITIONS,
    field: "",
}];

const CLUSTER_REF: &[Rule] = &[Rule {
    rule: "self.name == oldSelf.name",
    message: "clusterRef cannot be changed; make a new KafkaTopic",
    field: ".name",
}];

const TOPIC_NAME: &[Rule] = &[
    Rule {
        rule: "self == oldSelf",
        message: "topicName cannot be changed; make a new KafkaTopic",
        field: "",
    },
    Rule {
        rule: "self != '.' && self != '..'",
        message: "a topic cannot be named . or ..",
        field: "",
    },
    Rule {
        rule: "!self.startsWith('__')",
        message: "names that start with __ belong to Kafka itself",
        field: "",
    },
];

const CONFIG: &[Rule] = &[
    Rule {
        rule: "!('cleanup.policy' in self) || string(self['cleanup.policy']) == 'delete'",
        message: "cleanup.policy: only delete is served in this version",
        field: "",
    },
    Rule {
        rule: "!('retention.ms' in self) || string(self['retention.ms']).matches('^(-1|[0-9]{1,19})$')",
        message: "retention.ms must be a number of milliseconds, or -1 for no limit",
        field: "",
    },
    Rule {
        rule: "!('retention.bytes' in self) || string(self['retention.bytes']).matches('^(-1|[0-9]{1,19})$')",
        message: "retention.bytes must be a number of bytes, or -1 for no limit",
        field: "",
    },
    Rule {
        rule: "!('segment.bytes' in self) || string(self['segment.bytes']).matches('^[0-9]{1,19}$')",
        message: "segment.bytes must be a number of bytes",
        field: "",
    },
    Rule {
        rule: "!('segment.ms' in self) || string(self['segment.ms']).matches('^[0-9]{1,19}$')",
        message: "segment.ms must be a number of milliseconds",
        field: "",
    },
    Rule {
        rule: "!('min.insync.replicas' in self) || string(self['min.insync.replicas']).matches('^[1-9][0-9]{0,8}$')",
        message: "min.insync.replicas must be a number of replicas, 1 or more",
        field: "",
    },
];

/// A topic of a KafkaCluster in the same namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "KafkaTopic",
    plural = "kafkatopics",
    singular = "kafkatopic",
    shortname = "ktopic",
    shortname = "kt",
    category = "kafka",
    namespaced,
    derive = "PartialEq",
    doc = "A topic of a KafkaCluster in the same namespace.",
    status = "KafkaTopicStatus",
    scale(
        spec_replicas_path = ".spec.partitions",
        status_replicas_path = ".status.partitions"
    ),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(
        name = "Topic",
        type_ = "string",
        priority = 1,
        json_path = ".status.topicName"
    ),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "ISR", type_ = "string", json_path = ".status.inSyncReplicasText"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(SPEC)))]
pub struct KafkaTopicSpec {
    /// The cluster, in the same namespace.
    pub cluster_ref: ClusterRef,
    /// The topic's name in Kafka; the resource's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[a-zA-Z0-9._-]{1,249}$"), extend("x-kubernetes-validations" = rules(TOPIC_NAME)))]
    pub topic_name: Option<String>,
    /// Number of partitions. When left out: the cluster's default at creation, afterwards whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000), extend("x-kubernetes-validations" = rules(PARTITIONS)))]
    pub partitions: Option<i32>,
    /// Number of replicas of each partition; the cluster's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32_767))]
    pub replicas: Option<i32>,
    /// Topic properties. Only the listed ones are owned; others that somebody sets are left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "topic_config")]
    pub config: Config,
    /// What happens to the topic and its records when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What to do with a topic that exists already.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// The operator leaves the topic alone while this is true; deleted meanwhile, the topic stays.
    #[serde(default)]
    pub paused: bool,
}

fn topic_config(_: &mut SchemaGenerator) -> Schema {
    config_schema(
        "Topic properties. Only the listed ones are owned; others that somebody sets are left alone.",
        64,
        CONFIG,
    )
}

/// The cluster of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(CLUSTER_REF)))]
pub struct ClusterRef {
    /// Name of a KafkaCluster in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What happens to the topic when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The topic and its records are deleted too.
    #[default]
    Delete,
    /// The topic stays.
    Retain,
}

/// What to do with a topic that exists before its resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Take it over when nothing would have to change.
    #[default]
    IfIdentical,
    /// Take it over and change what differs.
    Always,
    /// Leave it alone and say so.
    Never,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KafkaTopicStatus {
    /// The generation of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Synced, Reconciling, Stalled, Conflict, Paused.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The topic's name in Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Kafka's id of the topic. Who has it owns the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Partitions there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Replicas there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Replicas in sync and in all, for example 12/12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_sync_replicas_text: Option<String>,
    /// namespace/name of the KafkaTopic that owns this topic instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<String>,
}

impl KafkaTopic {
    /// The topic's name in Kafka.
    pub fn topic_name(&self) -> &str {
        match &self.spec.topic_name {
            Some(name) => name,
            None => self.metadata.name.as_deref().unwrap_or_default(),
        }
    }
}
