//! Heartbeat: a member's sign of life.

use protocol::ErrorCode;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// Asks the coordinator.
pub async fn handle(ctx: &Ctx, body: HeartbeatRequest) -> HeartbeatResponse {
    let code = match groups::ask(ctx, Request::Heartbeat(body)).await {
        Reply::Heartbeat(code) => code,
        // A member takes LOAD_IN_PROGRESS of a heartbeat for an error it does not know; the sign of life can be late, since
        // a group that is just loaded begins with full sessions.
        Reply::Refused(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        reply => groups::refused(&reply),
    };
    HeartbeatResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
