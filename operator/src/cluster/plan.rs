//! Desired x Observed -> what may happen now. Pure. One reconcile never waits: what has to wait is simply not in the plan
//! yet, and the status says why.

use super::build::properties::bytes;
use super::build::{Desired, Kind, Object, labels, listeners};
use super::model::Cluster;
use super::observe::{Observed, PodFacts};
use crate::crd::kafka_cluster::StorageKind;
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create or change an object.
    Apply(Object),
    /// Delete a service that nothing asks for any more.
    DeleteService(String),
    /// Ask for a larger volume.
    GrowClaim {
        /// The claim.
        name: String,
        /// Its new size.
        size: String,
    },
    /// Tell a broker its addresses.
    Advertise {
        /// Which.
        node_id: i32,
        /// By Kafka's listener name.
        addresses: BTreeMap<String, listeners::Address>,
    },
    /// Tell the brokers the dynamic properties.
    SetDynamic {
        /// Whom to tell; it holds for all.
        node_id: i32,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// Delete a pod, which makes a new one.
    Restart(Restart),
}

/// A pod to restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which broker.
    pub node_id: i32,
    /// Its pod, and only this one.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Why, for a person.
    pub reasons: Vec<String>,
    /// Ask the broker first. A broker that does not serve has nobody to ask, and nothing to lose.
    pub ask: bool,
}

/// What to do now, and what has to wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Why each broker has to be restarted, now or later.
    pub restart_reasons: BTreeMap<i32, Vec<String>>,
}

/// The dynamic properties a broker was told last, with its incarnation: a new process is told again.
pub type Told = Option<(String, BTreeMap<String, String>)>;

/// Decides.
pub fn plan(cluster: &Cluster, desired: &Desired, observed: &Observed, told: &Told) -> Plan {
    let mut steps = objects(desired, observed);
    steps.extend(stale_services(desired, observed));
    steps.extend(larger_claims(cluster, observed));
    for (node_id, facts) in &observed.brokers {
        let Ok(facts) = facts else { continue };
        if facts.state != "Running" {
            continue;
        }
        steps.extend(advertise(desired, *node_id, &facts.advertised));
        let wanted = Some((facts.incarnation.clone(), desired.dynamic_config.clone()));
        if *told != wanted {
            steps.push(Step::SetDynamic {
                node_id: *node_id,
                configs: desired.dynamic_config.clone(),
            });
        }
    }
    let restart_reasons = restart_reasons(desired, observed);
    if template_is_known(&steps, observed) {
        steps.extend(next_restart(&restart_reasons, observed).map(Step::Restart));
    }
    Plan {
        steps,
        restart_reasons,
    }
}

fn objects(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let changed = desired.objects.iter().filter_map(|object| {
        let live = observed.objects.get(&(object.kind, object.name.clone()));
        let object = keep_claim_templates(object, live);
        live.is_none_or(|live| differs(&object.body, live))
            .then_some(Step::Apply(object))
    });
    changed.collect()
}

/// The API server refuses to change them, and volumes grow through their claims.
fn keep_claim_templates(object: &Object, live: Option<&Value>) -> Object {
    let mut object = object.clone();
    if object.kind == Kind::StatefulSet
        && let Some(live) = live.and_then(|live| live["spec"].get("volumeClaimTemplates"))
    {
        object.body["spec"]["volumeClaimTemplates"] = live.clone();
    }
    object
}

/// Does the live object lack something of ours? What others added to it is their business; what we took away since we
/// applied it is seen by the hash among the annotations.
pub fn differs(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().any(|(name, value)| {
            live.get(name)
                .map_or(!is_nothing(value), |live| differs(value, live))
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() != live.len()
                || wanted
                    .iter()
                    .zip(live)
                    .any(|(wanted, live)| differs(wanted, live))
        }
        (Value::String(wanted), Value::String(live)) => wanted != live && !same_quantity(wanted, live),
        (wanted, live) => wanted != live,
    }
}

/// The API server leaves out what is empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// "1024Mi" comes back as "1Gi".
fn same_quantity(one: &str, other: &str) -> bool {
    matches!((bytes(one), bytes(other)), (Some(one), Some(other)) if one == other && one > 0)
}

fn stale_services(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let wanted = |name: &str| {
        desired
            .objects
            .iter()
            .any(|object| object.kind == Kind::Service && object.name == name)
    };
    let live = observed
        .objects
        .keys()
        .filter(|(kind, name)| *kind == Kind::Service && !wanted(name));
    live.filter(|(kind, name)| {
        observed.objects[&(*kind, name.clone())]["metadata"]["labels"][labels::LISTENER].is_string()
    })
    .map(|(_, name)| Step::DeleteService(name.clone()))
    .collect()
}

