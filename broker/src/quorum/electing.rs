//! The voters of the metadata quorum at work: the leader describes and changes them, every other broker asks it.
//!
//! Owns one change at a time and waiting for it. Leaves which change that is to `voters.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::admin::control as pb;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use protocol::ErrorCode;

use super::forward;
use super::handle::Refused;
use super::members::Members;
use super::peers::{Client, PeerError};
use super::proposer::not_leader;
use super::raft::{Address, Config, RaftMetrics};
use super::types::Voter;
use super::voters::{
    self, Change, Description, FORGOTTEN_AFTER, Known, Member, Roll, Signs, VotersReply, VotersRequest,
};
use crate::rt::control;
use crate::rt::control::sync::{Mutex, OwnedMutexGuard};
use crate::rt::{Instant, now, wall_ms};

/// How long a leader that leaves waits for its heir.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at what a change waits for.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// One question to the leader that changes nothing.
const ONE_CALL: Duration = Duration::from_secs(2);

/// The voters, as this broker may see and change them. Clones share it.
#[derive(Clone)]
pub(super) struct Electing {
    members: Members,
    /// Held by the change under way.
    turn: Arc<Mutex<()>>,
}

impl Electing {
    pub(super) fn new(members: Members) -> Electing {
        Electing {
            members,
            turn: Arc::default(),
        }
    }

    /// Begins what the leader changes by itself. Returns at once.
    pub(super) fn sweep(&self, signs: &Signs, known: &Known, registered: impl Fn(&Voter) -> bool) {
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            return;
        };
        let (roll, at) = (self.members.roll(), now());
        let forgotten = || {
            let member = voters::forgotten(&roll, signs, known, registered, at)?;
            tracing::info!(
                %member,
                silent = ?FORGOTTEN_AFTER,
                "a member without a vote is registered as no broker and was not heard of for long; it is forgotten, and may join \
                 again"
            );
            Some(Change::Forget(member))
        };
        let Some(change) = voters::next(&roll, signs, at).or_else(forgotten) else {
            return;
        };
        let members = self.members.clone();
        control::spawn(async move {
            if carry_out(&members, &change, &turn).await.is_err() {
                // The next sweep begins it again, without haste: who cannot commit cannot hurry either.
                control::sleep(ONE_CALL).await;
            }
            drop(turn);
        });
    }

    /// Answers as the leader; refused with [`ErrorCode::NotController`] where this broker does not lead. `signs` looks at
    /// the latest signs of life.
    pub(super) async fn answer(
        &self,
        request: VotersRequest,
        deadline: Instant,
        signs: impl Fn() -> Option<Signs>,
        caught_up: impl Fn() -> BTreeMap<Voter, i64>,
    ) -> Result<VotersReply, Refused> {
        let elsewhere = || Err(not_leader(self.members.leader().map(|(leader, _)| leader.node)));
        if let VotersRequest::Describe = request {
            if !self.members.surely_leads() {
                return elsewhere();
            }
            return self.members.describe(&caught_up()).map(VotersReply::Described);
        }
        if let VotersRequest::Remove(voter) = request
            && voter == self.members.peers.here()
            && self.members.roll().voters().len() > 1
            && self.members.leads()
        {
            // Another leads from now on, and is asked again.
            self.members.hand_over().await;
            return elsewhere();
        }
        loop {
            let Some(signs) = signs().filter(|_| self.members.leads()) else {
                return elsewhere();
            };
            let turn = self.turn.clone().try_lock_owned();
            let roll = self.members.roll();
            let step = match &request {
                VotersRequest::Describe => return Err(Refused::stopping()),
                VotersRequest::Add(voter) => voters::add(&roll, &signs, now(), *voter)?,
                VotersRequest::Remove(voter) => voters::remove(&roll, &signs, now(), *voter)?,
            };
            let why = match (step, turn) {
                (Ok(change), Ok(turn)) => {
                    // In a task of its own: a change that was begun is finished, whoever waits for it.
                    let members = self.members.clone();
                    let task = control::spawn(async move { carry_out(&members, &change, &turn).await });
                    return match control::timeout(deadline - now(), task.joined()).await {
                        Ok(Ok(done)) => done.map(|()| VotersReply::Changed),
                        Ok(Err(_)) => Err(Refused::stopping()),
                        Err(_) => Err(Refused::new(
                            ErrorCode::RequestTimedOut,
                            "the change of the voters was not committed in time; it may still happen",
                        )),
                    };
                }
                (Ok(_), Err(_)) => "another change of the voters is under way".to_string(),
                (Err(why), _) => why,
            };
            if now() + AGAIN_AFTER >= deadline {
                return Err(Refused::new(ErrorCode::RequestTimedOut, why));
            }
            control::sleep(AGAIN_AFTER).await;
        }
    }

    /// Asks another broker, the leader.
    pub(super) async fn call(
        &self,
        leader: Voter,
        address: &str,
        request: &VotersRequest,
        deadline: Instant,
    ) -> Result<VotersReply, Refused> {
        let changes = *request != VotersRequest::Describe;
        let request =
            forward::encode(request).map_err(|words| Refused::new(ErrorCode::UnknownServerError, words))?;
        let left = deadline - now();
        let within = if changes { left } else { left.min(ONE_CALL) };
        let message = pb::VotersRequest {
            caller: Some(self.members.peers.caller(Some(leader))),
            request,
            within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
        };
        let call = |mut client: Client| async move { client.voters(message).await };
        let reply: pb::VotersReply = match self.members.peers.call(address, within, call).await {
            Ok(reply) => reply,
            Err(error) => {
                let begun = matches!(error, PeerError::Lost(_) | PeerError::TimedOut(..));
                let (code, words) = match begun && changes {
                    true => (ErrorCode::RequestTimedOut, "; the change may still happen"),
                    false => (ErrorCode::NotController, ""),
                };
                let message = format!("the quorum's leader {leader} does not answer: {error}{words}");
                return Err(Refused::new(code, message));
            }
        };
        if reply.code != 0 {
            let code = i16::try_from(reply.code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code);
            return Err(Refused::new(code, reply.message));
        }
        forward::decode(&reply.reply).map_err(|words| Refused::new(ErrorCode::UnknownServerError, words))
    }
}

