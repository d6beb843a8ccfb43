//! RemoveRaftVoter (KIP-853): a voter of the metadata quorum loses its vote. A broker that lives stays a member without one.

use std::time::Duration;

use protocol::messages::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use protocol::{ErrorCode, Str};

use super::serve::Ctx;
use super::voters;
use crate::quorum::VotersRequest;

/// The request names no time of its own.
const WITHIN: Duration = Duration::from_secs(30);

/// Waits until the change is committed.
pub async fn handle(ctx: &Ctx, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let voter = voters::named(request.voter_id, request.voter_directory_id);
    let cluster = request.cluster_id.as_ref();
    let error = voters::change(ctx, cluster, VotersRequest::Remove(voter), WITHIN).await;
    RemoveRaftVoterResponse {
        error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
        error_message: error.map(|error| Str::from(error.message)),
        ..Default::default()
    }
}
