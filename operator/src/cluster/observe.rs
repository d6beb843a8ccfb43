//! IO: what there is of a cluster: objects from the caches, and what its brokers say.

use super::build::listeners::Whereabouts;
use super::build::{Kind, labels};
use super::validate::Kept;
use crate::broker::{Broker, BrokerFacts};
use crate::cache::{Caches, addresses};
use crate::cluster::build::statefulset::{ADMIN_PORT, CONTAINER};
use crate::crd::KafkaCluster;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a decision about a cluster rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Live objects by kind and name.
    pub objects: BTreeMap<(Kind, String), Value>,
    /// Broker pods by node id.
    pub pods: BTreeMap<i32, PodFacts>,
    /// Volume claims by name.
    pub claims: BTreeMap<String, ClaimFacts>,
    /// Nodes and ports.
    pub around: Whereabouts,
    /// What brokers said, by node id; the error's words where one said nothing.
    pub brokers: BTreeMap<i32, Result<BrokerFacts, String>>,
}

/// One volume claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// What it asks for.
    pub size: Option<String>,
    /// Kafka's id of the cluster whose data it has.
    pub cluster_id: Option<String>,
    /// That cluster was formed.
    pub formed: bool,
}

/// One broker pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid: a pod of the same name is another pod.
    pub uid: String,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// The kubelet says so.
    pub ready: bool,
    /// Being deleted.
    pub deleting: bool,
    /// What it was started with.
    pub restart_inputs: BTreeMap<String, String>,
    /// Why it does not run.
    pub trouble: Option<Trouble>,
}

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Kubernetes' word.
    pub reason: String,
    /// In words; of a crashed broker its own last line.
    pub message: String,
    /// It will not pass by itself.
    pub lasting: bool,
}

/// Looks. Brokers are asked when their pod has an address.
pub async fn observe(caches: &Caches, cluster: &KafkaCluster) -> Observed {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let mut observed = Observed::default();
    gather(
        &mut observed.objects,
        Kind::ServiceAccount,
        caches.accounts.of_cluster(&namespace, &name),
    );
    gather(
        &mut observed.objects,
        Kind::ConfigMap,
        caches.config_maps.of_cluster(&namespace, &name),
    );
    gather(
        &mut observed.objects,
        Kind::NetworkPolicy,
        caches.policies.of_cluster(&namespace, &name),
    );
    gather(
        &mut observed.objects,
        Kind::Service,
        caches.services.of_cluster(&namespace, &name),
    );
    gather(
        &mut observed.objects,
        Kind::PodDisruptionBudget,
        caches.budgets.of_cluster(&namespace, &name),
    );
    gather(
        &mut observed.objects,
        Kind::StatefulSet,
        caches.sets.of_cluster(&namespace, &name),
    );
    for claim in caches.claims.of_cluster(&namespace, &name) {
        observed.claims.insert(claim.name_any(), claim_facts(&claim));
    }
    for pod in caches.pods.of_cluster(&namespace, &name) {
        // The ordinal is the last part of the name; a foreign pod with our labels has none.
        let Some(node_id) = pod
            .name_any()
            .rsplit('-')
            .next()
            .and_then(|ordinal| ordinal.parse().ok())
        else {
            continue;
        };
        observed.pods.insert(node_id, facts(&pod));
    }
    observed.around = whereabouts(caches, &observed);
    let cluster_id = cluster
        .status
        .as_ref()
        .and_then(|status| status.cluster_id.clone());
    // All at once: three that do not answer must not take three times as long.
    let asked = observed.pods.iter().filter_map(|(node_id, pod)| {
        let ip = pod.ip.as_ref().filter(|_| pod.trouble.is_none())?;
        let said = ask(ip, cluster_id.as_deref(), *node_id);
        Some(async { (*node_id, said.await.map_err(|error| error.to_string())) })
    });
    observed.brokers = futures::future::join_all(asked).await.into_iter().collect();
    observed
}

impl Observed {
    /// Brokers that serve.
    pub fn running(&self) -> impl Iterator<Item = (i32, &BrokerFacts)> {
        let answers = self
            .brokers
            .iter()
            .filter_map(|(id, said)| Some((*id, said.as_ref().ok()?)));
        answers.filter(|(_, facts)| facts.state == "Running")
    }

