//! IncrementalAlterConfigs, API key 44: versions 0 to 1, flexible from 1.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of IncrementalAlterConfigs (key 44).
    pub struct IncrementalAlterConfigsRequest, flexible 1 {
        resources: Vec<IncrementalAlterConfigsRequestResource>, versions 0..;
        validate_only: bool, versions 0..;
    }

    /// Part of [`IncrementalAlterConfigsRequest`].
    pub struct IncrementalAlterConfigsRequestResource, flexible 1 {
        resource_type: i8, versions 0..;
        resource_name: Str, versions 0..;
        configs: Vec<IncrementalAlterConfigsRequestResourceConfig>, versions 0..;
    }

    /// Part of [`IncrementalAlterConfigsRequestResource`].
    pub struct IncrementalAlterConfigsRequestResourceConfig, flexible 1 {
        name: Str, versions 0..;
        config_operation: i8, versions 0..;
        value: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Response body of IncrementalAlterConfigs (key 44).
    pub struct IncrementalAlterConfigsResponse, flexible 1 {
        throttle_time_ms: i32, versions 0..;
        responses: Vec<IncrementalAlterConfigsResponseResponse>, versions 0..;
    }

    /// Part of [`IncrementalAlterConfigsResponse`].
    pub struct IncrementalAlterConfigsResponseResponse, flexible 1 {
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        resource_type: i8, versions 0..;
        resource_name: Str, versions 0..;
    }
}
