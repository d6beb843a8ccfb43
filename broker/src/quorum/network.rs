//! openraft's messages between voters, over [`Peers`].

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use ::admin::control as pb;
use bytes::Bytes;
use futures::future::{Either, select};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;

use super::peers::{PeerError, Peers};
use super::raft::{Address, Config, Vote};
use super::types::Voter;
use super::wire::{self, BadMessage};

/// Bytes of a snapshot per message.
const SNAPSHOT_PART: usize = 256 << 10;
/// A snapshot is some megabytes; who has not taken it by then is asked again.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(30);

/// Makes a [`Link`] for each member that openraft wants to reach.
#[derive(Clone)]
pub(super) struct Network(pub(super) Peers);

/// The way to one other member.
pub(super) struct Link {
    peers: Peers,
    target: Voter,
    address: String,
}

impl RaftNetworkFactory<Config> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: Voter, node: &Address) -> Link {
        Link {
            peers: self.0.clone(),
            target,
            address: node.0.clone(),
        }
    }
}

impl Link {
    fn caller(&self) -> pb::Caller {
        self.peers.caller(Some(self.target))
    }
}

fn rpc_error(error: PeerError) -> RPCError<Config> {
    match error {
        // openraft waits a while before it tries again.
        PeerError::Unreachable(_) | PeerError::Refused { .. } => {
            Unreachable::from_string(error.to_string()).into()
        }
        PeerError::Lost(_) | PeerError::TimedOut(..) => NetworkError::from_string(error.to_string()).into(),
    }
}

fn bad(error: BadMessage) -> RPCError<Config> {
    NetworkError::from_string(error.to_string()).into()
}

impl RaftNetworkV2<Config> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Config>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        let (message, cut) = wire::append_request(self.caller(), &rpc);
        let call = |mut client: super::peers::Client| async move { client.append(message).await };
        let reply = self.peers.call(&self.address, option.hard_ttl(), call).await;
        let reply = wire::to_append_reply(reply.map_err(rpc_error)?).map_err(bad)?;
        Ok(match (reply, cut) {
            (AppendEntriesResponse::Success, Some(cut)) => AppendEntriesResponse::PartialSuccess(Some(cut)),
            (reply, _) => reply,
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let message = wire::vote_request(self.caller(), &rpc);
        let call = |mut client: super::peers::Client| async move { client.vote(message).await };
        let reply = self.peers.call(&self.address, option.hard_ttl(), call).await;
        wire::to_vote_reply(reply.map_err(rpc_error)?).map_err(bad)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Config>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        let message = wire::vote_request(self.caller(), &rpc);
        let call = |mut client: super::peers::Client| async move { client.pre_vote(message).await };
        let reply = self.peers.call(&self.address, option.hard_ttl(), call).await;
        wire::to_vote_reply(reply.map_err(rpc_error)?).map_err(bad)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Config, Bytes>,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        let bytes = snapshot.snapshot;
        let head = pb::SnapshotPart {
            head: Some(wire::snapshot_head(self.caller(), &vote, bytes.len())),
            bytes: Bytes::new(),
        };
        let parts = (0..bytes.len()).step_by(SNAPSHOT_PART).map({
            let bytes = bytes.clone();
            move |from| pb::SnapshotPart {
                head: None,
                bytes: bytes.slice(from..bytes.len().min(from + SNAPSHOT_PART)),
            }
        });
        let parts = futures::stream::iter(std::iter::once(head).chain(parts));
        let call = |mut client: super::peers::Client| async move { client.install_snapshot(parts).await };
        let sending = pin!(self.peers.call(&self.address, SNAPSHOT_WITHIN, call));
        let reply = match select(sending, pin!(cancel)).await {
            Either::Left((reply, _)) => reply,
            Either::Right((closed, _)) => return Err(closed.into()),
        };
        let reply = reply.map_err(|error| Unreachable::<Config>::from_string(error.to_string()))?;
        let vote = wire::to_vote(reply.vote)
            .map_err(|error| NetworkError::<Config>::from_string(error.to_string()))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Config>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config>, RPCError<Config>> {
        let message = wire::transfer_request(self.caller(), &rpc);
        let call = |mut client: super::peers::Client| async move { client.transfer_leader(message).await };
        let reply = self.peers.call(&self.address, option.hard_ttl(), call).await;
        match reply.map_err(rpc_error)?.accepted {
            true => Ok(Ok(())),
            // Its log is not there yet, or it knows of another vote: nobody has lost anything, openraft asks again.
            false => Err(NetworkError::from_string("not now").into()),
        }
    }
}
