//! spec + what is around it -> `Cluster`, or everything that is wrong with it. Pure.
//!
//! The API server has checked the schema and its rules already. Here is what needs a table: property names, values and
//! scopes, and which of them belong to the operator.

use super::model::{Cluster, Listener, Storage};
use crate::crd::KafkaCluster;
use crate::crd::kafka_cluster::{ODD_BROKERS, PullPolicy, Resources, StorageKind};
use protocol::ids::{parse_uuid, uuid_text};
use protocol::properties::{self, Scope};
use std::collections::BTreeMap;

/// What a spec leaves to its surroundings.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Image of brokers whose spec names none.
    pub image: String,
    /// When to pull it.
    pub pull_policy: PullPolicy,
    /// Secrets to pull with.
    pub pull_secrets: Vec<String>,
    /// Namespace of the operator.
    pub operator_namespace: String,
}

/// One mistake, by field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// For example `spec.config`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// What the volume claims remember of an earlier life of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Kafka's cluster id.
    pub cluster_id: Option<String>,
    /// The cluster with this id was formed: a volume that is empty has lost its data.
    pub formed: bool,
}

/// Checks a cluster.
pub fn validate(cluster: &KafkaCluster, kept: &Kept, defaults: &Defaults) -> Result<Cluster, Vec<Invalid>> {
    let spec = &cluster.spec;
    let mut wrong = Vec::new();
    if ![1, 3, 5].contains(&spec.replicas) {
        wrong.push(invalid("spec.replicas", ODD_BROKERS));
    }
    if spec.storage.kind == StorageKind::PersistentClaim && spec.storage.size.is_none() {
        wrong.push(invalid(
            "spec.storage.size",
            "storage of type persistent-claim needs a size",
        ));
    }
    let (mut static_config, mut dynamic_config) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in &spec.config {
        let value = value.text();
        match properties::check_broker(name, &value) {
            Err(problem) => wrong.push(invalid("spec.config", &problem.to_string())),
            Ok(_) if operators_own(name) => {
                let text = format!("{name} is set by the operator; use the fields of the spec");
                wrong.push(invalid("spec.config", &text));
            }
            Ok(property) => {
                let target = match property.scope {
                    Scope::ReadOnly => &mut static_config,
                    Scope::PerBroker | Scope::ClusterWide | Scope::OneForAll => &mut dynamic_config,
                };
                target.insert(name.clone(), value);
            }
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let metadata = &cluster.metadata;
    let uid = metadata.uid.clone().unwrap_or_default();
    let status = cluster.status.as_ref();
    let recorded = status.and_then(|status| status.cluster_id.as_deref());
    let formed = status.and_then(|status| status.formed) == Some(true);
    Ok(Cluster {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        cluster_id: recorded
            .or(kept.cluster_id.as_deref())
            .map_or_else(|| id_from(&uid), str::to_owned),
        uid,
        replicas: spec.replicas,
        formed: formed || kept.formed,
        image: spec.image.clone().unwrap_or_else(|| defaults.image.clone()),
        pull_policy: spec.image_pull_policy.unwrap_or(defaults.pull_policy),
        pull_secrets: defaults.pull_secrets.clone(),
        listeners: spec.listeners.iter().map(listener).collect(),
        storage: Storage {
            kind: spec.storage.kind,
            size: spec.storage.size.clone(),
            class: spec.storage.class.clone(),
        },
        static_config,
        dynamic_config,
        requests: quantities(
            spec.resources
                .as_ref()
                .map(|resources: &Resources| &resources.requests),
        ),
        limits: quantities(spec.resources.as_ref().map(|resources| &resources.limits)),
        engine: spec.io.engine,
        seccomp: spec
            .security
            .as_ref()
            .and_then(|security| security.seccomp_profile.clone()),
        pod: spec
            .template
            .clone()
            .and_then(|template| template.pod)
            .unwrap_or_default(),
        operator_namespace: defaults.operator_namespace.clone(),
    })
}

fn invalid(field: &str, message: &str) -> Invalid {
    Invalid {
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

fn listener(listener: &crate::crd::kafka_cluster::Listener) -> Listener {
    Listener {
        name: listener.name.clone(),
        port: u16::try_from(listener.port).unwrap_or(u16::MAX),
        kind: listener.kind,
        node_address: listener
            .advertised
            .as_ref()
            .and_then(|advertised| advertised.node_address_type),
    }
}

fn quantities(found: Option<&BTreeMap<String, crate::crd::ConfigValue>>) -> BTreeMap<String, String> {
    let found = found.into_iter().flatten();
    found.map(|(name, value)| (name.clone(), value.text())).collect()
}

/// Properties that follow from other fields.
fn operators_own(name: &str) -> bool {
    const OWN: &[&str] = &[
        "node.id",
        "broker.id",
        "cluster.id",
        "listeners",
        "listener.security.protocol.map",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
        "broker.rack",
        "process.roles",
        "admin.listener",
        "http.listener",
        "cluster.formed",
        "io.engine",
        "inter.broker.listener.name",
        "zookeeper.connect",
    ];
    const FAMILIES: &[&str] = &["advertised.", "controller.", "control.", "replication."];
    OWN.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// The cluster id of a new cluster: the resource's uid in Kafka's spelling. Nothing has to be written down before the
/// first broker starts, so nothing can be lost in between.
fn id_from(uid: &str) -> String {
    let hex: String = uid.chars().filter(char::is_ascii_hexdigit).collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .unwrap_or(0);
    }
    let id = uuid_text(&bytes);
    debug_assert!(parse_uuid(&id).is_some());
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, defaults};

    #[test]
    fn properties_are_sorted_by_what_a_change_takes() {
        let checked = validate(
            &cluster("a")
                .config("log.retention.ms", "1000")
                .config("num.partitions", "3")
                .build(),
            &Kept::default(),
            &defaults(),
        );
        let checked = checked.unwrap();
        assert_eq!(checked.dynamic_config["log.retention.ms"], "1000");
        assert_eq!(checked.static_config["num.partitions"], "3");
    }

    #[test]
    fn a_misspelt_property_names_the_nearest() {
        let wrong = validate(
            &cluster("a").config("num.partition", "3").build(),
            &Kept::default(),
            &defaults(),
        )
        .unwrap_err();
        assert_eq!(wrong[0].field, "spec.config");
        assert!(wrong[0].message.contains("num.partitions"), "{}", wrong[0]);
    }

    #[test]
    fn the_operators_own_properties_are_refused() {
        for name in ["log.dirs", "admin.listener", "advertised.listeners"] {
            let wrong = validate(
                &cluster("a").config(name, "/x").build(),
                &Kept::default(),
                &defaults(),
            );
            assert!(wrong.is_err(), "{name}");
        }
    }

    #[test]
    fn the_cluster_id_comes_from_the_status_then_the_volumes_then_the_uid() {
        let fresh = cluster("a").build();
        let of = |cluster: &KafkaCluster, kept: Option<&str>| {
            let kept = Kept {
                cluster_id: kept.map(str::to_owned),
                formed: false,
            };
            validate(cluster, &kept, &defaults()).unwrap().cluster_id
        };
        let made = of(&fresh, None);
        assert_eq!(made.len(), 22);
        assert_eq!(
            of(&fresh, Some("keptkeptkeptkeptkeptke")),
            "keptkeptkeptkeptkeptke"
        );
        let recorded = cluster("a").cluster_id("recordedrecordedrecord").build();
        assert_eq!(
            of(&recorded, Some("keptkeptkeptkeptkeptke")),
            "recordedrecordedrecord"
        );
    }

    /// A resource deleted and applied again, or restored without its status, has only its claims to remember by.
    #[test]
    fn a_cluster_was_formed_when_its_status_or_its_volumes_say_so() {
        let of = |cluster: KafkaCluster, formed| {
            let kept = Kept {
                cluster_id: Some("keptkeptkeptkeptkeptke".into()),
                formed,
            };
            validate(&cluster, &kept, &defaults()).unwrap().formed
        };
        assert!(!of(cluster("a").build(), false));
        assert!(of(cluster("a").build(), true));
        assert!(of(cluster("a").formed().build(), false));
    }
}
