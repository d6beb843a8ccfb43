//! A leader whose process is gone is succeeded at once: nobody waits for its lease and an election timeout.
//!
//! The machine of a process that ended refuses connections, which no living leader's does (Kubernetes, too: the name of a
//! pod leads to its own network). Owns noticing that and the order in which voters try; leaves the election to Raft. It is
//! safe however wrong it is: leases only spare a leader that lives needless elections, and a pre-vote still asks a majority.

use std::io;
use std::time::Duration;

use openraft::raft::TransferLeaderRequest;

use super::members::Members;
use super::types::Voter;
use crate::rt::control;
use crate::rt::control::net::Stream;

/// A connection is taken, refused, or the machine is silent.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// Between two voters' attempts, so that they do not stand against each other; a pre-vote and a vote take a few syncs.
const TURN: Duration = Duration::from_millis(100);
/// Attempts of one voter, while others may not have noticed yet.
const ATTEMPTS: u32 = 3;

/// Whether nobody listens there.
pub(super) async fn is_gone(address: &str) -> bool {
    let connected = control::timeout(CONNECT_WITHIN, Stream::connect(address)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Members {
    /// The leader `gone` is gone: its lease binds this voter no more, and if nobody else leads soon this voter tries to.
    pub(super) async fn succeed(&self, gone: Voter) {
        let (vote, heirs) = self.look(|metrics| {
            let leads = metrics.current_leader == Some(gone);
            let heirs = metrics
                .membership_config
                .voter_ids()
                .filter(|voter| *voter != gone);
            let heirs: Vec<Voter> = heirs.collect();
            (leads.then_some(metrics.vote), heirs)
        });
        let here = self.peers.here();
        let (Some(vote), Some(turn)) = (vote, turn(here, &heirs)) else {
            return;
        };
        tracing::info!(leader = %gone, "the leader of the metadata quorum is gone; it is succeeded");
        let no_lease = TransferLeaderRequest::new(vote, gone, None);
        if self.raft.handle_transfer_leader(no_lease).await.is_err() {
            return;
        }
        control::sleep(TURN * turn).await;
        for _ in 0..ATTEMPTS {
            let succeeded = self.leader().is_some_and(|(leader, _)| leader != gone);
            if succeeded || self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            control::sleep(TURN * u32::try_from(heirs.len()).unwrap_or(1)).await;
        }
    }
}

/// Which heir this voter is, from 0; none for one that is no voter.
fn turn(here: Voter, heirs: &[Voter]) -> Option<u32> {
    let place = heirs.iter().filter(|heir| **heir < here).count();
    heirs.contains(&here).then_some(u32::try_from(place).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heirs_try_in_turn() {
        let voter = |node| Voter {
            node,
            directory: [1; 16],
        };
        let heirs = [voter(4), voter(2)];
        assert_eq!(turn(voter(2), &heirs), Some(0));
        assert_eq!(turn(voter(4), &heirs), Some(1));
        assert_eq!(turn(voter(3), &heirs), None, "no voter");
    }
}
