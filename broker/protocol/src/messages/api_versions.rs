//! ApiVersions, API key 18: versions 0 to 5, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ApiVersions (key 18).
    pub struct ApiVersionsRequest, flexible 3 {
        client_software_name: Str, versions 3..;
        client_software_version: Str, versions 3..;
        cluster_id: Option<Str>, versions 5.., nullable 5..;
        node_id: i32 = -1, versions 5..;
    }

    /// Response body of ApiVersions (key 18).
    pub struct ApiVersionsResponse, flexible 3 {
        error_code: i16, versions 0..;
        api_keys: Vec<ApiVersionsResponseApiKey>, versions 0..;
        throttle_time_ms: i32, versions 1..;
        supported_features: Vec<ApiVersionsResponseSupportedFeature>, versions 3.., tag 0;
        finalized_features_epoch: i64 = -1, versions 3.., tag 1;
        finalized_features: Vec<ApiVersionsResponseFinalizedFeature>, versions 3.., tag 2;
        zk_migration_ready: bool, versions 3.., tag 3;
    }

    /// Part of [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseApiKey, flexible 3 {
        api_key: i16, versions 0..;
        min_version: i16, versions 0..;
        max_version: i16, versions 0..;
    }

    /// Part of [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseSupportedFeature, flexible 3 {
        name: Str, versions 3..;
        min_version: i16, versions 3..;
        max_version: i16, versions 3..;
    }

    /// Part of [`ApiVersionsResponse`].
    pub struct ApiVersionsResponseFinalizedFeature, flexible 3 {
        name: Str, versions 3..;
        max_version_level: i16, versions 3..;
        min_version_level: i16, versions 3..;
    }
}
