//! A cluster of several brokers that can decide nothing any more, and why. Pure.

use super::model::Cluster;
use super::observe::Observed;
use crate::crd::conditions::{self, Finding};

/// Fewer brokers serve than can decide anything.
const QUORUM_LOST: &str = "QuorumLost";
/// All brokers answer, and none knows the cluster that was formed.
const METADATA_LOST: &str = "MetadataLost";
/// What is worse than a broker that is starting.
pub const LOST: &[&str] = &[QUORUM_LOST, METADATA_LOST];

/// Of several brokers of a cluster that was formed: is there a majority? A cluster that lost its metadata is never formed
/// anew by itself; a person has the volumes, or knows that they are gone.
pub fn lost(cluster: &Cluster, observed: &Observed) -> Option<Finding> {
    // Of a cluster that grows, brokers that do not vote yet are not missed.
    let known = observed
        .running()
        .filter_map(|(_, facts)| Some(facts.view.as_ref()?.voters.clone()))
        .find(|voters| !voters.is_empty());
    let voters = known.unwrap_or_else(|| cluster.node_ids().collect());
    let majority = voters.len() / 2 + 1;
    let serving = observed.running().filter(|(id, _)| voters.contains(id)).count();
    if serving >= majority {
        return None;
    }
    let kind = conditions::AVAILABLE;
    // One says it when all voters have told it so.
    let mut answers = observed.brokers.values().flatten();
    if answers.any(|facts| facts.metadata_lost) {
        let message = format!(
            "no broker knows cluster {}, which was formed: their volumes are empty or others. Restore the metadata log of one broker; it is never formed anew by itself",
            cluster.cluster_id
        );
        return Some(Finding::new(kind, false, METADATA_LOST, message));
    }
    let silent: Vec<String> = voters
        .iter()
        .filter(|id| !observed.running().any(|(running, _)| running == **id))
        .map(|id| id.to_string())
        .collect();
    let message = format!(
        "{serving} of {} brokers serve, {} are needed to decide anything; not serving: {}",
        voters.len(),
        majority,
        silent.join(", ")
    );
    Some(Finding::new(kind, false, QUORUM_LOST, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerFacts, View};
    use crate::fixtures::{checked, cluster};

    fn serves(voters: &[i32]) -> Result<BrokerFacts, String> {
        Ok(BrokerFacts {
            state: "Running".into(),
            view: Some(View {
                voters: voters.to_vec(),
                ..View::default()
            }),
            ..BrokerFacts::default()
        })
    }

    fn joins(metadata_lost: bool) -> Result<BrokerFacts, String> {
        Ok(BrokerFacts {
            state: "Recovering".into(),
            metadata_lost,
            ..BrokerFacts::default()
        })
    }

    #[test]
    fn a_majority_of_voters_is_missed_and_nothing_else() {
        let silent = || Err("nobody answers".to_owned());
        let all = [0, 1, 2];
        let table = [
            ("all serve", vec![serves(&all), serves(&all), serves(&all)], None),
            ("one is away", vec![serves(&all), silent(), serves(&all)], None),
            (
                "two are away",
                vec![silent(), serves(&all), silent()],
                Some(QUORUM_LOST),
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
            let observed = Observed {
                brokers: (0..).zip(said).collect(),
                ..Observed::default()
            };
            let found = lost(&three, &observed).map(|finding| finding.reason);
            assert_eq!(found.as_deref(), wanted, "{words}");
        }
    }

    #[test]
    fn who_is_missed_is_named() {
        let observed = Observed {
            brokers: [(1, serves(&[0, 1, 2]))].into(),
            ..Observed::default()
        };
        let found = lost(&checked(cluster("a").replicas(3).formed()), &observed).unwrap();
        assert!(found.message.ends_with("not serving: 0, 2"), "{}", found.message);
    }
}
