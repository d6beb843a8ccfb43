//! DeleteGroups: each group by its own coordinator, if it has no members.

use protocol::Str;
use protocol::messages::delete_groups::{
    DeleteGroupsRequest, DeleteGroupsResponse, DeleteGroupsResponseResult,
};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// Asks the coordinators.
pub async fn handle(ctx: &Ctx, body: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = body.groups_names.into_iter().map(|group| delete(ctx, group));
    DeleteGroupsResponse {
        results: futures::future::join_all(results).await,
        ..Default::default()
    }
}

async fn delete(ctx: &Ctx, group: Str) -> DeleteGroupsResponseResult {
    match groups::ask(ctx, Request::Delete(group.clone())).await {
        Reply::Delete(result) => result,
        reply => DeleteGroupsResponseResult {
            group_id: group,
            error_code: groups::refused(&reply).code(),
            error_message: None,
        },
    }
}