    /// What the claims remember of the cluster with the recorded id; where none is recorded, of one that was formed, or else
    /// of the first that they name.
    pub fn kept(&self, recorded: Option<&str>) -> Kept {
        let named = || self.claims.values().filter(|claim| claim.cluster_id.is_some());
        let found = named().find(|claim| claim.formed).or_else(|| named().next());
        let found = found.and_then(|claim| claim.cluster_id.clone());
        let cluster_id = recorded.map(str::to_owned).or(found);
        let formed = named().any(|claim| claim.formed && claim.cluster_id == cluster_id);
        Kept { cluster_id, formed }
    }

    /// Leader of the metadata quorum, as most recently heard of from any broker that serves.
    pub fn controller(&self) -> Option<i32> {
        self.running()
            .find_map(|(_, facts)| facts.view.as_ref()?.controller)
    }

    /// The broker that is told what holds for all: the quorum's leader where there is one.
    pub fn speaker(&self) -> Option<(i32, &BrokerFacts)> {
        let controller = self.controller();
        self.running()
            .find(|(id, _)| Some(*id) == controller)
            .or_else(|| self.running().next())
    }
}

/// The admin address of a pod.
pub fn admin_address(ip: &str) -> String {
    super::build::listeners::text(ip, i32::from(ADMIN_PORT))
}

async fn ask(
    ip: &str,
    cluster_id: Option<&str>,
    node_id: i32,
) -> Result<BrokerFacts, crate::broker::BrokerError> {
    Broker::connect(&admin_address(ip), cluster_id, node_id)
        .await?
        .describe()
        .await
}

fn gather<K: Serialize + ResourceExt>(
    objects: &mut BTreeMap<(Kind, String), Value>,
    kind: Kind,
    found: Vec<Arc<K>>,
) {
    for object in found {
        let value = serde_json::to_value(&*object).expect("an object of the API is plain data");
        objects.insert((kind, object.name_any()), value);
    }
}

