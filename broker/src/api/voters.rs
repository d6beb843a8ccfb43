//! What AddRaftVoter and RemoveRaftVoter share (KIP-853).

use std::time::Duration;

use protocol::primitives::Uuid;
use protocol::{ErrorCode, Str};

use super::replies::unanswered;
use super::serve::Ctx;
use crate::metadata::ItemError;
use crate::quorum::{Voter, VotersReply, VotersRequest};

/// The voter that a request names.
pub(super) fn named(node: i32, directory: Uuid) -> Voter {
    Voter { node, directory }
}

/// Has the quorum's leader change its voters; none when that is committed.
pub(super) async fn change(
    ctx: &Ctx,
    cluster: Option<&Str>,
    request: VotersRequest,
    within: Duration,
) -> Option<ItemError> {
    let here = ctx.shard().image().cluster_id.clone();
    if let Some(meant) = cluster
        && **meant != *here
    {
        let message = format!("this is cluster {here}, the request is meant for {:?}", &**meant);
        return Some(ItemError::new(ErrorCode::InconsistentClusterId, message));
    }
    match ctx.shard().ask_voters(request, within).await {
        Ok(VotersReply::Changed) => None,
        Ok(VotersReply::Described(_)) => Some(unanswered()),
        Err(error) => Some(error),
    }
}
