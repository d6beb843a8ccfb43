//! The quorum's messages between openraft's types and the wire's (`control.proto`). Entries and snapshots travel in the
//! metadata log's own format.
//!
//! Pure translation; what does not fit is named.

use std::ops::RangeInclusive;

use ::admin::control as pb;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use super::log_format::{self, Found, frame_at, push_entry};
use super::raft::{Config, Entry, LogId, Vote, from_openraft, log_id, to_openraft};
use super::types::{EntryId, Voter};

/// The newest version of these messages, and the oldest that this broker still speaks. Brokers are upgraded one after the other,
/// so a new version may drop the last one only when all brokers of a cluster are beyond it.
pub(super) const VERSION: u32 = 1;
pub(super) const OLDEST_VERSION: u32 = 1;
/// Entries of one message stop here; a single larger one goes alone.
const ENTRY_BYTES: usize = 1 << 20;
/// A message is larger never: one entry holds 20,000 records at most, well below a kilobyte each.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Refuses, in words, a caller that speaks no version that this broker does.
pub(super) fn check_version(caller: &pb::Caller) -> Result<(), String> {
    common_version(caller, OLDEST_VERSION..=VERSION)
        .map(drop)
        .ok_or_else(|| {
            format!(
                "the caller speaks versions {} to {} of the control protocol, this broker {OLDEST_VERSION} to {VERSION}",
                oldest_of(caller),
                caller.version
            )
        })
}

/// The newest version that both sides speak.
fn common_version(caller: &pb::Caller, here: RangeInclusive<u32>) -> Option<u32> {
    let newest = caller.version.min(*here.end());
    (newest >= oldest_of(caller).max(*here.start())).then_some(newest)
}

fn oldest_of(caller: &pb::Caller) -> u32 {
    match caller.oldest_version {
        0 => caller.version,
        oldest => oldest,
    }
}

/// A message that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("field {field} of a control message {what}")]
pub(super) struct BadMessage {
    pub(super) field: &'static str,
    pub(super) what: String,
}

fn bad(field: &'static str, what: impl ToString) -> BadMessage {
    BadMessage {
        field,
        what: what.to_string(),
    }
}

fn there<T>(field: &'static str, value: Option<T>) -> Result<T, BadMessage> {
    value.ok_or_else(|| bad(field, "is missing"))
}

pub(super) fn voter(voter: Voter) -> pb::Voter {
    pb::Voter {
        node: voter.node,
        directory: Bytes::copy_from_slice(&voter.directory),
    }
}

pub(super) fn to_voter(voter: Option<pb::Voter>) -> Result<Voter, BadMessage> {
    let voter = there("voter", voter)?;
    let directory = voter.directory.as_ref().try_into();
    Ok(Voter {
        node: voter.node,
        directory: directory.map_err(|_| bad("voter.directory", "is not 16 bytes"))?,
    })
}

fn vote(vote: &Vote) -> pb::VoteState {
    pb::VoteState {
        term: vote.leader_id.term,
        voter: Some(voter(vote.leader_id.voted_for)),
        committed: vote.committed,
    }
}

pub(super) fn to_vote(state: Option<pb::VoteState>) -> Result<Vote, BadMessage> {
    let state = there("vote", state)?;
    let mut vote = Vote::new(state.term, to_voter(state.voter)?);
    vote.committed = state.committed;
    Ok(vote)
}

fn id(id: &LogId) -> pb::LogId {
    let EntryId { term, index } = super::raft::entry_id(id);
    pb::LogId { term, index }
}

fn to_id(id: pb::LogId) -> LogId {
    log_id(EntryId {
        term: id.term,
        index: id.index,
    })
}

/// As many entries as fit into one message, and the last of them if some did not.
pub(super) fn append_request(
    caller: pb::Caller,
    request: &AppendEntriesRequest<Config>,
) -> (pb::AppendRequest, Option<LogId>) {
    let (mut entries, mut sent) = (Vec::new(), 0);
    for entry in &request.entries {
        if sent > 0 && entries.len() >= ENTRY_BYTES {
            break;
        }
        push_entry(&from_openraft(entry), None, &mut entries);
        sent += 1;
    }
    let cut = (sent < request.entries.len()).then(|| request.entries[sent - 1].log_id);
    let message = pb::AppendRequest {
        caller: Some(caller),
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(id),
        committed: request.leader_commit.as_ref().map(id),
        entries: entries.into(),
    };
    (message, cut)
}

pub(super) fn to_append_request(
    message: pb::AppendRequest,
) -> Result<AppendEntriesRequest<Config>, BadMessage> {
    Ok(AppendEntriesRequest {
        vote: to_vote(message.vote)?,
        prev_log_id: message.previous.map(to_id),
        entries: to_entries(&message.entries)?,
        leader_commit: message.committed.map(to_id),
    })
}