fn larger_claims(cluster: &Cluster, observed: &Observed) -> Vec<Step> {
    let (StorageKind::PersistentClaim, Some(size)) = (cluster.storage.kind, &cluster.storage.size) else {
        return Vec::new();
    };
    let claims = cluster.node_ids().map(|node_id| cluster.claim_name(node_id));
    let smaller = claims.filter(|name| {
        let live = observed.claims.get(name).and_then(|live| bytes(live));
        live.is_some_and(|live| bytes(size).is_some_and(|size| size > live))
    });
    smaller
        .map(|name| Step::GrowClaim {
            name,
            size: size.clone(),
        })
        .collect()
}

fn advertise(desired: &Desired, node_id: i32, in_force: &BTreeMap<String, String>) -> Option<Step> {
    let wanted = desired.advertised.get(&node_id)?;
    let differing = wanted
        .iter()
        .filter(|(name, (host, port))| in_force.get(*name) != Some(&listeners::text(host, *port)));
    let addresses: BTreeMap<String, listeners::Address> =
        differing.map(|(name, at)| (name.clone(), at.clone())).collect();
    (!addresses.is_empty()).then_some(Step::Advertise { node_id, addresses })
}

/// The StatefulSet's controller has seen the template as it is now; a pod deleted before that could come back as it was.
fn template_is_known(steps: &[Step], observed: &Observed) -> bool {
    let applying = steps
        .iter()
        .any(|step| matches!(step, Step::Apply(object) if object.kind == Kind::StatefulSet));
    let seen = observed
        .objects
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::StatefulSet)
        .all(|(_, live)| {
            let generation = live["metadata"]["generation"].as_i64().unwrap_or(0);
            live["status"]["observedGeneration"].as_i64().unwrap_or(0) >= generation
        });
    !applying && seen
}

fn restart_reasons(desired: &Desired, observed: &Observed) -> BTreeMap<i32, Vec<String>> {
    let reasons = observed
        .pods
        .iter()
        .map(|(node_id, pod)| (*node_id, reasons(&pod.restart_inputs, &desired.restart_inputs)));
    reasons.filter(|(_, reasons)| !reasons.is_empty()).collect()
}

/// Texts that are long or hashes are named, not shown.
fn reasons(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let changed = crate::local::differences(before, after);
    let short = changed.into_iter().map(|text| {
        let name = text.split(' ').next().unwrap_or_default().to_owned();
        match name.as_str() {
            "template" | "resources" | "seccompProfile" => name,
            _ => text.chars().take(200).collect(),
        }
    });
    short.collect()
}

