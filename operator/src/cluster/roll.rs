//! Which broker is restarted next, if any may be now. Pure, and the same for pods and for local mode's processes.
//!
//! Owns the order and what has to be waited for. Leaves asking the broker itself (`CanStop`: partitions, voters) and the
//! restart to those who act.

use super::lost::voters;
use super::model::Cluster;
use crate::broker::BrokerFacts;
use std::collections::BTreeMap;

/// A broker, as far as a restart is concerned.
#[derive(Clone, Debug, Default)]
pub struct Standing<'a> {
    /// It says that it serves.
    pub ready: bool,
    /// On its way down.
    pub going: bool,
    /// No process of it runs: there is nothing to take away from anybody.
    pub down: bool,
    /// Why it has to be restarted; nothing where it need not.
    pub reasons: Vec<String>,
    /// What it answered, if it did.
    pub facts: Option<&'a BrokerFacts>,
}

impl Standing<'_> {
    fn pending(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// It has a view of its cluster to answer from.
    fn can_be_asked(&self) -> bool {
        let told = |facts: &BrokerFacts| facts.state == "Running" || facts.view.is_some();
        self.facts.is_some_and(told)
    }
}

/// The broker to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Which.
    pub node_id: i32,
    /// Ask it first. One that knows no cluster has no answer, and nothing to lose.
    pub ask: bool,
}

/// One broker at a time, and only while all others serve and lack no record; one that does not serve goes first, the
/// quorum's leader last, so that the lead moves once. An error says what is waited for.
pub fn next(cluster: &Cluster, brokers: &BTreeMap<i32, Standing<'_>>) -> Result<Option<Next>, String> {
    if !brokers.values().any(Standing::pending) {
        return Ok(None);
    }
    if let Some((node_id, _)) = brokers.iter().find(|(_, one)| one.going) {
        return Err(format!("broker {node_id} is on its way down"));
    }
    let step = |node_id: i32| Next {
        node_id,
        ask: brokers[&node_id].can_be_asked(),
    };
    let mut waits = None;
    for (node_id, one) in brokers.iter().filter(|(_, one)| one.pending() && !one.ready) {
        match unready_goes(cluster, brokers, *node_id, one) {
            Ok(()) => return Ok(Some(step(*node_id))),
            Err(why) => waits = waits.or(Some(why)),
        }
    }
    waits.map_or(Ok(()), Err)?;
    all_serve(cluster, brokers)?;
    let controller = leader(brokers);
    let pending = brokers.iter().filter(|(_, one)| one.pending());
    let first = pending.min_by_key(|(node_id, _)| Some(**node_id) == controller);
    // A broker that serves is asked in any case.
    Ok(first.map(|(node_id, _)| Next {
        node_id: *node_id,
        ask: true,
    }))
}

/// May a broker go that does not serve? It may still have a vote that counts, so it goes at once only where it has none
/// for certain, or where nothing is decided anyway: three that cannot form for a mistake in the spec would otherwise wait
/// for each other.
fn unready_goes(
    cluster: &Cluster,
    brokers: &BTreeMap<i32, Standing<'_>>,
    node_id: i32,
    one: &Standing<'_>,
) -> Result<(), String> {
    let with_quorum = || facts(brokers).filter(|(_, facts)| facts.has_quorum());
    if !cluster.is_quorum() || one.down || with_quorum().next().is_none() {
        return Ok(());
    }
    let title = format!("broker {node_id} is not ready and has to be restarted");
    // One that has to be restarted itself was not restarted by us: it does not come back by waiting.
    let comes_back = |other: &i32| {
        let other = brokers.get(other);
        other.is_none_or(|other| !other.ready && !other.pending())
    };
    if let Some(other) = cluster
        .node_ids()
        .find(|other| *other != node_id && comes_back(other))
    {
        return Err(format!("{title}; broker {other} is not ready either"));
    }
    let voters = voters(cluster, facts(brokers));
    let needed = voters.len() / 2 + 1;
    let serves = |id: &i32, one: &Standing<'_>| {
        *id != node_id && voters.contains(id) && one.ready && one.facts.is_some_and(BrokerFacts::has_quorum)
    };
    let left = brokers.iter().filter(|(id, one)| serves(id, one)).count();
    if left < needed {
        return Err(format!(
            "{title}; without it {left} of {} voters of the metadata quorum serve, {needed} are needed",
            voters.len()
        ));
    }
    Ok(())
}

fn facts<'a>(brokers: &'a BTreeMap<i32, Standing<'a>>) -> impl Iterator<Item = (i32, &'a BrokerFacts)> {
    brokers
        .iter()
        .filter_map(|(node_id, one)| Some((*node_id, one.facts?)))
}

