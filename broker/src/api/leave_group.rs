//! LeaveGroup: one member up to version 2, a list of them since.

use protocol::ErrorCode;
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember, LeaveGroupResponse};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// From this version on there is a list.
const LISTS_MEMBERS: i16 = 3;

/// Asks the coordinator.
pub async fn handle(ctx: &Ctx, mut body: LeaveGroupRequest) -> LeaveGroupResponse {
    let one = ctx.version() < LISTS_MEMBERS;
    if one {
        let member_id = std::mem::take(&mut body.member_id);
        body.members = vec![LeaveGroupRequestMember {
            member_id,
            ..Default::default()
        }];
    }
    match groups::ask(ctx, Request::Leave(body)).await {
        Reply::Leave(mut response) => {
            // The answer of old versions has no list: the one member's code is the whole answer.
            if let (true, Some(member)) = (one && response.error_code == 0, response.members.first()) {
                response.error_code = member.error_code;
            }
            response
        }
        reply => refuse(groups::refused(&reply)),
    }
}

fn refuse(code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
