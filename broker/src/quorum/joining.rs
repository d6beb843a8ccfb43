//! How a broker gets into the metadata quorum: several voters form it together once, everybody else is taken in by its
//! leader.
//!
//! ```text
//! log is there ─────────────────────────────▶ a member already: Raft goes on
//!                    no leader sends anything ──▶ it may have been forgotten: ask to be taken in again, without a vote
//! log is empty ──▶ ask all configured voters
//!                    all are there, none formed, and I am the lowest ──▶ initialise with everybody's directory
//!                    one is formed and knows me with this directory ──▶ wait for its leader
//!                    one is formed and does not ──▶ ask the leader to be taken in, without a vote
//! ```
//!
//! Owns that decision, which is made of answers only. A disk that was emptied is another directory: its node is taken in
//! without a vote, and cannot help to form the cluster a second time as long as one other voter remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::admin::control as pb;

use super::Seat;
use super::members::Members;
use super::peers::{Client, PeerError};
use super::raft::Address;
use super::types::Voter;
use super::wire;
use crate::rt::{Instant, control, now};

/// One question to one peer.
const ASK_WITHIN: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Rounds of asking between two lines in the log.
const SAY_EVERY: u32 = 50;
/// A member that has heard of no leader for so long asks whether it is one. A leader sends something several times a second, and
/// its election takes less.
const UNHEARD_FOR: Duration = Duration::from_secs(3);

/// What the peers answered in one round.
#[derive(Default, Debug)]
struct Round {
    /// Directories of configured voters that are there and not formed, by node.
    fresh: BTreeMap<i32, Voter>,
    formed: bool,
    knows_me: bool,
    /// Where the leader is, as they say: it need be none of those that were asked.
    leaders: BTreeSet<String>,
    /// Who did not answer, and why; for the log.
    silent: Vec<String>,
}

/// What a broker with an empty metadata log does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nobody is formed, all are there, and this one is the lowest.
    Initialise,
    /// Another one will, or its leader will come.
    Wait,
    /// Ask the leader.
    Join,
}

fn next(seat: &Seat, here: Voter, may_form: bool, round: &Round) -> Next {
    if round.formed {
        return if round.knows_me { Next::Wait } else { Next::Join };
    }
    let lowest = seat.voters.keys().next() == Some(&here.node);
    let everybody = seat.voters.keys().all(|node| round.fresh.contains_key(node));
    if lowest && everybody && may_form {
        Next::Initialise
    } else {
        Next::Wait
    }
}

/// Told in each round of asking how a broker stands that is not in the quorum yet. From the control plane's threads.
pub type Told = Arc<dyn Fn(&Standing) + Send + Sync>;

/// How a broker stands that is not in the quorum yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The words are for a person.
    Waits(String),
    /// The cluster was formed, and every voter says that it knows of none: only a person can help.
    MetadataLost,
}

fn standing(next: &Next, may_form: bool, round: &Round) -> Standing {
    let nobody_knows = *next == Next::Wait && !round.formed && !may_form;
    match round.silent.is_empty() {
        true if nobody_knows => Standing::MetadataLost,
        true => Standing::Waits("the other voters are there".into()),
        false => Standing::Waits(format!("no answer from {}", round.silent.join("; "))),
    }
}

/// Runs until this broker is a member of the quorum. For brokers whose metadata log is empty or does not name them.
pub(super) async fn enter(members: Members, seat: Seat, may_form: bool, told: Told) {
    let here = members.peers.here();
    let mut refused = None;
    for round in 0_u32.. {
        if members.knows(here) {
            announce(&members, seat);
            return;
        }
        let heard = ask_all(&members, &seat).await;
        let next = next(&seat, here, may_form, &heard);
        told(&standing(&next, may_form, &heard));
        if round % SAY_EVERY == SAY_EVERY - 1 {
            let silent = heard.silent.join("; ");
            match next {
                Next::Wait if !heard.formed && !may_form => tracing::error!(
                    silent,
                    "no voter knows the cluster, and this one may not form it anew: its disks, or its configuration, speak \
                     of a cluster that was formed. Restore the metadata logs of a majority of its voters"
                ),
                _ => tracing::info!(
                    ?next,
                    formed = heard.formed,
                    silent,
                    refused,
                    "not in the metadata quorum yet"
                ),
            }
        }
        match next {
            Next::Initialise => {
                let mut voters: BTreeMap<Voter, Address> = BTreeMap::new();
                for (node, address) in &seat.voters {
                    voters.insert(heard.fresh[node], Address(address.clone()));
                }
                tracing::info!(
                    ?voters,
                    "all voters are there and none was formed; the cluster is formed"
                );
                match members.raft.initialize(voters).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "the cluster was not formed"),
                }
            }
            Next::Join => refused = join(&members, &seat, &heard).await.err(),
            Next::Wait => {}
        }
        control::sleep(AGAIN_AFTER).await;
    }
}

