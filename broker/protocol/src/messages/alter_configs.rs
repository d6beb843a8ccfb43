//! AlterConfigs, API key 33: versions 0 to 2, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of AlterConfigs (key 33).
    pub struct AlterConfigsRequest, flexible 2 {
        resources: Vec<AlterConfigsRequestResource>, versions 0..;
        validate_only: bool, versions 0..;
    }

    /// Part of [`AlterConfigsRequest`].
    pub struct AlterConfigsRequestResource, flexible 2 {
        resource_type: i8, versions 0..;
        resource_name: Str, versions 0..;
        configs: Vec<AlterConfigsRequestResourceConfig>, versions 0..;
    }

    /// Part of [`AlterConfigsRequestResource`].
    pub struct AlterConfigsRequestResourceConfig, flexible 2 {
        name: Str, versions 0..;
        value: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }

    /// Response body of AlterConfigs (key 33).
    pub struct AlterConfigsResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        responses: Vec<AlterConfigsResponseResponse>, versions 0..;
    }

    /// Part of [`AlterConfigsResponse`].
    pub struct AlterConfigsResponseResponse, flexible 2 {
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        resource_type: i8, versions 0..;
        resource_name: Str, versions 0..;
    }
}
