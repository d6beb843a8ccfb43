//! AddRaftVoter (KIP-853): a member of the metadata quorum gets its vote.
//!
//! The endpoints that the request names are not needed: a broker says itself where its control listener is. The answer
//! always waits for the commit, whether `ack_when_committed` asks for it or not.

use protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use protocol::{ErrorCode, Str};

use super::serve::{Ctx, deadline};
use super::voters;
use crate::quorum::VotersRequest;

/// Waits until the member knows everything, then until its vote is committed.
pub async fn handle(ctx: &Ctx, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let voter = voters::named(request.voter_id, request.voter_directory_id);
    let cluster = request.cluster_id.as_ref();
    let within = deadline(request.timeout_ms);
    let error = voters::change(ctx, cluster, VotersRequest::Add(voter), within).await;
    AddRaftVoterResponse {
        error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
        error_message: error.map(|error| Str::from(error.message)),
        ..Default::default()
    }
}