/// Tells the leader where this member is now, when that changed while it was away: nobody else would find it.
fn announce(members: &Members, seat: Seat) {
    let here = members.peers.here();
    let advertised = seat.advertised.clone();
    let moved = move |members: &Members| {
        let roll = members.roll();
        let alone = roll.voters().len() == 1 && roll.voters().contains(&here);
        // One that votes alone sees to it itself.
        !alone
            && roll
                .addresses
                .get(&here)
                .is_some_and(|known| *known != advertised)
    };
    if !moved(members) {
        return;
    }
    let members = members.clone();
    control::spawn(async move {
        while moved(&members) {
            let _ = join(&members, &seat, &ask_all(&members, &seat).await).await;
            control::sleep(AGAIN_AFTER).await;
        }
    });
}

/// Asks to be taken in as long as no leader sends anything: while this member was away it may have been forgotten, or lost its vote
/// and its place with it. Its own log names it still, so it would wait without end for a leader that turns to members only. Runs as
/// long as the quorum, as one may be forgotten at any time, also right after it was told that it is known.
pub(super) async fn stay(members: Members, seat: Seat) {
    let mut asked = now();
    let mut said = None;
    loop {
        let heard = members.leader_heard.last();
        let again = ask_again_at(heard, asked);
        if now() < again {
            control::sleep_until(again).await;
            continue;
        }
        // Who leads hears of no other leader.
        if !members.leads() {
            if said != Some(heard) {
                tracing::info!(
                    silent = ?UNHEARD_FOR,
                    "no leader of the metadata quorum was heard of; it is asked to take this broker in, in case it forgot it"
                );
                said = Some(heard);
            }
            let _ = join(&members, &seat, &ask_all(&members, &seat).await).await;
        }
        asked = now();
    }
}

/// When a member asks to be taken in that heard of a leader and asked last at those times.
fn ask_again_at(heard: Option<Instant>, asked: Instant) -> Instant {
    heard.map_or(asked, |heard| heard.max(asked)) + UNHEARD_FOR
}

async fn ask_all(members: &Members, seat: &Seat) -> Round {
    let mut round = Round::default();
    let here = members.peers.here();
    let asked = seat.seeds().into_iter().map(|(node, address)| async move {
        if node == Some(here.node) {
            return (node, Ok(None));
        }
        let message = pb::HelloRequest {
            caller: Some(members.peers.caller(None)),
        };
        let call = |mut client: Client| async move { client.hello(message).await };
        let answer: Result<pb::HelloReply, PeerError> = members.peers.call(&address, ASK_WITHIN, call).await;
        (node, answer.map(Some).map_err(|error| error.to_string()))
    });
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(None) => {
                round.fresh.insert(here.node, here);
            }
            Ok(Some(reply)) => {
                round.formed |= reply.formed;
                round.knows_me |= reply.knows_caller;
                round
                    .leaders
                    .extend(Some(reply.leader).filter(|leader| !leader.is_empty()));
                match wire::to_voter(reply.here) {
                    Ok(voter) if node.is_some_and(|node| node != voter.node) => round.silent.push(format!(
                        "where voter {} is configured, node {} answers",
                        node.unwrap_or_default(),
                        voter.node
                    )),
                    Ok(voter) if !reply.formed => {
                        round.fresh.insert(voter.node, voter);
                    }
                    Ok(_) => {}
                    Err(error) => round.silent.push(error.to_string()),
                }
            }
            Err(words) => round.silent.push(words),
        }
    }
    round
}