/// Leader of the metadata quorum, as most recently heard of from any broker that serves.
fn leader(brokers: &BTreeMap<i32, Standing<'_>>) -> Option<i32> {
    let mut serving = facts(brokers).filter(|(_, facts)| facts.state == "Running");
    serving.find_map(|(_, facts)| facts.view.as_ref()?.controller)
}

/// Every broker is there and ready; of several, each says that it runs and that every replica is in sync.
fn all_serve(cluster: &Cluster, brokers: &BTreeMap<i32, Standing<'_>>) -> Result<(), String> {
    for node_id in cluster.node_ids() {
        if brokers.get(&node_id).is_none_or(|one| !one.ready) {
            return Err(format!("broker {node_id} is not ready"));
        }
    }
    if !cluster.is_quorum() {
        return Ok(());
    }
    for node_id in cluster.node_ids() {
        let said = brokers.get(&node_id).and_then(|one| one.facts);
        let said = said.filter(|facts| facts.state == "Running");
        let Some((facts, view)) = said.and_then(|facts| Some((facts, facts.view.as_ref()?))) else {
            return Err(format!("broker {node_id} does not say how it sees the cluster"));
        };
        if !facts.quorum_reachable {
            return Err(format!("broker {node_id} does not reach the metadata quorum"));
        }
        if let Some(other) = cluster.node_ids().find(|other| !view.serving.contains(other)) {
            return Err(format!("broker {other} does not serve, says broker {node_id}"));
        }
        if let Some(other) = cluster.node_ids().find(|other| !view.voters.contains(other)) {
            return Err(format!(
                "broker {other} has no vote in the metadata quorum yet, says broker {node_id}"
            ));
        }
        if view.under_replicated > 0 {
            return Err(format!(
                "{} partitions lack an in-sync replica, says broker {node_id}",
                view.under_replicated
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::View;
    use crate::fixtures::{checked, cluster};

    /// Three brokers that serve and all have to be restarted; what they say, by id.
    struct Three {
        said: BTreeMap<i32, Option<BrokerFacts>>,
        ready: BTreeMap<i32, bool>,
        pending: Vec<i32>,
        going: Vec<i32>,
        down: Vec<i32>,
    }

    impl Three {
        fn pending() -> Three {
            let facts = BrokerFacts {
                state: "Running".into(),
                quorum_reachable: true,
                view: Some(View {
                    controller: Some(0),
                    serving: vec![0, 1, 2],
                    registered: vec![0, 1, 2],
                    under_replicated: 0,
                    voters: vec![0, 1, 2],
                }),
                ..BrokerFacts::default()
            };
            Three {
                said: (0..3).map(|id| (id, Some(facts.clone()))).collect(),
                ready: (0..3).map(|id| (id, true)).collect(),
                pending: vec![0, 1, 2],
                going: Vec::new(),
                down: Vec::new(),
            }
        }

        fn facts(&mut self, id: i32) -> &mut BrokerFacts {
            self.said.get_mut(&id).unwrap().as_mut().unwrap()
        }

        fn view(&mut self, id: i32) -> &mut View {
            self.facts(id).view.as_mut().unwrap()
        }

        fn done(&mut self, id: i32) {
            self.pending.retain(|one| *one != id);
        }

        /// Its process runs, and it serves nobody.
        fn unready(&mut self, id: i32) {
            self.ready.insert(id, false);
            let views = self
                .said
                .values_mut()
                .flatten()
                .filter_map(|facts| facts.view.as_mut());
            views.for_each(|view| view.serving.retain(|one| *one != id));
        }

        /// It is on its way up: it answers, and knows no cluster.
        fn starting(&mut self, id: i32) {
            self.unready(id);
            *self.facts(id) = BrokerFacts {
                state: "Starting".into(),
                ..BrokerFacts::default()
            };
        }

        fn down(&mut self, id: i32) {
            self.unready(id);
            self.said.insert(id, None);
            self.down.push(id);
        }

        fn cut_off(&mut self, id: i32) {
            self.ready.insert(id, false);
            self.facts(id).quorum_reachable = false;
        }

        fn next(&self) -> Result<Option<Next>, String> {
            let standing = |id: &i32| Standing {
                ready: self.ready[id],
                going: self.going.contains(id),
                down: self.down.contains(id),
                reasons: match self.pending.contains(id) {
                    true => vec!["image".to_owned()],
                    false => Vec::new(),
                },
                facts: self.said[id].as_ref(),
            };
            let brokers = self.said.keys().map(|id| (*id, standing(id))).collect();
            next(&checked(cluster("a").replicas(3)), &brokers)
        }
    }

    /// One row: what is the matter, who is restarted next and whether it is asked, or a word of what is waited for.
    #[test]
    fn one_at_a_time_the_quorums_leader_last_and_never_two_voters_away() {
        type Wanted = Result<(i32, bool), &'static str>;
        type Row = (&'static str, fn(&mut Three), Wanted);
        let rows: &[Row] = &[
            ("all serve: not the leader", |_| {}, Ok((1, true))),
            (
                "the leader is 1",
                |all| (0..3).for_each(|id| all.view(id).controller = Some(1)),
                Ok((0, true)),
            ),
            (
                "1 and 2 are done: the leader",
                |all| [1, 2].into_iter().for_each(|id| all.done(id)),
                Ok((0, true)),
            ),
            (
                "1 is on its way down",
                |all| all.going.push(1),
                Err("on its way down"),
            ),
            (
                "1 has come back and lacks records",
                |all| {
                    all.done(1);
                    all.view(0).under_replicated = 4;
                },
                Err("lack an in-sync replica"),
            ),
            (
                "1 is done and does not serve yet",
                |all| {
                    all.done(1);
                    all.unready(1);
                },
                Err("broker 1 is not ready"),
            ),
            (
                "2 says that it reaches no quorum",
                |all| all.facts(2).quorum_reachable = false,
                Err("broker 2 does not reach"),
            ),
            (
                "2 does not serve: it goes first, and is asked",
                |all| all.unready(2),
                Ok((2, true)),
            ),
            (
                "2 runs and answers nothing",
                |all| {
                    all.unready(2);
                    all.said.insert(2, None);
                },
                Ok((2, false)),
            ),
            (
                "1 comes back from its restart, and 2 does not serve: two voters would be away",
                |all| {
                    all.done(1);
                    all.starting(1);
                    all.unready(2);
                },
                Err("broker 1 is not ready either"),
            ),
            (
                "1 comes back, and 2 has no process: it has no vote to lose",
                |all| {
                    all.done(1);
                    all.starting(1);
                    all.down(2);
                },
                Ok((2, false)),
            ),
            (
                "1 and 2 do not serve, and their votes may carry the quorum",
                |all| [1, 2].into_iter().for_each(|id| all.unready(id)),
                Err("1 of 3"),
            ),
            (
                "neither has a process",
                |all| [1, 2].into_iter().for_each(|id| all.down(id)),
                Ok((1, false)),
            ),
            (
                "0 alone votes, and those who join have to be restarted",
                |all| {
                    [1, 2].into_iter().for_each(|id| all.starting(id));
                    all.view(0).voters = vec![0];
                },
                Ok((1, false)),
            ),
            (
                "0 alone votes, 1 was restarted",
                |all| {
                    [1, 2].into_iter().for_each(|id| all.starting(id));
                    all.view(0).voters = vec![0];
                    all.done(1);
                },
                Err("broker 1 is not ready either"),
            ),
            (
                "0 alone votes and is not ready: nobody else could decide",
                |all| {
                    (0..3).for_each(|id| all.view(id).voters = vec![0]);
                    all.unready(0);
                },
                Err("without it 0 of 1"),
            ),
            (
                "none can form: nothing is decided, so nothing is lost",
                |all| (0..3).for_each(|id| all.starting(id)),
                Ok((0, false)),
            ),
            (
                "two are gone for good and 0 is cut off: it goes, after it is asked",
                |all| {
                    [1, 2].into_iter().for_each(|id| {
                        all.down(id);
                        all.done(id);
                    });
                    all.cut_off(0);
                },
                Ok((0, true)),
            ),
        ];
        for (words, change, wanted) in rows {
            let mut all = Three::pending();
            change(&mut all);
            match (all.next(), wanted) {
                (Ok(Some(found)), Ok(wanted)) => assert_eq!((found.node_id, found.ask), *wanted, "{words}"),
                (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{words}: {found}"),
                (found, wanted) => panic!("{words}: {found:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn a_lone_broker_goes_whether_it_serves_or_not() {
        let lone = checked(cluster("a"));
        for ready in [true, false] {
            let standing = Standing {
                ready,
                reasons: vec!["image".to_owned()],
                ..Standing::default()
            };
            let found = next(&lone, &BTreeMap::from([(0, standing)])).unwrap();
            assert_eq!(found.map(|next| next.ask), Some(ready), "ready: {ready}");
        }
    }

    #[test]
    fn nobody_is_restarted_without_a_reason() {
        let mut all = Three::pending();
        (0..3).for_each(|id| all.done(id));
        all.unready(1);
        assert_eq!(all.next(), Ok(None));
    }
}
