//! Turns submitted requests into committed records: one turn decides everything that waits, proposes it as one entry,
//! and waits for it; what arrives meanwhile is the next turn. So queued changes share a sync.
//!
//! Owns the order decide → commit → installed → answer. Leaves deciding to `metadata/`, the log to `log_store.rs`.

use std::sync::Arc;

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ReadPolicy;
use protocol::ErrorCode;

use super::forward::Forwarder;
use super::handle::{Answered, Publisher, Refused, ReplySlot, Submitted};
use super::leading::Leading;
use super::log_store::LogStore;
use super::raft::{Config, Proposal, Raft};
use crate::metadata::{Defaults, Given, LogEnds, MetadataImage, Record, Reply, decide};
use crate::rt::control;
use crate::rt::control::sync::mpsc;
use crate::rt::file::Disk;
use crate::rt::{now, random_uuid};

/// Requests and records of one turn at most: an entry stays small enough to write in one go.
const TURN_REQUESTS: usize = 256;
const TURN_RECORDS: usize = 20_000;

/// Decides and commits. One per broker; idle while another broker leads.
pub(super) struct Proposer {
    pub(super) raft: Raft,
    pub(super) publisher: Arc<Publisher>,
    pub(super) log: LogStore,
    pub(super) disk: Disk,
    pub(super) defaults: Defaults,
    /// What brokers said of logs that nobody leads: soft state, said again to the next leader.
    pub(super) log_ends: LogEnds,
    /// Knows who lives; none where there is only this broker.
    pub(super) leading: Option<Leading>,
    /// Carries changes to the leader where that is another broker; none where there is only this one.
    pub(super) forwarder: Option<Forwarder>,
    /// The term for which the image is known to contain everything committed before it.
    pub(super) caught_up: Option<u64>,
}

/// A committed (or empty) turn.
struct Committed {
    /// Entry index and published image; none when nothing was written.
    entry: Option<(u64, u64)>,
}

