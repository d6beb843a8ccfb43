//! UnregisterBroker (KIP-500): a broker that is gone for good leaves the cluster's list.

use protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use protocol::{ErrorCode, NodeId, Str};

use super::replies::unanswered;
use super::serve::{Ctx, deadline};
use crate::metadata::{Reply, Request};

/// The request names no time of its own.
const WITHIN_MS: i32 = 30_000;

/// Removes a fenced broker.
pub async fn handle(ctx: &Ctx, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
    let submitted = Request::UnregisterBroker {
        node: NodeId(request.broker_id),
    };
    let error = match ctx.shard().submit(submitted, deadline(WITHIN_MS)).await {
        Ok(Reply::UnregisterBroker(result)) => result.err(),
        Ok(_) => Some(unanswered()),
        Err(refused) => Some(refused),
    };
    UnregisterBrokerResponse {
        error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
        error_message: error.map(|error| Str::from(error.message)),
        ..Default::default()
    }
}
