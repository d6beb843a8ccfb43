//! JoinGroup: parked by the coordinator until the group's members are known.

use protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use protocol::{ErrorCode, Str};

use super::groups;
use super::serve::Ctx;
use crate::group::{Client, Reply, Request};

/// From this version on a missing protocol is null; before, it is empty.
const NULLABLE_PROTOCOL: i16 = 7;

/// Asks the coordinator.
pub async fn handle(ctx: &Ctx, body: JoinGroupRequest) -> JoinGroupResponse {
    let version = ctx.version();
    let client = Client {
        id: ctx.header.client_id.clone().unwrap_or_default(),
        host: Str::from(format!("/{}", ctx.connection.peer.ip())),
    };
    let member = body.member_id.clone();
    let mut response = match groups::ask(
        ctx,
        Request::Join {
            version,
            client,
            body,
        },
    )
    .await
    {
        Reply::Join(response) => response,
        reply => refuse(member, groups::refused(&reply)),
    };
    if version < NULLABLE_PROTOCOL {
        response.protocol_name.get_or_insert_default();
    }
    response
}

fn refuse(member_id: Str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code.code(),
        protocol_name: None,
        member_id,
        ..Default::default()
    }
}
