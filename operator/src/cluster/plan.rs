//! Desired x Observed -> what may happen now. Pure. One reconcile never waits: what has to wait is simply not in the plan
//! yet, and the status says why.

use super::build::properties::bytes;
use super::build::{Desired, Kind, Object, labels, listeners};
use super::model::Cluster;
use super::observe::{Observed, PodFacts};
use super::roll::{self, Standing};
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
    /// Write on a volume claim that its cluster was formed.
    MarkFormed(String),
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
    /// Why none of them is restarted now.
    pub waits: Option<String>,
}

/// The dynamic properties a broker was told last, with its incarnation: a new process is told again.
pub type Told = Option<(String, BTreeMap<String, String>)>;

/// Decides.
pub fn plan(cluster: &Cluster, desired: &Desired, observed: &Observed, told: &Told) -> Plan {
    let mut steps = objects(desired, observed);
    steps.extend(stale_services(desired, observed));
    steps.extend(larger_claims(cluster, observed));
    steps.extend(formed_claims(cluster, observed));
    for (node_id, facts) in &observed.brokers {
        let Ok(facts) = facts else { continue };
        if facts.state != "Running" {
            continue;
        }
        steps.extend(advertise(desired, *node_id, &facts.advertised));
    }
    if let Some((node_id, facts)) = observed.speaker() {
        let wanted = Some((facts.incarnation.clone(), desired.dynamic_config.clone()));
        if *told != wanted {
            steps.push(Step::SetDynamic {
                node_id,
                configs: desired.dynamic_config.clone(),
            });
        }
    }
    let restart_reasons = restart_reasons(desired, observed);
    let mut waits = None;
    if template_is_known(&steps, observed) {
        match next_restart(cluster, &restart_reasons, observed) {
            Ok(restart) => steps.extend(restart.map(Step::Restart)),
            Err(why) => waits = Some(why),
        }
    }
    Plan {
        steps,
        restart_reasons,
        waits,
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
        let live = observed.claims.get(name).and_then(|claim| claim.size.as_ref());
        let live = live.and_then(|live| bytes(live));
        live.is_some_and(|live| bytes(size).is_some_and(|size| size > live))
    });
    smaller
        .map(|name| Step::GrowClaim {
            name,
            size: size.clone(),
        })
        .collect()
}