/// Commits the change; the turn is held until then.
async fn carry_out(members: &Members, change: &Change, _turn: &OwnedMutexGuard<()>) -> Result<(), Refused> {
    tracing::info!(?change, "the metadata quorum's members change");
    let one = |voter: &Voter| BTreeSet::from([*voter]);
    let (steps, retain) = match change {
        Change::Settle => (ChangeMembers::AddVoterIds(BTreeSet::new()), true),
        Change::Promote {
            voter,
            replaces: None,
        } => (ChangeMembers::AddVoterIds(one(voter)), true),
        Change::Promote {
            voter,
            replaces: Some(older),
        } => {
            let both = vec![
                ChangeMembers::RemoveVoters(one(older)),
                ChangeMembers::AddVoterIds(one(voter)),
            ];
            (ChangeMembers::Batch(both), false)
        }
        Change::Remove { voter, stays } => (ChangeMembers::RemoveVoters(one(voter)), *stays),
        Change::Forget(voter) => (ChangeMembers::RemoveNodes(one(voter)), true),
        Change::Move(voter, address) => {
            let moved = BTreeMap::from([(*voter, Address(address.clone()))]);
            (ChangeMembers::SetNodes(moved), true)
        }
    };
    match members.raft.change_membership(steps, retain).await {
        Ok(_) => {
            let voters: Vec<String> = members.roll().voters().iter().map(Voter::to_string).collect();
            tracing::info!(
                voters = voters.join(", "),
                "the metadata quorum's members changed"
            );
            Ok(())
        }
        Err(error) => {
            tracing::warn!(?change, %error, "the metadata quorum's members did not change");
            let message = format!("the change of the voters was not committed: {error}");
            Err(Refused::new(ErrorCode::NotController, message))
        }
    }
}

