//! ListTransactions, API key 66: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ListTransactions (key 66).
    pub struct ListTransactionsRequest, flexible 0 {
        state_filters: Vec<Str>, versions 0..;
        producer_id_filters: Vec<i64>, versions 0..;
        duration_filter: i64 = -1, versions 1..;
        transactional_id_pattern: Option<Str>, versions 2.., nullable 2..;
    }

    /// Response body of ListTransactions (key 66).
    pub struct ListTransactionsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        unknown_state_filters: Vec<Str>, versions 0..;
        transaction_states: Vec<ListTransactionsResponseTransactionState>, versions 0..;
    }

    /// Part of [`ListTransactionsResponse`].
    pub struct ListTransactionsResponseTransactionState, flexible 0 {
        transactional_id: Str, versions 0..;
        producer_id: i64, versions 0..;
        transaction_state: Str, versions 0..;
    }
}
