//! This broker's life in the cluster: it registers at start, with a random incarnation id by which a restart is seen.
//!
//! Heartbeats and fencing by session come with several brokers; a single one that runs is alive.

use std::time::Duration;

use protocol::ErrorCode;

use super::handle::{Handle, Refused};
use crate::metadata::{Registration, Reply, Request};
use crate::rt::control;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Registers this broker and returns its epoch. Asks again while the quorum has no leader; the same incarnation
/// registers once however often it asks. A refusal that will not change is returned.
pub async fn register(quorum: &Handle, registration: &Registration) -> Result<i64, Refused> {
    loop {
        let request = Request::RegisterBroker(registration.clone());
        match quorum.request(request, ANSWER_WITHIN).await {
            Ok(Reply::RegisterBroker(Ok(registered))) => return Ok(registered.epoch),
            Ok(Reply::RegisterBroker(Err(error))) => return Err(Refused::new(error.code, error.message)),
            Ok(other) => {
                return Err(Refused::new(
                    ErrorCode::UnknownServerError,
                    format!("answered with {other:?}"),
                ));
            }
            Err(refused) if refused.code.retriable() && quorum.state().failed.is_none() => {
                tracing::info!(%refused, "registration is asked again");
                control::sleep(AGAIN_AFTER).await;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// Lets this broker lead and serve, or takes that away.
pub async fn fence(quorum: &Handle, node: protocol::ids::NodeId, fenced: bool) -> Result<(), Refused> {
    match quorum
        .request(Request::FenceBroker { node, fenced }, ANSWER_WITHIN)
        .await?
    {
        Reply::FenceBroker(Ok(())) => Ok(()),
        Reply::FenceBroker(Err(error)) => Err(Refused::new(error.code, error.message)),
        other => Err(Refused::new(
            ErrorCode::UnknownServerError,
            format!("answered with {other:?}"),
        )),
    }
}
