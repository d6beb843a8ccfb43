//! The control port: what other brokers ask of this one.
//!
//! Owns checking who asks and whom it means. Leaves answers to Raft, `leading.rs` and the proposer.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::admin::control as pb;
use ::admin::control::control_server::Control;
use bytes::BytesMut;
use futures::{Stream, StreamExt};
use openraft::ChangeMembers;
use openraft::raft::{AppendEntriesResponse, ReadPolicy};
use protocol::ErrorCode;
use protocol::ids::NodeId;
use tonic::{Request, Response, Status, Streaming};

use super::forward;
use super::handle::{Handle, Refused};
use super::leading::{Leading, Lost, Sign};
use super::log_format;
use super::members::Members;
use super::raft::{Address, Raft, snapshot_of};
use super::types::Voter;
use super::wire;
use crate::metadata;
use crate::rt::control::sync::mpsc;
use crate::rt::now;

/// A snapshot is larger never.
const MOST_SNAPSHOT: u64 = 1 << 30;
/// Bytes set aside for a snapshot before any have come.
const FIRST_SNAPSHOT: u64 = 4 << 20;

/// Answers on the control port.
#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) members: Members,
    pub(super) handle: Handle,
    pub(super) leading: Leading,
    /// The metadata log was empty when this process started.
    pub(super) began_empty: bool,
}

impl Service {
    fn raft(&self) -> &Raft {
        &self.0.members.raft
    }

    /// A request for another node, another directory or another cluster must not be carried out here.
    fn check(&self, caller: Option<pb::Caller>) -> Result<Voter, Status> {
        let caller = caller.ok_or_else(|| Status::invalid_argument("the request does not say who asks"))?;
        let peers = &self.0.members.peers;
        wire::check_version(&caller).map_err(Status::failed_precondition)?;
        if caller.cluster_id != **peers.cluster_id() {
            return Err(Status::failed_precondition(format!(
                "the caller belongs to cluster {}, this broker to cluster {}",
                caller.cluster_id,
                peers.cluster_id()
            )));
        }
        if caller.to.is_some() {
            let to = wire::to_voter(caller.to).map_err(invalid)?;
            if to != peers.here() {
                return Err(Status::failed_precondition(format!(
                    "the request is for voter {to}, this is {}: its node id or its log directory is another one",
                    peers.here()
                )));
            }
        }
        wire::to_voter(caller.from).map_err(invalid)
    }
}

