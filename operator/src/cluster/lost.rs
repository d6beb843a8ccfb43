//! A cluster of several brokers that can decide nothing any more, and why. Pure.

use super::model::Cluster;
use super::observe::Observed;
use crate::broker::BrokerFacts;
use crate::crd::conditions::{self, Finding};

/// No broker reaches a leader of the metadata quorum.
const QUORUM_LOST: &str = "QuorumLost";
/// All brokers answer, and none knows the cluster that was formed.
const METADATA_LOST: &str = "MetadataLost";
/// What is worse than a broker that is starting.
pub const LOST: &[&str] = &[QUORUM_LOST, METADATA_LOST];

/// Of a cluster that was formed: can it decide anything? Brokers that merely answer us prove nothing, they may be cut off
/// from each other; and those that do not answer us may well hear each other: one that the quorum's leader counts on is
/// proof of a majority. A cluster that lost its metadata is never formed anew by itself; a person has the volumes, or
/// knows that they are gone.
pub fn lost(cluster: &Cluster, observed: &Observed) -> Option<Finding> {
    let kind = conditions::AVAILABLE;
    if observed.running().any(|(_, facts)| facts.has_quorum()) {
        return None;
    }
    // One says it when all voters have told it so.
    let mut answers = observed.brokers.values().flatten();
    if answers.any(|facts| facts.metadata_lost) {
        let message = format!(
            "no broker knows cluster {}, which was formed: their volumes are empty or others. Restore the volumes of {} of {} brokers; it is never formed anew by itself. To give its records up, delete the KafkaCluster and its volume claims",
            cluster.cluster_id,
            cluster.replicas / 2 + 1,
            cluster.replicas
        );
        return Some(Finding::new(kind, false, METADATA_LOST, message));
    }
    if !cluster.is_quorum() {
        // A lone broker that is away is just that.
        return None;
    }
    let voters = voters(cluster, observed.running());
    let (cut_off, silent): (Vec<i32>, Vec<i32>) = voters
        .iter()
        .partition(|id| observed.running().any(|(running, _)| running == **id));
    let mut message = format!(
        "nothing can be decided: {} of {} voters of the metadata quorum are needed, and no broker reaches a leader that so many hear",
        voters.len() / 2 + 1,
        voters.len()
    );
    for (what, ids) in [("cut off", cut_off), ("not serving", silent)] {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
            message.push_str(&format!("; {what}: {}", ids.join(", ")));
        }
    }
    Some(Finding::new(kind, false, QUORUM_LOST, message))
}

/// Node ids of the voters, as a broker with a quorum knows them, else as any does; all brokers where none says. Of a
/// cluster that grows, brokers that do not vote yet are not missed.
pub fn voters<'a>(cluster: &Cluster, said: impl Iterator<Item = (i32, &'a BrokerFacts)>) -> Vec<i32> {
    let known = said.filter_map(|(_, facts)| Some((facts.has_quorum(), &facts.view.as_ref()?.voters)));
    let known = known.filter(|(_, voters)| !voters.is_empty());
    let best = known.max_by_key(|(has_quorum, _)| *has_quorum);
    best.map_or_else(|| cluster.node_ids().collect(), |(_, voters)| voters.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::View;
    use crate::fixtures::{checked, cluster};

    type Said = Result<BrokerFacts, String>;

    fn serves(voters: &[i32]) -> Said {
        Ok(BrokerFacts {
            state: "Running".into(),
            quorum_reachable: true,
            view: Some(View {
                voters: voters.to_vec(),
                ..View::default()
            }),
            ..BrokerFacts::default()
        })
    }

    /// It serves what it knows.
    fn cut_off(voters: &[i32]) -> Said {
        serves(voters).map(|facts| BrokerFacts {
            quorum_reachable: false,
            ..facts
        })
    }

    fn joins(metadata_lost: bool) -> Said {
        Ok(BrokerFacts {
            state: "Recovering".into(),
            metadata_lost,
            ..BrokerFacts::default()
        })
    }

    fn silent() -> Said {
        Err("nobody answers".to_owned())
    }

    fn found(cluster: &Cluster, said: Vec<Said>) -> Option<Finding> {
        let observed = Observed {
            brokers: (0..).zip(said).collect(),
            ..Observed::default()
        };
        lost(cluster, &observed)
    }

    #[test]
    fn a_quorum_is_lost_when_no_broker_reaches_one() {
        let all = [0, 1, 2];
        let table = [
            ("all serve", vec![serves(&all), serves(&all), serves(&all)], None),
            ("one is away", vec![serves(&all), silent(), serves(&all)], None),
            (
                "one is cut off",
                vec![serves(&all), cut_off(&all), serves(&all)],
                None,
            ),
            (
                "two are away",
                vec![silent(), cut_off(&all), silent()],
                Some(QUORUM_LOST),
            ),
            (
                "all answer us, and not each other",
                vec![cut_off(&all), cut_off(&all), cut_off(&all)],
                Some(QUORUM_LOST),
            ),
            (
                "two answer each other, and not us",
                vec![silent(), serves(&all), silent()],
                None,
            ),
            (
                "all are away",
                vec![silent(), silent(), silent()],
                Some(QUORUM_LOST),
            ),
            (
                "all join",
                vec![joins(false), joins(false), joins(false)],
                Some(QUORUM_LOST),
            ),
            (
                "all lost theirs",
                vec![joins(true), joins(true), joins(true)],
                Some(METADATA_LOST),
            ),
            (
                "one lost its own",
                vec![joins(false), serves(&all), serves(&all)],
                None,
            ),
            (
                "one becomes three",
                vec![serves(&[0]), joins(false), silent()],
                None,
            ),
        ];
        let three = checked(cluster("a").replicas(3).formed());
        for (words, said, wanted) in table {
            let found = found(&three, said).map(|finding| finding.reason);
            assert_eq!(found.as_deref(), wanted, "{words}");
        }
    }

    #[test]
    fn a_lone_broker_can_lose_its_metadata_and_has_no_quorum_to_lose() {
        let lone = checked(cluster("a").formed());
        let table = [
            ("it serves", serves(&[0]), None),
            ("it is away", silent(), None),
            ("it starts", joins(false), None),
            ("its volume is empty", joins(true), Some(METADATA_LOST)),
        ];
        for (words, said, wanted) in table {
            let found = found(&lone, vec![said]).map(|finding| finding.reason);
            assert_eq!(found.as_deref(), wanted, "{words}");
        }
    }

    #[test]
    fn who_is_missed_is_named() {
        let three = checked(cluster("a").replicas(3).formed());
        let found = found(&three, vec![silent(), cut_off(&[0, 1, 2]), silent()]).unwrap();
        assert!(
            found.message.ends_with("cut off: 1; not serving: 0, 2"),
            "{}",
            found.message
        );
    }
}
