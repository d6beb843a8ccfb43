//! ListGroups: the groups whose coordinator this broker is, from all its cores.

use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use super::groups;
use super::serve::Ctx;
use crate::group::{Reply, Request};

/// Asks every core; one that is still loading makes the whole answer an error, since a list with holes looks complete.
pub async fn handle(ctx: &Ctx, body: ListGroupsRequest) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    for reply in groups::ask_every_core(ctx, Request::List(body)).await {
        match reply {
            Reply::List(groups) => response.groups.extend(groups),
            reply => {
                let error_code = groups::refused(&reply).code();
                return ListGroupsResponse {
                    error_code,
                    ..Default::default()
                };
            }
        }
    }
    response
}