fn invalid(error: wire::BadMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl Control for Service {
    type AttendStream = Attending;

    async fn hello(&self, request: Request<pb::HelloRequest>) -> Result<Response<pb::HelloReply>, Status> {
        let from = self.check(request.into_inner().caller)?;
        let initialized = self.raft().is_initialized().await.map_err(failed)?;
        Ok(Response::new(pb::HelloReply {
            here: Some(wire::voter(self.0.members.peers.here())),
            formed: initialized || !self.0.began_empty,
            knows_caller: self.0.members.knows(from),
            leader: self
                .0
                .members
                .leader()
                .map_or_else(String::new, |(_, address)| address),
        }))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let request = request.into_inner();
        let from = self.check(request.caller)?;
        if !self.0.members.leads() {
            return Err(Status::unavailable(
                "this broker does not lead the metadata quorum",
            ));
        }
        // Before it is a member: from then on its silence counts.
        self.0.leading.asked(from);
        let known = self.0.members.roll().addresses.remove(&from);
        let address = Address(request.address.clone());
        if known.as_ref() == Some(&address.0) {
            // Another leader may have forgotten it since: a yes would keep it from asking that one.
            if !self.0.members.surely_leads() {
                return Err(Status::unavailable("this broker may lead a minority"));
            }
            return Ok(Response::new(pb::JoinReply {}));
        }
        if known.is_some() {
            let moved = ChangeMembers::SetNodes(BTreeMap::from([(from, address)]));
            self.raft().change_membership(moved, true).await.map_err(failed)?;
            tracing::info!(node = %from, address = request.address, "a member of the metadata quorum is elsewhere now");
        } else {
            let added = self.raft().add_learner(from, address, false).await;
            added.map_err(failed)?;
            tracing::info!(node = %from, address = request.address, "joined the metadata quorum, without a vote");
        }
        Ok(Response::new(pb::JoinReply {}))
    }

    async fn append(&self, request: Request<pb::AppendRequest>) -> Result<Response<pb::AppendReply>, Status> {
        let mut request = request.into_inner();
        let leader = self.check(request.caller.take())?;
        let request = wire::to_append_request(request).map_err(invalid)?;
        let reply = self.raft().append_entries(request).await.map_err(failed)?;
        if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
            self.0.members.leader_heard.set(leader, now());
        }
        Ok(Response::new(wire::append_reply(&reply)))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let mut request = request.into_inner();
        self.check(request.caller.take())?;
        let request = wire::to_vote_request(request).map_err(invalid)?;
        let reply = self.raft().vote(request).await.map_err(failed)?;
        Ok(Response::new(wire::vote_reply(&reply)))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let mut request = request.into_inner();
        self.check(request.caller.take())?;
        let request = wire::to_vote_request(request).map_err(invalid)?;
        let reply = self.raft().pre_vote(request).await.map_err(failed)?;
        Ok(Response::new(wire::vote_reply(&reply)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        let mut request = request.into_inner();
        self.check(request.caller.take())?;
        let request = wire::to_transfer_request(request).map_err(invalid)?;
        let reply = self
            .raft()
            .handle_transfer_leader(request)
            .await
            .map_err(failed)?;
        let accepted = reply.is_ok();
        Ok(Response::new(pb::TransferReply { accepted }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let mut parts = request.into_inner();
        let head = parts.next().await.transpose()?.and_then(|part| part.head);
        let head = head.ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
        self.check(head.caller)?;
        let vote = wire::to_vote(head.vote).map_err(invalid)?;
        if head.size > MOST_SNAPSHOT {
            return Err(Status::invalid_argument(format!(
                "a snapshot of {} bytes",
                head.size
            )));
        }
        let mut bytes = BytesMut::with_capacity(head.size.min(FIRST_SNAPSHOT) as usize);
        while let Some(part) = parts.next().await.transpose()? {
            if (bytes.len() + part.bytes.len()) as u64 > head.size {
                return Err(Status::invalid_argument(
                    "a snapshot is longer than its head says",
                ));
            }
            bytes.extend_from_slice(&part.bytes);
        }
        let bytes = bytes.freeze();
        let head = log_format::snapshot(&bytes, drop)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = snapshot_of(&head, bytes).map_err(failed)?;
        let reply = self
            .raft()
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(failed)?;
        Ok(Response::new(wire::snapshot_reply(&reply.vote)))
    }

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitReply>, Status> {
        let request = request.into_inner();
        self.check(request.caller)?;
        let decoded: metadata::Request =
            forward::decode_request(&request.request).map_err(Status::invalid_argument)?;
        let within = Duration::from_millis(u64::from(request.within_ms));
        let reply = match self.0.handle.request_here(decoded, within).await {
            Ok(answered) => match forward::encode(&answered.reply) {
                Ok(reply) => pb::SubmitReply {
                    reply,
                    offset: answered.offset,
                    ..pb::SubmitReply::default()
                },
                Err(message) => refused(ErrorCode::UnknownServerError, message),
            },
            Err(error) => refused(error.code, error.message),
        };
        Ok(Response::new(reply))
    }

    async fn voters(&self, request: Request<pb::VotersRequest>) -> Result<Response<pb::VotersReply>, Status> {
        let request = request.into_inner();
        self.check(request.caller)?;
        let decoded = forward::decode_request(&request.request).map_err(Status::invalid_argument)?;
        let within = Duration::from_millis(u64::from(request.within_ms));
        let answered = self.0.leading.voters(decoded, now() + within).await;
        let reply = answered.and_then(|answered| {
            forward::encode(&answered).map_err(|words| Refused::new(ErrorCode::UnknownServerError, words))
        });
        Ok(Response::new(match reply {
            Ok(reply) => pb::VotersReply {
                reply,
                ..pb::VotersReply::default()
            },
            Err(refused) => pb::VotersReply {
                code: i32::from(refused.code.code()),
                message: refused.message,
                ..pb::VotersReply::default()
            },
        }))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexReply>, Status> {
        let from = self.check(request.into_inner().caller)?;
        self.0.leading.asked(from);
        let linearizer = self.raft().get_read_linearizer(ReadPolicy::ReadIndex).await;
        let linearizer = linearizer.map_err(failed)?;
        let index = linearizer.read_log_id().index();
        Ok(Response::new(pb::ReadIndexReply { index }))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatReply>, Status> {
        let request = request.into_inner();
        let from = self.check(request.caller)?;
        let leading = &self.0.leading;
        let reply = leading.heartbeat(Sign {
            from,
            epoch: request.broker_epoch,
            applied: request.applied,
            stopping: request.stopping,
            address: request.address,
            wants_vote: request.wants_vote,
            disk_stalled: request.disk_stalled,
        });
        Ok(Response::new(reply))
    }

    async fn attend(&self, request: Request<pb::AttendRequest>) -> Result<Response<Attending>, Status> {
        let request = request.into_inner();
        let from = self.check(request.caller)?;
        Ok(Response::new(Attending {
            who: (NodeId(from.node), request.broker_epoch),
            lost: self.0.leading.lost(),
        }))
    }
}

fn refused(code: ErrorCode, message: String) -> pb::SubmitReply {
    pb::SubmitReply {
        code: i32::from(code.code()),
        message,
        ..pb::SubmitReply::default()
    }
}

/// Never says anything; that it is dropped means that the connection ended.
pub(super) struct Attending {
    who: Lost,
    lost: mpsc::Sender<Lost>,
}

impl Stream for Attending {
    type Item = Result<pb::AttendBeat, Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        // Full, or nobody leads here any more: the session expires by itself.
        let _ = self.lost.try_send(self.who);
    }
}
