//! EndTxn, API key 26: versions 0 to 5, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of EndTxn (key 26).
    pub struct EndTxnRequest, flexible 3 {
        transactional_id: Str, versions 0..;
        producer_id: i64, versions 0..;
        producer_epoch: i16, versions 0..;
        committed: bool, versions 0..;
    }

    /// Response body of EndTxn (key 26).
    pub struct EndTxnResponse, flexible 3 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        producer_id: i64 = -1, versions 5..;
        producer_epoch: i16 = -1, versions 5..;
    }
}