/// A resource that is made again, or restored without its status, reads there that empty volumes are lost ones.
fn formed_claims(cluster: &Cluster, observed: &Observed) -> Vec<Step> {
    if !cluster.formed {
        return Vec::new();
    }
    let claims = cluster.node_ids().map(|node_id| cluster.claim_name(node_id));
    let unmarked = claims.filter(|name| {
        let claim = observed.claims.get(name);
        claim.is_some_and(|claim| !claim.formed && claim.cluster_id.as_ref() == Some(&cluster.cluster_id))
    });
    unmarked.map(Step::MarkFormed).collect()
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

fn next_restart(
    cluster: &Cluster,
    reasons: &BTreeMap<i32, Vec<String>>,
    observed: &Observed,
) -> Result<Option<Restart>, String> {
    let standing = |node_id: i32, pod: &PodFacts| Standing {
        ready: pod.ready,
        going: pod.deleting,
        down: pod.trouble.is_some(),
        reasons: reasons.get(&node_id).cloned().unwrap_or_default(),
        facts: observed.brokers.get(&node_id).and_then(|said| said.as_ref().ok()),
    };
    let pods = observed.pods.iter();
    let brokers = pods.map(|(node_id, pod)| (*node_id, standing(*node_id, pod)));
    let next = roll::next(cluster, &brokers.collect())?;
    Ok(next.map(|next| {
        let pod = &observed.pods[&next.node_id];
        Restart {
            node_id: next.node_id,
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            reasons: reasons[&next.node_id].clone(),
            ask: next.ask,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerFacts, View};
    use crate::cluster::build::build;
    use crate::cluster::build::listeners::Whereabouts;
    use crate::cluster::observe::{ClaimFacts, Trouble};
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
        let facts = |id: i32| BrokerFacts {
            state: "Running".into(),
            incarnation: "one".into(),
            quorum_reachable: true,
            advertised: desired.advertised[&id]
                .iter()
                .map(|(name, (host, port))| (name.clone(), listeners::text(host, *port)))
                .collect(),
            view: Some(View {
                controller: Some(0),
                serving: cluster.node_ids().collect(),
                registered: cluster.node_ids().collect(),
                under_replicated: 0,
                voters: cluster.node_ids().collect(),
            }),
            ..BrokerFacts::default()
        };
        let claim = |cluster: &Cluster| ClaimFacts {
            size: Some("1Gi".to_owned()),
            cluster_id: Some(cluster.cluster_id.clone()),
            formed: cluster.formed,
        };
        let pod = |id: i32| PodFacts {
            name: cluster.pod_name(id),
            uid: "u".into(),
            ready: true,
            restart_inputs: desired.restart_inputs.clone(),
            ..PodFacts::default()
        };
        let observed = Observed {
            objects: objects.collect(),
            pods: cluster.node_ids().map(|id| (id, pod(id))).collect(),
            brokers: cluster.node_ids().map(|id| (id, Ok(facts(id)))).collect(),
            claims: cluster
                .node_ids()
                .map(|id| (cluster.claim_name(id), claim(&cluster)))
                .collect(),
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

    /// One row: what is the matter, what is restarted next.
    #[test]
    fn of_three_brokers_one_is_restarted_at_a_time_and_the_quorums_leader_last() {
        type Change = fn(&mut Observed);
        fn facts(observed: &mut Observed, id: i32) -> &mut BrokerFacts {
            observed.brokers.get_mut(&id).unwrap().as_mut().unwrap()
        }
        fn view(observed: &mut Observed, id: i32) -> &mut View {
            facts(observed, id).view.as_mut().unwrap()
        }
        fn restarted(observed: &mut Observed, id: i32) {
            let inputs = &mut observed.pods.get_mut(&id).unwrap().restart_inputs;
            inputs.insert("image".into(), "broker:2".into());
        }
        let table: &[(&str, Change, Option<i32>)] = &[
            ("all serve: not the leader", |_| {}, Some(1)),
            (
                "the leader is 1",
                |all| (0..3).for_each(|id| view(all, id).controller = Some(1)),
                Some(0),
            ),
            ("1 is done", |all| restarted(all, 1), Some(2)),
            (
                "1 and 2 are done: the leader",
                |all| [1, 2].into_iter().for_each(|id| restarted(all, id)),
                Some(0),
            ),
            (
                "1 is on its way down",
                |all| all.pods.get_mut(&1).unwrap().deleting = true,
                None,
            ),
            ("1 has no pod", |all| drop(all.pods.remove(&1)), None),
            (
                "1 is done and not ready",
                |all| {
                    restarted(all, 1);
                    all.pods.get_mut(&1).unwrap().ready = false
                },
                None,
            ),
            (
                "1 is done and fenced",
                |all| {
                    restarted(all, 1);
                    view(all, 2).serving.retain(|id| *id != 1)
                },
                None,
            ),
            (
                "1 is done and catches up",
                |all| {
                    restarted(all, 1);
                    view(all, 0).under_replicated = 4
                },
                None,
            ),
            (
                "1 is new and does not vote yet",
                |all| {
                    restarted(all, 1);
                    view(all, 2).voters.retain(|id| *id != 1)
                },
                None,
            ),
            (
                "1 says nothing",
                |all| drop(all.brokers.insert(1, Err("nobody answers".into()))),
                None,
            ),
            ("1 has no view", |all| facts(all, 1).view = None, None),
            (
                "2 is not ready: it goes first",
                |all| all.pods.get_mut(&2).unwrap().ready = false,
                Some(2),
            ),
            (
                "2 is not ready, and 1 comes back: two voters would be away",
                |all| {
                    restarted(all, 1);
                    [1, 2]
                        .into_iter()
                        .for_each(|id| all.pods.get_mut(&id).unwrap().ready = false)
                },
                None,
            ),
            (
                "2 crashes, and 1 comes back: it has no vote to lose",
                |all| {
                    restarted(all, 1);
                    all.pods.get_mut(&1).unwrap().ready = false;
                    let pod = all.pods.get_mut(&2).unwrap();
                    pod.ready = false;
                    pod.trouble = Some(Trouble {
                        reason: "CrashLoopBackOff".into(),
                        message: "log.dirs: read-only file system".into(),
                        lasting: true,
                    });
                    all.brokers.remove(&2);
                },
                Some(2),
            ),
        ];
        let (_, _, settled, told) = settled(cluster("a").replicas(3));
        let changed = checked(cluster("a").replicas(3).image("broker:2"));
        let desired = build(&changed, &Whereabouts::default());
        for (words, change, wanted) in table {
            let mut observed = applied(settled.clone(), &desired);
            change(&mut observed);
            let plan = plan(&changed, &desired, &observed, &told);
            assert_eq!(restart(&plan).map(|restart| restart.node_id), *wanted, "{words}");
            assert_eq!(
                plan.waits.is_some(),
                wanted.is_none(),
                "{words}: what is waited for is said"
            );
            assert!(
                plan.steps
                    .iter()
                    .filter(|step| matches!(step, Step::Restart(_)))
                    .count()
                    <= 1
            );
        }
    }

    #[test]
    fn one_becomes_three_and_the_first_broker_goes_once_the_others_vote() {
        let (_, _, mut observed, told) = settled(cluster("a").formed());
        let three = checked(cluster("a").replicas(3).formed());
        let desired = build(&three, &Whereabouts::default());
        let first = plan(&three, &desired, &observed, &told);
        assert_eq!(restart(&first), None);
        observed = applied(observed, &desired);
        let waiting = plan(&three, &desired, &observed, &told);
        assert_eq!((restart(&waiting), waiting.waits.is_some()), (None, true));

        let (_, _, mut grown, _) = settled(cluster("a").replicas(3).formed());
        grown.pods.get_mut(&0).unwrap().restart_inputs = observed.pods[&0].restart_inputs.clone();
        let mut joining = grown.clone();
        for said in joining.brokers.values_mut() {
            said.as_mut().unwrap().view.as_mut().unwrap().voters = vec![0];
        }
        assert_eq!(restart(&plan(&three, &desired, &joining, &told)), None);
        let restarted = plan(&three, &desired, &grown, &told);
        let restart = restart(&restarted).unwrap();
        assert_eq!(restart.node_id, 0);
        assert!(
            restart.reasons.iter().all(|reason| !reason.contains("voters")),
            "{:?}",
            restart.reasons
        );
    }

    #[test]
    fn having_been_formed_changes_the_files_and_restarts_nobody() {
        let (_, _, observed, told) = settled(cluster("a").replicas(3));
        let formed = checked(cluster("a").replicas(3).formed());
        let desired = build(&formed, &Whereabouts::default());
        let plan = plan(&formed, &desired, &observed, &told);
        assert!(plan.restart_reasons.is_empty());
        assert!(matches!(&plan.steps[0], Step::Apply(object) if object.kind == Kind::ConfigMap));
        let marked = (0..3).map(|id| Step::MarkFormed(formed.claim_name(id)));
        assert_eq!(plan.steps[1..], marked.collect::<Vec<_>>());
    }

    /// Data of another cluster is not said to be of this one.
    #[test]
    fn only_claims_of_this_cluster_are_marked_as_formed_and_only_once() {
        let (cluster, desired, mut observed, told) = settled(cluster("a").replicas(3).formed());
        observed.claims.get_mut(&cluster.claim_name(0)).unwrap().formed = false;
        let other = observed.claims.get_mut(&cluster.claim_name(1)).unwrap();
        (other.formed, other.cluster_id) = (false, Some("otherotherotherotherot".into()));
        observed.claims.remove(&cluster.claim_name(2));
        let steps = plan(&cluster, &desired, &observed, &told).steps;
        assert_eq!(steps, [Step::MarkFormed(cluster.claim_name(0))]);
    }
}
