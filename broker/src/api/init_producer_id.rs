//! InitProducerId for idempotent producers: a fresh id out of a block that the quorum handed to this core. Transactional
//! ids are refused until transactions are served.

use std::time::Duration;

use protocol::ErrorCode;
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::serve::Ctx;

/// How long a producer waits when the core's block is used up.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// Hands out an id nobody else has.
pub async fn handle(ctx: &Ctx, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match request.transactional_id {
        // Every client takes this as final and says that the broker lacks the feature, instead of retrying for ever.
        Some(id) if !id.is_empty() => return refuse(ErrorCode::UnsupportedVersion),
        Some(_) => return refuse(ErrorCode::InvalidRequest),
        None => {}
    }
    match ctx.shard().next_producer_id(BLOCK_TIMEOUT).await {
        Some(id) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: 0,
            ..Default::default()
        },
        None => refuse(ErrorCode::CoordinatorNotAvailable),
    }
}

fn refuse(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_epoch: -1,
        ..Default::default()
    }
}