/// Asks whoever may lead in turn, as only the leader takes us in: the seeds, and whom these named. What the last one said where
/// none did.
async fn join(members: &Members, seat: &Seat, heard: &Round) -> Result<(), String> {
    let mut refused = String::new();
    for address in may_lead(seat, heard) {
        let message = pb::JoinRequest {
            caller: Some(members.peers.caller(None)),
            address: seat.advertised.clone(),
        };
        let call = |mut client: Client| async move { client.join(message).await };
        match members.peers.call(&address, ASK_WITHIN, call).await {
            Ok(_) => return Ok(()),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(refused)
}

/// Whom to ask to be taken in: who is said to lead first.
fn may_lead(seat: &Seat, heard: &Round) -> Vec<String> {
    let mut all: Vec<String> = heard.leaders.iter().cloned().collect();
    let seeds = seat.seeds().into_iter().map(|(_, address)| address);
    all.extend(seeds.filter(|seed| !heard.leaders.contains(seed)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: i32, directory: u8) -> Voter {
        Voter {
            node,
            directory: [directory; 16],
        }
    }

    fn seat() -> Seat {
        let voters = (0..3).map(|node| (node, format!("broker-{node}:9646")));
        Seat {
            voters: voters.collect(),
            ..Seat::default()
        }
    }

    fn fresh(nodes: &[i32]) -> Round {
        Round {
            fresh: nodes.iter().map(|node| (*node, voter(*node, 1))).collect(),
            ..Round::default()
        }
    }

    #[test]
    fn only_the_lowest_forms_and_only_with_everybody() {
        let decide = |node, may_form, round: &Round| next(&seat(), voter(node, 1), may_form, round);
        assert_eq!(decide(0, true, &fresh(&[0, 1, 2])), Next::Initialise);
        assert_eq!(decide(1, true, &fresh(&[0, 1, 2])), Next::Wait, "not the lowest");
        assert_eq!(decide(0, true, &fresh(&[0, 1])), Next::Wait, "one is missing");
        assert_eq!(
            decide(0, false, &fresh(&[0, 1, 2])),
            Next::Wait,
            "was formed once"
        );
    }

    #[test]
    fn one_voter_that_remembers_is_enough_to_never_form_again() {
        let mut round = fresh(&[0, 1]);
        round.formed = true;
        assert_eq!(next(&seat(), voter(0, 9), true, &round), Next::Join);
        round.knows_me = true;
        assert_eq!(next(&seat(), voter(0, 1), true, &round), Next::Wait);
    }

    #[test]
    fn metadata_is_lost_once_all_voters_say_so() {
        let stands = |may_form, round: &Round| {
            let next = next(&seat(), voter(0, 1), may_form, round);
            standing(&next, may_form, round)
        };
        assert_eq!(stands(false, &fresh(&[0, 1, 2])), Standing::MetadataLost);
        let mut round = fresh(&[0, 1]);
        round.silent.push("broker-2: nobody listens".into());
        assert!(matches!(stands(false, &round), Standing::Waits(words) if words.contains("broker-2")));
        let mut round = fresh(&[0, 1]);
        round.formed = true;
        assert!(matches!(stands(false, &round), Standing::Waits(_)));
        assert!(matches!(stands(true, &fresh(&[0, 1])), Standing::Waits(_)));
    }

    #[test]
    fn a_member_asks_again_once_no_leader_is_heard_of() {
        let began = now();
        let second = Duration::from_secs(1);
        assert_eq!(
            ask_again_at(None, began),
            began + UNHEARD_FOR,
            "it has just begun"
        );
        let heard = began + second;
        assert_eq!(ask_again_at(Some(heard), began), heard + UNHEARD_FOR);
        let asked = heard + UNHEARD_FOR;
        assert_eq!(
            ask_again_at(Some(heard), asked),
            asked + UNHEARD_FOR,
            "without haste"
        );
    }

    #[test]
    fn the_leader_is_asked_although_nobody_has_configured_it() {
        let heard = Round {
            leaders: BTreeSet::from(["broker-1:9646".into(), "broker-4:9646".into()]),
            ..Round::default()
        };
        let asked = may_lead(&seat(), &heard);
        assert_eq!(
            asked,
            ["broker-1:9646", "broker-4:9646", "broker-0:9646", "broker-2:9646"]
        );
    }

    #[test]
    fn a_node_that_is_no_configured_voter_joins() {
        let mut round = fresh(&[0, 1, 2]);
        assert_eq!(next(&seat(), voter(7, 1), true, &round), Next::Wait);
        round.formed = true;
        assert_eq!(next(&seat(), voter(7, 1), true, &round), Next::Join);
    }
}
