//! AddPartitionsToTxn, API key 24: versions 0 to 5, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AddPartitionsToTxn (key 24).
    pub struct AddPartitionsToTxnRequest, flexible 3 {
        transactions: Vec<AddPartitionsToTxnRequestTransaction>, versions 4..;
        v3_and_below_transactional_id: Str, versions 0..=3;
        v3_and_below_producer_id: i64, versions 0..=3;
        v3_and_below_producer_epoch: i16, versions 0..=3;
        v3_and_below_topics: Vec<AddPartitionsToTxnRequestV3AndBelowTopic>, versions 0..=3;
    }

    /// Part of [`AddPartitionsToTxnRequest`].
    pub struct AddPartitionsToTxnRequestTransaction, flexible 3 {
        transactional_id: Str, versions 4..;
        producer_id: i64, versions 4..;
        producer_epoch: i16, versions 4..;
        verify_only: bool, versions 4..;
        topics: Vec<AddPartitionsToTxnRequestTransactionTopic>, versions 4..;
    }

    /// Part of [`AddPartitionsToTxnRequestTransaction`].
    pub struct AddPartitionsToTxnRequestTransactionTopic, flexible 3 {
        name: Str, versions 4..;
        partitions: Vec<i32>, versions 4..;
    }

    /// Part of [`AddPartitionsToTxnRequest`].
    pub struct AddPartitionsToTxnRequestV3AndBelowTopic, flexible 3 {
        name: Str, versions 0..=3;
        partitions: Vec<i32>, versions 0..=3;
    }

    /// Response body of AddPartitionsToTxn (key 24).
    pub struct AddPartitionsToTxnResponse, flexible 3 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 4..;
        results_by_transaction: Vec<AddPartitionsToTxnResponseResultsByTransaction>, versions 4..;
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnResponseResultsByTopicV3AndBelow>, versions 0..=3;
    }

    /// Part of [`AddPartitionsToTxnResponse`].
    pub struct AddPartitionsToTxnResponseResultsByTransaction, flexible 3 {
        transactional_id: Str, versions 4..;
        topic_results: Vec<AddPartitionsToTxnResponseResultsByTransactionTopicResult>, versions 4..;
    }

    /// Part of [`AddPartitionsToTxnResponseResultsByTransaction`].
    pub struct AddPartitionsToTxnResponseResultsByTransactionTopicResult, flexible 3 {
        name: Str, versions 4..;
        results_by_partition: Vec<AddPartitionsToTxnResponseResultsByTransactionTopicResultResultsByPartition>, versions 4..;
    }

    /// Part of [`AddPartitionsToTxnResponseResultsByTransactionTopicResult`].
    pub struct AddPartitionsToTxnResponseResultsByTransactionTopicResultResultsByPartition, flexible 3 {
        partition_index: i32, versions 4..;
        partition_error_code: i16, versions 4..;
    }

    /// Part of [`AddPartitionsToTxnResponse`].
    pub struct AddPartitionsToTxnResponseResultsByTopicV3AndBelow, flexible 3 {
        name: Str, versions 0..=3;
        results_by_partition: Vec<AddPartitionsToTxnResponseResultsByTopicV3AndBelowResultsByPartition>, versions 0..=3;
    }

    /// Part of [`AddPartitionsToTxnResponseResultsByTopicV3AndBelow`].
    pub struct AddPartitionsToTxnResponseResultsByTopicV3AndBelowResultsByPartition, flexible 3 {
        partition_index: i32, versions 0..=3;
        partition_error_code: i16, versions 0..=3;
    }
}
