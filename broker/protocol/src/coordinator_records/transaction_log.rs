//! Transactions, as `__transaction_state` keeps them (record type 0).

use crate::message;
use crate::primitives::Str;

message! {
    /// A key.
    pub struct TransactionLogKey, flexible none {
        transactional_id: Str, versions 0..;
    }
}

message! {
    /// A value.
    pub struct TransactionLogValue, flexible 1 {
        producer_id: i64, versions 0..;
        producer_epoch: i16, versions 0..;
        transaction_timeout_ms: i32, versions 0..;
        transaction_status: i8, versions 0..;
        transaction_partitions: Option<Vec<TransactionLogValueTransactionPartition>> = Some(Vec::new()), versions 0.., nullable 0..;
        transaction_last_update_timestamp_ms: i64, versions 0..;
        transaction_start_timestamp_ms: i64, versions 0..;
        previous_producer_id: i64 = -1, versions 1.., tag 0;
        next_producer_id: i64 = -1, versions 1.., tag 1;
        client_transaction_version: i16, versions 1.., tag 2;
        next_producer_epoch: i16 = -1, versions 1.., tag 3;
    }

    /// Part of [`TransactionLogValue`].
    pub struct TransactionLogValueTransactionPartition, flexible 1 {
        topic: Str, versions 0..;
        partition_ids: Vec<i32>, versions 0..;
    }
}