fn to_entries(frames: &[u8]) -> Result<Vec<Entry>, BadMessage> {
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        match frame_at(frames, at) {
            Found::End => return Ok(entries),
            Found::Frame { body, next } => {
                let (entry, _) = log_format::entry(body).map_err(|error| bad("entries", error))?;
                entries.push(to_openraft(entry).map_err(|error| bad("entries", error))?);
                at = next;
            }
            Found::Torn | Found::Damaged(_) => {
                return Err(bad("entries", format!("is damaged at byte {at}")));
            }
        }
    }
}

pub(super) fn append_reply(reply: &AppendEntriesResponse<Config>) -> pb::AppendReply {
    use pb::append_reply::Result::{Conflict, Higher, Partial, Success};
    let result = match reply {
        AppendEntriesResponse::Success => Success(true),
        AppendEntriesResponse::PartialSuccess(upto) => Partial(upto.as_ref().map(id).unwrap_or_default()),
        AppendEntriesResponse::Conflict => Conflict(true),
        AppendEntriesResponse::HigherVote(higher) => Higher(vote(higher)),
    };
    pb::AppendReply { result: Some(result) }
}

pub(super) fn to_append_reply(reply: pb::AppendReply) -> Result<AppendEntriesResponse<Config>, BadMessage> {
    use pb::append_reply::Result::{Conflict, Higher, Partial, Success};
    Ok(match there("result", reply.result)? {
        Success(_) => AppendEntriesResponse::Success,
        Partial(upto) => {
            let nothing = upto == pb::LogId::default();
            AppendEntriesResponse::PartialSuccess((!nothing).then(|| to_id(upto)))
        }
        Conflict(_) => AppendEntriesResponse::Conflict,
        Higher(higher) => AppendEntriesResponse::HigherVote(to_vote(Some(higher))?),
    })
}

pub(super) fn vote_request(caller: pb::Caller, request: &VoteRequest<Config>) -> pb::VoteRequest {
    pb::VoteRequest {
        caller: Some(caller),
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn to_vote_request(message: pb::VoteRequest) -> Result<VoteRequest<Config>, BadMessage> {
    let mut request = VoteRequest::new(to_vote(message.vote)?, message.last.map(to_id));
    request.leadership_transfer = message.leadership_transfer;
    Ok(request)
}

pub(super) fn vote_reply(reply: &VoteResponse<Config>) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(id),
    }
}

pub(super) fn to_vote_reply(reply: pb::VoteReply) -> Result<VoteResponse<Config>, BadMessage> {
    let last = reply.last.map(to_id);
    Ok(VoteResponse::new(to_vote(reply.vote)?, last, reply.granted))
}

pub(super) fn transfer_request(
    caller: pb::Caller,
    request: &TransferLeaderRequest<Config>,
) -> pb::TransferRequest {
    pb::TransferRequest {
        caller: Some(caller),
        from: Some(vote(request.from_leader())),
        to: Some(voter(*request.to_node_id())),
        last: request.last_log_id().map(id),
    }
}

pub(super) fn to_transfer_request(
    message: pb::TransferRequest,
) -> Result<TransferLeaderRequest<Config>, BadMessage> {
    let to = to_voter(message.to)?;
    Ok(TransferLeaderRequest::new(
        to_vote(message.from)?,
        to,
        message.last.map(to_id),
    ))
}

pub(super) fn snapshot_head(caller: pb::Caller, by: &Vote, size: usize) -> pb::SnapshotHead {
    pb::SnapshotHead {
        caller: Some(caller),
        vote: Some(vote(by)),
        size: size as u64,
    }
}

pub(super) fn snapshot_reply(by: &Vote) -> pb::SnapshotReply {
    pb::SnapshotReply { vote: Some(vote(by)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_versions_speak_the_newest_that_both_know() {
        // the caller's oldest (0: none given) and newest, ours -> spoken
        for (oldest, newest, here, spoken) in [
            (0, 1, 1..=1, Some(1)),
            (1, 2, 1..=1, Some(1)),
            (0, 1, 1..=2, Some(1)),
            (1, 2, 1..=2, Some(2)),
            (0, 2, 1..=1, None),
            (2, 3, 1..=1, None),
            (1, 1, 2..=3, None),
        ] {
            let caller = pb::Caller {
                version: newest,
                oldest_version: oldest,
                ..pb::Caller::default()
            };
            let found = common_version(&caller, here.clone());
            assert_eq!(found, spoken, "{oldest} to {newest}, here {here:?}");
        }
    }
}
