//! AllocateProducerIds, API key 67: versions 0 to 0, flexible from 0.

use crate::message;

message! {
    /// Request body of AllocateProducerIds (key 67).
    pub struct AllocateProducerIdsRequest, flexible 0 {
        broker_id: i32, versions 0..;
        broker_epoch: i64 = -1, versions 0..;
    }

    /// Response body of AllocateProducerIds (key 67).
    pub struct AllocateProducerIdsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        producer_id_start: i64, versions 0..;
        producer_id_len: i32, versions 0..;
    }
}
