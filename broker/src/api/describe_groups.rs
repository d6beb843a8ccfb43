//! DescribeGroups: each group from its own coordinator.

use protocol::Str;
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribeGroupsResponseGroup,
};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// Asks the coordinators.
pub async fn handle(ctx: &Ctx, body: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let with_operations = body.include_authorized_operations;
    let groups = body
        .groups
        .into_iter()
        .map(|group| describe(ctx, group, with_operations));
    DescribeGroupsResponse {
        groups: futures::future::join_all(groups).await,
        ..Default::default()
    }
}

async fn describe(ctx: &Ctx, group: Str, with_operations: bool) -> DescribeGroupsResponseGroup {
    let request = Request::Describe {
        version: ctx.version(),
        group: group.clone(),
    };
    match groups::ask(ctx, request).await {
        Reply::Describe(mut described) => {
            if with_operations && described.error_code == 0 {
                described.authorized_operations = groups::GROUP_OPERATIONS;
            }
            described
        }
        reply => DescribeGroupsResponseGroup {
            error_code: groups::refused(&reply).code(),
            group_id: group,
            ..Default::default()
        },
    }
}
