//! DescribeTransactions, API key 65: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeTransactions (key 65).
    pub struct DescribeTransactionsRequest, flexible 0 {
        transactional_ids: Vec<Str>, versions 0..;
    }

    /// Response body of DescribeTransactions (key 65).
    pub struct DescribeTransactionsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        transaction_states: Vec<DescribeTransactionsResponseTransactionState>, versions 0..;
    }

    /// Part of [`DescribeTransactionsResponse`].
    pub struct DescribeTransactionsResponseTransactionState, flexible 0 {
        error_code: i16, versions 0..;
        transactional_id: Str, versions 0..;
        transaction_state: Str, versions 0..;
        transaction_timeout_ms: i32, versions 0..;
        transaction_start_time_ms: i64, versions 0..;
        producer_id: i64, versions 0..;
        producer_epoch: i16, versions 0..;
        topics: Vec<DescribeTransactionsResponseTransactionStateTopic>, versions 0..;
    }

    /// Part of [`DescribeTransactionsResponseTransactionState`].
    pub struct DescribeTransactionsResponseTransactionStateTopic, flexible 0 {
        topic: Str, versions 0..;
        partitions: Vec<i32>, versions 0..;
    }
}
