//! DescribeCluster, API key 60: versions 0 to 2, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeCluster (key 60).
    pub struct DescribeClusterRequest, flexible 0 {
        include_cluster_authorized_operations: bool, versions 0..;
        endpoint_type: i8 = 1, versions 1..;
        include_fenced_brokers: bool, versions 2..;
    }

    /// Response body of DescribeCluster (key 60).
    pub struct DescribeClusterResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        endpoint_type: i8 = 1, versions 1..;
        cluster_id: Str, versions 0..;
        controller_id: i32 = -1, versions 0..;
        brokers: Vec<DescribeClusterResponseBroker>, versions 0..;
        cluster_authorized_operations: i32 = -2147483648, versions 0..;
    }

    /// Part of [`DescribeClusterResponse`].
    pub struct DescribeClusterResponseBroker, flexible 0 {
        broker_id: i32, versions 0..;
        host: Str, versions 0..;
        port: i32, versions 0..;
        rack: Option<Str>, versions 0.., nullable 0..;
        is_fenced: bool, versions 2..;
    }
}
