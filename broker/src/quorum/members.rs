//! Who is in the quorum and where, as this broker's Raft knows it now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::peers::Peers;
use super::raft::{Raft, RaftMetrics};
use super::types::Voter;
use crate::rt::Instant;

/// This broker's view of the membership. Clones share it.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) raft: Raft,
    pub(super) peers: Peers,
    pub(super) leader_heard: LeaderHeard,
}

/// Which leader this voter followed last, and when it heard of it.
#[derive(Clone, Default)]
pub(super) struct LeaderHeard(Arc<Mutex<Option<(Voter, Instant)>>>);

impl LeaderHeard {
    pub(super) fn set(&self, leader: Voter, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((leader, now));
    }

    /// When a leader was heard of last, whichever that was.
    pub(super) fn last(&self) -> Option<Instant> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(_, at)| at)
    }

    /// For how long nothing was heard of `leader`; none if another was followed since.
    pub(super) fn silence(&self, leader: Voter, now: Instant) -> Option<Duration> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard
            .filter(|(voter, _)| *voter == leader)
            .map(|(_, at)| now - at)
    }
}

impl Members {
    pub(super) fn look<T>(&self, look: impl FnOnce(&RaftMetrics) -> T) -> T {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        look(&metrics)
    }

    /// Who leads, and its control address.
    pub(super) fn leader(&self) -> Option<(Voter, String)> {
        self.look(|metrics| {
            let leader = metrics.current_leader?;
            let membership = metrics.membership_config.membership();
            let address = membership.get_node(&leader).map(|address| address.0.clone());
            Some((leader, address.unwrap_or_default()))
        })
    }

    /// Whether this broker leads. It may have been deposed without knowing.
    pub(super) fn leads(&self) -> bool {
        self.leader()
            .is_some_and(|(leader, _)| leader == self.peers.here())
    }

    /// For how long after a leader's last sign of life no voter helps to elect another one.
    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.raft.config().election_timeout_max)
    }

    /// Whether nobody else can lead: this broker does, and a majority said so not longer ago than voters wait before they
    /// elect another one.
    pub(super) fn surely_leads(&self) -> bool {
        let lease = self.lease();
        self.leads()
            && self.look(|metrics| {
                let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
                let acked = metrics.last_quorum_acked.as_ref();
                alone || acked.is_some_and(|acked| acked.silent_for() < lease)
            })
    }

    /// Whether the membership names this voter, with a vote or without.
    pub(super) fn knows(&self, voter: Voter) -> bool {
        self.look(|metrics| metrics.membership_config.membership().get_node(&voter).is_some())
    }

    /// Control address of a member.
    pub(super) fn address(&self, member: Voter) -> Option<String> {
        self.look(|metrics| {
            let membership = metrics.membership_config.membership();
            membership.get_node(&member).map(|address| address.0.clone())
        })
    }
}
