//! AddOffsetsToTxn, API key 25: versions 0 to 4, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AddOffsetsToTxn (key 25).
    pub struct AddOffsetsToTxnRequest, flexible 3 {
        transactional_id: Str, versions 0..;
        producer_id: i64, versions 0..;
        producer_epoch: i16, versions 0..;
        group_id: Str, versions 0..;
    }

    /// Response body of AddOffsetsToTxn (key 25).
    pub struct AddOffsetsToTxnResponse, flexible 3 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
    }
}
