//! SyncGroup: parked by the coordinator until the leader's assignment is stored.

use protocol::ErrorCode;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// From this version on the protocol is named by those who ask, so that two that differ are noticed.
const NAMES_PROTOCOL: i16 = 5;

/// Asks the coordinator.
pub async fn handle(ctx: &Ctx, body: SyncGroupRequest) -> SyncGroupResponse {
    if ctx.version() >= NAMES_PROTOCOL && (body.protocol_type.is_none() || body.protocol_name.is_none()) {
        return refuse(ErrorCode::InconsistentGroupProtocol);
    }
    match groups::ask(ctx, Request::Sync(body)).await {
        Reply::Sync(response) => response,
        // What was parked before the restart is gone, so the member is to join again. Clients do not expect
        // LOAD_IN_PROGRESS here, and older ones give up over it.
        Reply::Refused(ErrorCode::CoordinatorLoadInProgress) => refuse(ErrorCode::RebalanceInProgress),
        reply => refuse(groups::refused(&reply)),
    }
}

fn refuse(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