impl Proposer {
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Submitted>) {
        while let Some(first) = queue.recv().await {
            self.turn(first, &mut queue).await;
        }
    }

    async fn turn(&mut self, first: Submitted, queue: &mut mpsc::Receiver<Submitted>) {
        let mut waiting = vec![first];
        let leader = match self.leader().await {
            Ok(leader) => leader,
            Err(refused) => return self.elsewhere(waiting.remove(0), refused),
        };
        let mut image = MetadataImage::clone(&self.publisher.image());
        let (mut records, mut answers) = (Vec::new(), Vec::new());
        let mut taken = 0;
        loop {
            for submitted in waiting.drain(..) {
                taken += 1;
                if let Some(answer) = self.decide_one(&mut image, submitted, &mut records) {
                    answers.push(answer);
                }
            }
            match queue.try_recv() {
                Ok(next) if taken < TURN_REQUESTS && records.len() < TURN_RECORDS => waiting.push(next),
                // One too many was taken: it still belongs to this turn.
                Ok(next) => {
                    answers.extend(self.decide_one(&mut image, next, &mut records));
                    break;
                }
                Err(_) => break,
            }
        }
        match self.commit(leader, records).await {
            Err(refused) => answers
                .into_iter()
                .for_each(|(slot, _)| slot.answer(Err(refused.clone()))),
            Ok(committed) => self.answer_when_installed(image.offset, committed, answers),
        }
    }

    /// This broker does not lead the quorum.
    fn elsewhere(&self, submitted: Submitted, refused: Refused) {
        match &self.forwarder {
            Some(forwarder) if submitted.forward => forwarder.carry(submitted),
            _ => submitted.slot.answer(Err(refused)),
        }
    }

    /// Decides against the image that the requests before it in this turn lead to.
    fn decide_one(
        &mut self,
        image: &mut MetadataImage,
        submitted: Submitted,
        records: &mut Vec<Record>,
    ) -> Option<(ReplySlot, Reply)> {
        let Submitted { request, slot, .. } = submitted;
        if slot.is_answered() {
            return None; // its deadline has passed; the change was not begun
        }
        let mut fresh_id = random_uuid;
        let mut given = Given {
            now_ms: i64::try_from(now().since_zero().as_millis()).unwrap_or(i64::MAX),
            fresh_id: &mut fresh_id,
            defaults: &self.defaults,
            log_ends: &mut self.log_ends,
            lives: &|broker| self.leading.as_ref().is_some_and(|leading| leading.lives(broker)),
        };
        let outcome = decide(image, &mut given, &request);
        let mut after = image.clone();
        if let Err(error) = after.apply_each(&outcome.records) {
            // A mistake of ours in one kind of request must not stop the log for all.
            tracing::error!(%error, ?request, "a decision does not fit the metadata image; the request is refused");
            slot.answer(Err(Refused::new(
                ErrorCode::UnknownServerError,
                error.to_string(),
            )));
            return None;
        }
        *image = after;
        records.extend(outcome.records);
        Some((slot, outcome.reply))
    }

    /// This broker's term as leader, after the image contains everything that earlier leaders committed.
    async fn leader(&mut self) -> Result<u64, Refused> {
        let leader = match self.raft.as_leader() {
            Ok(leader) => leader.term(),
            Err(forward) => return Err(not_leader(forward.leader_id.map(|voter| voter.node))),
        };
        if self.caught_up != Some(leader) {
            let linearizer = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
            let linearizer = linearizer.map_err(|error| not_committed(&error))?;
            linearizer
                .await_ready(&self.raft)
                .await
                .map_err(|error| not_committed(&error))?;
            self.caught_up = Some(leader);
        }
        Ok(leader)
    }

    async fn commit(&mut self, term: u64, mut records: Vec<Record>) -> Result<Committed, Refused> {
        if records.is_empty() {
            // Nothing that a majority would have to agree to: one that another leads by now, and who does not know, would
            // tell what is so no more.
            return match self.leading.as_ref().is_none_or(Leading::is_sure) {
                true => Ok(Committed { entry: None }),
                false => Err(not_leader(None)),
            };
        }
        let (responder, written) = ProgressResponder::<Config, _>::complete_only();
        // It stays in memory for as long as it is in the log.
        records.shrink_to_fit();
        let proposal = Proposal {
            records: Arc::new(records),
        };
        // Decided under this term's image, so it must be logged under this term or not at all.
        let sent = self
            .raft
            .write(proposal)
            .with_leader(term)
            .responder(responder)
            .await;
        sent.map_err(|error| not_committed(&error))?;
        match written.await {
            Ok(Ok(response)) => Ok(Committed {
                entry: Some((response.log_id.index(), response.data.published)),
            }),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(not_leader(forward.leader_id.map(|voter| voter.node)))
            }
            Ok(Err(error)) => Err(not_committed(&error)),
            Err(_) => Err(Refused::stopping()),
        }
    }

    /// `decided` is the entry the image was at that the turn was decided with.
    fn answer_when_installed(&self, decided: u64, committed: Committed, answers: Vec<(ReplySlot, Reply)>) {
        let answer = |offset, answers: Vec<(ReplySlot, Reply)>| {
            for (slot, reply) in answers {
                slot.answer(Ok(Answered { reply, offset }));
            }
        };
        let Some((index, published)) = committed.entry else {
            return answer(decided, answers);
        };
        let others = self.raft.voter_ids().count() > 1;
        let place = self.log.place(index, others);
        let (publisher, disk) = (self.publisher.clone(), self.disk.clone());
        control::spawn(async move {
            publisher.installed(published).await;
            // Persist before you promise: a majority synced the entry before openraft called it committed. This line tells
            // a recording disk that somebody now relies on it.
            if let Some(place) = place {
                disk.promise(&place.path, place.end);
            }
            answer(index, answers);
        });
    }
}

pub(super) fn not_leader(leader: Option<i32>) -> Refused {
    let message = match leader {
        Some(node) => format!("broker {node} leads the metadata quorum; ask it"),
        None => "the metadata quorum has no leader at the moment; try again".to_string(),
    };
    Refused::new(ErrorCode::NotController, message)
}

fn not_committed(error: &dyn std::error::Error) -> Refused {
    Refused::new(
        ErrorCode::NotController,
        format!("the metadata quorum could not commit the change: {error}"),
    )
}
