//! WriteTxnMarkers, API key 27: versions 1 to 2, flexible from 1.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of WriteTxnMarkers (key 27).
    pub struct WriteTxnMarkersRequest, flexible 1 {
        markers: Vec<WriteTxnMarkersRequestMarker>, versions 1..;
    }

    /// Part of [`WriteTxnMarkersRequest`].
    pub struct WriteTxnMarkersRequestMarker, flexible 1 {
        producer_id: i64, versions 1..;
        producer_epoch: i16, versions 1..;
        transaction_result: bool, versions 1..;
        topics: Vec<WriteTxnMarkersRequestMarkerTopic>, versions 1..;
        coordinator_epoch: i32, versions 1..;
        transaction_version: i8, versions 2..;
    }

    /// Part of [`WriteTxnMarkersRequestMarker`].
    pub struct WriteTxnMarkersRequestMarkerTopic, flexible 1 {
        name: Str, versions 1..;
        partition_indexes: Vec<i32>, versions 1..;
    }

    /// Response body of WriteTxnMarkers (key 27).
    pub struct WriteTxnMarkersResponse, flexible 1 {
        markers: Vec<WriteTxnMarkersResponseMarker>, versions 1..;
    }

    /// Part of [`WriteTxnMarkersResponse`].
    pub struct WriteTxnMarkersResponseMarker, flexible 1 {
        producer_id: i64, versions 1..;
        topics: Vec<WriteTxnMarkersResponseMarkerTopic>, versions 1..;
    }

    /// Part of [`WriteTxnMarkersResponseMarker`].
    pub struct WriteTxnMarkersResponseMarkerTopic, flexible 1 {
        name: Str, versions 1..;
        partitions: Vec<WriteTxnMarkersResponseMarkerTopicPartition>, versions 1..;
    }

    /// Part of [`WriteTxnMarkersResponseMarkerTopic`].
    pub struct WriteTxnMarkersResponseMarkerTopicPartition, flexible 1 {
        partition_index: i32, versions 1..;
        error_code: i16, versions 1..;
    }
}
