//! Raft messages between voters. With a single voter there is nobody to talk to; tonic comes in here, and only here,
//! when there is.

use std::future::Future;

use bytes::Bytes;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use super::raft::{Address, Config, Vote};
use super::types::Voter;

/// Makes a [`Peer`] for each voter that openraft wants to reach.
pub(super) struct Peers;

/// Another voter, which this version cannot reach.
pub(super) struct Peer {
    target: Voter,
}

impl Peer {
    fn unreachable(&self) -> Unreachable<Config> {
        Unreachable::from_string(format!(
            "voter {}: this version keeps the metadata quorum on one broker and has no connection to others",
            self.target
        ))
    }
}

impl RaftNetworkFactory<Config> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: Voter, _node: &Address) -> Peer {
        Peer { target }
    }
}

impl RaftNetworkV2<Config> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<Config>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config>, RPCError<Config>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<Config>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        Err(self.unreachable().into())
    }

    /// Not granted, unlike the trait's default: who cannot be asked has not agreed.
    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<Config>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Config>, RPCError<Config>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::type_config::alias::SnapshotOf<Config, Bytes>,
        _cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Config>, StreamingError<Config>> {
        Err(self.unreachable().into())
    }
}
