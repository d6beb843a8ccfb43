//! What users write: the custom resources of `millrace.dev/v1alpha1` as types, and their definitions as YAML.
//!
//! Owns names, defaults, bounds and CEL rules. Everything a schema can refuse is refused here, so that a mistake is told
//! at `kubectl apply`; what needs a table or the live cluster is left to `cluster::validate` and `topic::plan`.

pub mod conditions;
pub mod kafka_cluster;
pub mod kafka_topic;

pub use kafka_cluster::{KafkaCluster, KafkaClusterSpec, KafkaClusterStatus};
pub use kafka_topic::{KafkaTopic, KafkaTopicSpec, KafkaTopicStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The API group of every kind.
pub const GROUP: &str = "millrace.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";

/// One CEL rule and the words a person reads when it refuses. Messages are fixed texts: a `messageExpression` that builds
/// text is estimated beyond the API server's cost budget.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The expression that must be true.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub message: &'static str,
    /// The field to name, relative to where the rule stands; empty for the place itself.
    pub field: &'static str,
}

/// Rules as the value of `x-kubernetes-validations`.
pub(crate) fn rules(rules: &[Rule]) -> Value {
    Value::Array(
        rules
            .iter()
            .map(|rule| {
                let mut value = json!({"rule": rule.rule, "message": rule.message});
                if !rule.field.is_empty() {
                    value["fieldPath"] = json!(rule.field);
                }
                value
            })
            .collect(),
    )
}

/// A value of a `config` map: `retention.ms: 1000` and `retention.ms: "1000"` are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// Written without quotes.
    Number(i64),
    /// Written as text.
    Text(String),
}

impl ConfigValue {
    /// The text Kafka gets.
    pub fn text(&self) -> String {
        match self {
            ConfigValue::Number(number) => number.to_string(),
            ConfigValue::Text(text) => text.clone(),
        }
    }
}

impl From<&str> for ConfigValue {
    fn from(text: &str) -> ConfigValue {
        ConfigValue::Text(text.to_owned())
    }
}

/// A `config` map of a resource.
pub type Config = BTreeMap<String, ConfigValue>;

/// The schema of a `config` map. `maxProperties` and `maxLength` keep the rules that walk it within the cost budget.
pub(crate) fn config_schema(description: &str, max: u32, checks: &[Rule]) -> schemars::Schema {
    let mut schema = schemars::json_schema!({
        "type": "object",
        "description": description,
        "maxProperties": max,
        "additionalProperties": {"x-kubernetes-int-or-string": true, "maxLength": 4096},
    });
    if !checks.is_empty() {
        schema.insert("x-kubernetes-validations".into(), rules(checks));
    }
    schema
}

/// Both definitions, with the rules that stand above `spec`.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        with_root_rules(KafkaCluster::crd(), kafka_cluster::ROOT_RULES),
        with_root_rules(KafkaTopic::crd(), kafka_topic::ROOT_RULES),
    ]
}

fn with_root_rules(mut crd: CustomResourceDefinition, root: &[Rule]) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            let rules =
                serde_json::from_value(rules(root)).expect("rules are written in the API's own shape");
            schema.x_kubernetes_validations = Some(rules);
        }
    }
    crd
}

/// File name and content of each definition, as committed under `crds/`.
pub fn files() -> Vec<(String, String)> {
    definitions()
        .into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.metadata.name.clone().unwrap_or_default());
            let yaml = serde_yaml::to_string(&crd).expect("a definition is plain data");
            (
                name,
                format!("# Written by `millrace-operator crd`; do not edit.\n{yaml}"),
            )
        })
        .collect()
}

/// The schema of one kind as JSON, for checks without an API server.
pub fn schema_of(kind: &str) -> Option<Value> {
    let crd = definitions()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)?;
    let version = crd.spec.versions.into_iter().next()?;
    serde_json::to_value(version.schema?.open_api_v3_schema?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `crds/` and the chart's copy are what the types say. `make generate` writes them.
    #[test]
    fn committed_definitions_are_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, wanted) in files() {
            for folder in ["crds", "charts/millrace/files/crds"] {
                let path = root.join(folder).join(&name);
                let found = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(
                    found == wanted,
                    "{folder}/{name} is not current; run `make generate`"
                );
            }
            assert!(
                wanted.len() < 200_000,
                "{name} is {} bytes; client-side apply takes 262,144",
                wanted.len()
            );
        }
    }

    #[test]
    fn both_kinds_scale() {
        for crd in definitions() {
            let subresources = crd.spec.versions[0].subresources.clone().unwrap();
            assert!(subresources.scale.is_some(), "{}", crd.spec.names.kind);
            assert!(subresources.status.is_some(), "{}", crd.spec.names.kind);
        }
    }
}