/// How far each member is, where this broker leads.
fn matched(metrics: &RaftMetrics) -> BTreeMap<Voter, Option<u64>> {
    let others = metrics.replication.iter().flatten();
    let mut matched: BTreeMap<Voter, Option<u64>> = others
        .map(|(voter, upto)| (*voter, upto.as_ref().map(|id| id.index())))
        .collect();
    matched.insert(metrics.id, metrics.last_log_index);
    matched
}

/// For how long members have not answered, where this broker leads.
fn silent(metrics: &RaftMetrics) -> BTreeMap<Voter, Duration> {
    let others = metrics.heartbeat.iter().flatten();
    let mut silent: BTreeMap<Voter, Duration> = others
        .filter_map(|(voter, at)| Some((*voter, at.as_ref()?.silent_for())))
        .collect();
    silent.insert(metrics.id, Duration::ZERO);
    silent
}

impl Members {
    /// The membership as far as this broker knows it; who is caught up only where it leads.
    pub(super) fn roll(&self) -> Roll {
        let metrics = self.raft.metrics();
        let metrics: &openraft::RaftMetrics<Config> = &metrics.borrow_watched();
        let newest = metrics.membership_config.membership();
        let committed = metrics.local_committed.as_ref().map(|id| id.index());
        let matched = matched(metrics);
        Roll {
            configs: newest.get_joint_config().clone(),
            settled: metrics.membership_config == metrics.committed_membership_config,
            addresses: newest
                .nodes()
                .map(|(voter, address)| (*voter, address.0.clone()))
                .collect(),
            caught_up: matched
                .into_iter()
                .filter(|(_, upto)| *upto >= committed)
                .map(|(voter, _)| voter)
                .collect(),
            silent: silent(metrics),
        }
    }

    fn describe(&self, caught_up: &BTreeMap<Voter, i64>) -> Result<Description, Refused> {
        let roll = self.roll();
        let metrics = self.raft.metrics();
        let metrics: &openraft::RaftMetrics<Config> = &metrics.borrow_watched();
        let here = metrics.id;
        let wall = wall_ms();
        let heard = |voter: &Voter| {
            let silent = roll.silent.get(voter)?.as_millis();
            Some(wall - i64::try_from(silent).unwrap_or(i64::MAX))
        };
        let matched = matched(metrics);
        let member = |(voter, address): (&Voter, &String)| Member {
            voter: *voter,
            address: address.clone(),
            log_end: matched.get(voter).copied().flatten().map(|index| index + 1),
            heard_ms: heard(voter).unwrap_or(-1),
            caught_up_ms: if *voter == here {
                wall
            } else {
                caught_up.get(voter).copied().unwrap_or(-1)
            },
        };
        let voters = roll.voters();
        let (voting, observing): (Vec<_>, Vec<_>) = roll
            .addresses
            .iter()
            .partition(|(voter, _)| voters.contains(voter));
        Ok(Description {
            leader: here,
            term: metrics.current_term,
            high_watermark: metrics.local_committed.as_ref().map_or(0, |id| id.index() + 1),
            voters: voting.into_iter().map(member).collect(),
            observers: observing.into_iter().map(member).collect(),
        })
    }

    /// A leader that stops gives the lead to the voter that has most of its log: nobody waits for an election timeout.
    pub(super) async fn hand_over(&self) {
        let here = self.peers.here();
        let heir = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters: Vec<Voter> = metrics.membership_config.voter_ids().collect();
            let matched = metrics.replication.iter().flatten();
            let others = matched.filter(|(voter, _)| **voter != here && voters.contains(voter));
            others.max_by_key(|(_, upto)| **upto).map(|(voter, _)| *voter)
        };
        let Some(heir) = heir.filter(|_| self.leads()) else {
            return;
        };
        tracing::info!(to = %heir, "the lead of the metadata quorum is handed over");
        if self.raft.trigger().transfer_leader(heir).await.is_ok() {
            let moved = |metrics: &openraft::RaftMetrics<Config>| metrics.current_leader != Some(here);
            let wait = self
                .raft
                .wait(Some(HAND_OVER_WITHIN))
                .metrics(moved, "another leads")
                .await;
            if let Err(error) = wait {
                tracing::info!(%error, "nobody took the lead in time; an election will follow");
            }
        }
    }
}
