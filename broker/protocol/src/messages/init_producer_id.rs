//! InitProducerId, API key 22: versions 0 to 6, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of InitProducerId (key 22).
    pub struct InitProducerIdRequest, flexible 2 {
        transactional_id: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        transaction_timeout_ms: i32, versions 0..;
        producer_id: i64 = -1, versions 3..;
        producer_epoch: i16 = -1, versions 3..;
        enable2_pc: bool, versions 6..;
        keep_prepared_txn: bool, versions 6..;
    }

    /// Response body of InitProducerId (key 22).
    pub struct InitProducerIdResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        producer_id: i64 = -1, versions 0..;
        producer_epoch: i16, versions 0..;
        ongoing_txn_producer_id: i64 = -1, versions 6..;
        ongoing_txn_producer_epoch: i16 = -1, versions 6..;
    }
}
