//! `Cluster` -> every object it is made of. Pure: the same cluster gives the same objects, byte for byte.
//!
//! Objects are JSON in the API's own shape and are applied with strict field validation, so a misspelt field is refused by
//! the API server and by the test below.

pub mod config_map;
pub mod labels;
pub mod listeners;
pub mod pdb;
pub mod properties;
pub mod rbac;
pub mod service;
pub mod statefulset;

use super::model::Cluster;
use listeners::Whereabouts;
use serde_json::Value;
use std::collections::BTreeMap;

/// The kinds of object a cluster owns, in the order they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Without a token, without a role.
    ServiceAccount,
    /// Files of the brokers.
    ConfigMap,
    /// Who reaches which port.
    NetworkPolicy,
    /// Headless, bootstrap, per broker.
    Service,
    /// One broker at a time.
    PodDisruptionBudget,
    /// The broker pods.
    StatefulSet,
}

impl Kind {
    /// group/version and plural, as in a path.
    pub fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
            Kind::ConfigMap => ("", "v1", "configmaps"),
            Kind::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Kind::Service => ("", "v1", "services"),
            Kind::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Kind::StatefulSet => ("apps", "v1", "statefulsets"),
        }
    }

    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ConfigMap => "ConfigMap",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::StatefulSet => "StatefulSet",
        }
    }
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Which kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The whole object.
    pub body: Value,
}

/// Everything a cluster is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// In the order they are applied.
    pub objects: Vec<Object>,
    /// What each pod is started with, for comparison with the annotation of the pods there are.
    pub restart_inputs: BTreeMap<String, String>,
    /// Addresses by node id and Kafka's listener name.
    pub advertised: BTreeMap<i32, BTreeMap<String, listeners::Address>>,
    /// Cluster-wide dynamic properties.
    pub dynamic_config: BTreeMap<String, String>,
}

/// Builds everything.
pub fn build(cluster: &Cluster, around: &Whereabouts) -> Desired {
    let restart_inputs = statefulset::restart_inputs(cluster);
    let mut objects = vec![
        rbac::service_account(cluster),
        config_map::config_map(cluster, around),
        pdb::network_policy(cluster),
    ];
    objects.extend(service::services(cluster));
    objects.push(pdb::disruption_budget(cluster));
    objects.push(statefulset::statefulset(cluster, &restart_inputs));
    for object in &mut objects {
        stamp(object);
    }
    Desired {
        objects,
        restart_inputs,
        advertised: cluster
            .node_ids()
            .map(|id| (id, listeners::advertised(cluster, id, around)))
            .collect(),
        dynamic_config: cluster.dynamic_config.clone(),
    }
}

/// The API's own names at the top, and the hash of the rest as an annotation.
fn stamp(object: &mut Object) {
    let (group, version, _) = object.kind.api();
    let api = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    object.body["apiVersion"] = api.into();
    object.body["kind"] = object.kind.name().into();
    let hash = hash(&object.body.to_string());
    object.body["metadata"]["annotations"][labels::APPLIED] = hash.into();
}

/// A short hash of a text (FNV-1a, 64 bits); to notice changes, not to resist anybody.
pub fn hash(text: &str) -> String {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.as_bytes() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{state:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{checked, cluster};
    use k8s_openapi::api::apps::v1::StatefulSet;
    use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;
    use serde::{Serialize, de::DeserializeOwned};

    fn same<T: Serialize + DeserializeOwned>(body: &Value) {
        let typed: T = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(
            &serde_json::to_value(&typed).unwrap(),
            body,
            "a field is unknown to the API"
        );
    }

    /// What goes through the API's own types unchanged has no misspelt field.
    #[test]
    fn every_object_is_in_the_apis_shape() {
        for cluster in [
            checked(cluster("a").nodeport("external", 9094).limits("2", "1Gi")),
            checked(cluster("b").ephemeral()),
            checked(cluster("c").replicas(3).formed()),
        ] {
            let desired = build(&cluster, &Whereabouts::default());
            for object in &desired.objects {
                match object.kind {
                    Kind::ServiceAccount => same::<ServiceAccount>(&object.body),
                    Kind::ConfigMap => same::<ConfigMap>(&object.body),
                    Kind::NetworkPolicy => same::<NetworkPolicy>(&object.body),
                    Kind::Service => same::<Service>(&object.body),
                    Kind::PodDisruptionBudget => same::<PodDisruptionBudget>(&object.body),
                    Kind::StatefulSet => same::<StatefulSet>(&object.body),
                }
            }
            assert!(desired.objects.is_sorted_by_key(|object| object.kind));
        }
    }

    /// A restart only to write down what a running member knows would be a restart for nothing.
    #[test]
    fn having_been_formed_is_in_the_files_and_no_reason_to_restart() {
        let of = |builder| build(&checked(builder), &Whereabouts::default());
        let (before, after) = (
            of(cluster("a").replicas(3)),
            of(cluster("a").replicas(3).formed()),
        );
        assert_eq!(before.restart_inputs, after.restart_inputs);
        let changed = before
            .objects
            .iter()
            .zip(&after.objects)
            .filter(|(before, after)| before != after);
        let kinds: Vec<Kind> = changed.map(|(object, _)| object.kind).collect();
        assert_eq!(kinds, [Kind::ConfigMap]);
    }

    #[test]
    fn names_fit_a_service_at_the_longest_cluster_name() {
        let cluster = checked(cluster(&"x".repeat(40)).nodeport("external123", 9094));
        for object in build(&cluster, &Whereabouts::default()).objects {
            assert!(object.name.len() <= 63, "{}", object.name);
        }
    }
}