/// One broker at a time, and only while all others serve; one that does not serve goes first.
fn next_restart(reasons: &BTreeMap<i32, Vec<String>>, observed: &Observed) -> Option<Restart> {
    if observed.pods.values().any(|pod| pod.deleting) {
        return None;
    }
    let restart = |node_id: i32, pod: &PodFacts, ask: bool| Restart {
        node_id,
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        reasons: reasons[&node_id].clone(),
        ask,
    };
    let mut pending = reasons
        .keys()
        .filter_map(|node_id| Some((*node_id, observed.pods.get(node_id)?)));
    let mut unready = pending.clone().filter(|(_, pod)| !pod.ready);
    if let Some((node_id, pod)) = unready.next() {
        let serves = matches!(observed.brokers.get(&node_id), Some(Ok(facts)) if facts.state == "Running");
        return Some(restart(node_id, pod, serves));
    }
    if observed.pods.values().any(|pod| !pod.ready) {
        return None;
    }
    pending.next().map(|(node_id, pod)| restart(node_id, pod, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerFacts;
    use crate::cluster::build::build;
    use crate::cluster::build::listeners::Whereabouts;
    use crate::fixtures::{ClusterBuilder, checked, cluster};
    use serde_json::json;

    /// A settled world for a cluster: every object as it was applied, every broker as it was started.
    fn settled(builder: ClusterBuilder) -> (Cluster, Desired, Observed, Told) {
        let cluster = checked(builder);
        let desired = build(&cluster, &Whereabouts::default());
        let objects = desired
            .objects
            .iter()
            .map(|object| ((object.kind, object.name.clone()), object.body.clone()));
        let advertised = desired.advertised[&0]
            .iter()
            .map(|(name, (host, port))| (name.clone(), listeners::text(host, *port)));
        let facts = BrokerFacts {
            state: "Running".into(),
            incarnation: "one".into(),
            advertised: advertised.collect(),
            ..BrokerFacts::default()
        };
        let pod = PodFacts {
            name: cluster.pod_name(0),
            uid: "u".into(),
            ready: true,
            restart_inputs: desired.restart_inputs.clone(),
            ..PodFacts::default()
        };
        let observed = Observed {
            objects: objects.collect(),
            pods: BTreeMap::from([(0, pod)]),
            brokers: BTreeMap::from([(0, Ok(facts))]),
            claims: BTreeMap::from([(cluster.claim_name(0), "1Gi".to_owned())]),
            ..Observed::default()
        };
        let told = Some(("one".to_owned(), desired.dynamic_config.clone()));
        (cluster, desired, observed, told)
    }

    /// The objects of `desired` are in place, the pods still run as before.
    fn applied(mut observed: Observed, desired: &Desired) -> Observed {
        let objects = desired.objects.iter();
        observed.objects = objects
            .map(|object| ((object.kind, object.name.clone()), object.body.clone()))
            .collect();
        observed
    }

    fn restart(plan: &Plan) -> Option<&Restart> {
        plan.steps.iter().find_map(|step| match step {
            Step::Restart(restart) => Some(restart),
            _ => None,
        })
    }

    #[test]
    fn a_settled_cluster_needs_nothing() {
        let (cluster, desired, observed, told) = settled(cluster("a").limits("1000m", "1024Mi"));
        assert_eq!(plan(&cluster, &desired, &observed, &told), Plan::default());
    }

    #[test]
    fn what_is_missing_or_was_changed_is_applied() {
        let (cluster, desired, mut observed, told) = settled(cluster("a"));
        observed.objects.remove(&(Kind::Service, cluster.headless_name()));
        observed
            .objects
            .get_mut(&(Kind::StatefulSet, cluster.set_name()))
            .unwrap()["spec"]["replicas"] = json!(0);
        let steps = plan(&cluster, &desired, &observed, &told).steps;
        let kinds: Vec<Kind> = steps
            .iter()
            .map(|step| {
                if let Step::Apply(object) = step {
                    object.kind
                } else {
                    panic!("{step:?}")
                }
            })
            .collect();
        assert_eq!(kinds, [Kind::Service, Kind::StatefulSet]);
    }

    #[test]
    fn quantities_come_back_in_another_spelling() {
        assert!(!differs(
            &json!({"a": "1024Mi", "b": "1000m"}),
            &json!({"a": "1Gi", "b": "1", "c": 1})
        ));
        assert!(differs(&json!({"a": "1Gi"}), &json!({"a": "2Gi"})));
        assert!(differs(&json!({"a": "x"}), &json!({"a": "y"})));
    }

    #[test]
    fn a_static_property_restarts_with_its_name_and_a_dynamic_one_does_not() {
        let (_, _, observed, told) = settled(cluster("a"));
        let changed = checked(
            cluster("a")
                .config("num.partitions", "7")
                .config("log.retention.ms", "1000"),
        );
        let desired = build(&changed, &Whereabouts::default());
        let first = plan(&changed, &desired, &observed, &told);
        assert_eq!(restart(&first), None, "before the new template is known");
        let plan = plan(&changed, &desired, &applied(observed, &desired), &told);
        let restart = restart(&plan).unwrap();
        assert_eq!(restart.reasons, ["num.partitions unset -> 7"]);
        assert!(restart.ask);
        assert!(
            plan.steps
                .iter()
                .any(|step| matches!(step, Step::SetDynamic { .. }))
        );
    }

    #[test]
    fn a_broker_that_does_not_serve_is_restarted_without_asking() {
        let (_, _, mut observed, told) = settled(cluster("a"));
        observed.pods.get_mut(&0).unwrap().ready = false;
        observed.brokers.clear();
        let changed = checked(cluster("a").image("broker:2"));
        let desired = build(&changed, &Whereabouts::default());
        let plan = plan(&changed, &desired, &applied(observed, &desired), &told);
        assert!(!restart(&plan).unwrap().ask);
    }

    #[test]
    fn no_second_restart_while_one_is_under_way() {
        let (_, _, mut observed, told) = settled(cluster("a"));
        observed.pods.get_mut(&0).unwrap().deleting = true;
        let changed = checked(cluster("a").image("broker:2"));
        let desired = build(&changed, &Whereabouts::default());
        let plan = plan(&changed, &desired, &applied(observed, &desired), &told);
        assert_eq!(restart(&plan), None);
        assert!(!plan.restart_reasons.is_empty());
    }

    #[test]
    fn a_new_address_is_told_without_a_restart() {
        let (cluster, mut desired, observed, told) = settled(cluster("a"));
        desired.advertised.insert(
            0,
            BTreeMap::from([("PLAIN".to_owned(), ("elsewhere".to_owned(), 9092))]),
        );
        let plan = plan(&cluster, &desired, &observed, &told);
        assert!(matches!(&plan.steps[..], [Step::Advertise { node_id: 0, .. }]));
    }

    #[test]
    fn a_larger_volume_is_asked_for_and_a_removed_listener_loses_its_service() {
        let (mut cluster, _, observed, told) = settled(cluster("a").nodeport("external", 9094));
        cluster.storage.size = Some("2Gi".into());
        cluster.listeners.pop();
        let mut desired = build(&cluster, &Whereabouts::default());
        desired.restart_inputs = observed.pods[&0].restart_inputs.clone();
        let steps = plan(&cluster, &desired, &observed, &told).steps;
        assert!(steps.contains(&Step::DeleteService("a-kafka-external-0".into())));
        assert!(
            steps
                .iter()
                .any(|step| matches!(step, Step::GrowClaim { size, .. } if size == "2Gi"))
        );
    }
}