fn whereabouts(caches: &Caches, observed: &Observed) -> Whereabouts {
    let node_of = observed
        .pods
        .iter()
        .filter_map(|(id, pod)| Some((*id, pod.node.clone()?)));
    let mut around = Whereabouts {
        node_of: node_of.collect(),
        ..Whereabouts::default()
    };
    for name in around.node_of.values() {
        let nodes = caches.nodes.all();
        if let Some(node) = nodes.iter().find(|node| node.name_any() == *name) {
            around.addresses.insert(name.clone(), addresses(node));
        }
    }
    for ((kind, name), service) in &observed.objects {
        let listener = service["metadata"]["labels"][labels::LISTENER].as_str();
        let node_id = name.rsplit('-').next().and_then(|ordinal| ordinal.parse().ok());
        let port = service["spec"]["ports"][0]["nodePort"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        if let (Kind::Service, Some(listener), Some(node_id), Some(port)) = (kind, listener, node_id, port) {
            around.node_ports.insert((node_id, listener.to_owned()), port);
        }
    }
    around
}

fn claim_facts(claim: &PersistentVolumeClaim) -> ClaimFacts {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let annotations = claim.annotations();
    ClaimFacts {
        size: requests
            .and_then(|requests| requests.get("storage"))
            .map(|size| size.0.clone()),
        cluster_id: annotations.get(labels::CLUSTER_ID).cloned(),
        formed: annotations
            .get(labels::FORMED)
            .is_some_and(|value| value == "true"),
    }
}

fn facts(pod: &Pod) -> PodFacts {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let inputs = pod.annotations().get(labels::RESTART_INPUTS);
    PodFacts {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ip: status.pod_ip.filter(|ip| !ip.is_empty()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ready: conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        restart_inputs: inputs
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default(),
        trouble: trouble(pod),
    }
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    if let Some(found) = containers
        .filter(|one| one.name == CONTAINER)
        .find_map(container_trouble)
    {
        return Some(found);
    }
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions
        .into_iter()
        .find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    Some(Trouble {
        reason: unscheduled
            .reason
            .clone()
            .unwrap_or_else(|| "Unschedulable".into()),
        message: unscheduled.message.clone().unwrap_or_default(),
        // A volume being made looks the same as no room: it may pass.
        lasting: false,
    })
}

fn container_trouble(status: &ContainerStatus) -> Option<Trouble> {
    let state = status.state.as_ref()?;
    let last_words = || {
        let now = state.terminated.as_ref();
        let before = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        let ended = now.or(before)?;
        let text = ended.message.as_deref().unwrap_or_default();
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        Some(match line {
            Some(line) => line.trim().to_owned(),
            None => format!(
                "{} (exit code {})",
                ended.reason.clone().unwrap_or_default(),
                ended.exit_code
            ),
        })
    };
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        let message = waiting.message.clone().unwrap_or_default();
        return match reason.as_str() {
            "ContainerCreating" | "PodInitializing" | "" => None,
            "CrashLoopBackOff" => Some(Trouble {
                message: last_words().unwrap_or(message),
                reason,
                lasting: true,
            }),
            _ => Some(Trouble {
                reason,
                message,
                lasting: true,
            }),
        };
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(Trouble {
        reason: ended.reason.clone().unwrap_or_else(|| "Error".into()),
        message: last_words().unwrap_or_default(),
        lasting: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-kafka-0"},
            "status": {"containerStatuses": [container]}
        }))
        .unwrap()
    }

    fn container(state: Value, last: Value) -> Value {
        json!({"name": "broker", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last})
    }

    /// One row: the recorded id, each claim's id and whether it says formed, and what is kept.
    #[test]
    fn what_the_claims_remember_is_of_one_cluster() {
        type Row<'a> = (
            Option<&'a str>,
            &'a [(Option<&'a str>, bool)],
            Option<&'a str>,
            bool,
        );
        let rows: &[Row<'_>] = &[
            (None, &[], None, false),
            (None, &[(Some("one"), false)], Some("one"), false),
            (
                None,
                &[(Some("one"), false), (Some("one"), true)],
                Some("one"),
                true,
            ),
            (
                None,
                &[(Some("other"), false), (Some("one"), true)],
                Some("one"),
                true,
            ),
            (Some("one"), &[(Some("one"), true)], Some("one"), true),
            (Some("one"), &[(Some("other"), true)], Some("one"), false),
            (Some("one"), &[(None, true)], Some("one"), false),
        ];
        for (recorded, claims, cluster_id, formed) in rows {
            let facts = |(number, (id, formed)): (usize, &(Option<&str>, bool))| {
                let claim =
                    json!({"metadata": {"name": format!("data-a-kafka-{number}"), "annotations": {}}});
                let mut claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
                let annotations = claim.annotations_mut();
                annotations.extend(id.map(|id| (labels::CLUSTER_ID.to_owned(), id.to_owned())));
                annotations.extend(formed.then(|| (labels::FORMED.to_owned(), "true".to_owned())));
                (claim.name_any(), claim_facts(&claim))
            };
            let observed = Observed {
                claims: claims.iter().enumerate().map(facts).collect(),
                ..Observed::default()
            };
            let kept = Kept {
                cluster_id: cluster_id.map(str::to_owned),
                formed: *formed,
            };
            assert_eq!(observed.kept(*recorded), kept, "{recorded:?} {claims:?}");
        }
    }

    #[test]
    fn a_crash_loop_speaks_with_the_brokers_last_line() {
        let pod = pod(container(
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
            json!({"terminated": {"exitCode": 1, "message": "starting\nport 9092 is in use\n\n"}}),
        ));
        let found = trouble(&pod).unwrap();
        assert_eq!(found.message, "port 9092 is in use");
        assert!(found.lasting);
    }

    #[test]
    fn a_missing_profile_is_lasting_and_a_starting_container_is_no_trouble() {
        let missing = pod(container(
            json!({"waiting": {"reason": "CreateContainerError", "message": "no such file"}}),
            json!({}),
        ));
        assert!(trouble(&missing).unwrap().lasting);
        let starting = pod(container(
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({}),
        ));
        assert_eq!(trouble(&starting), None);
    }
}
