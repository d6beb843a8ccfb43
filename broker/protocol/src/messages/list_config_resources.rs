//! ListConfigResources, API key 74: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ListConfigResources (key 74).
    pub struct ListConfigResourcesRequest, flexible 0 {
        resource_types: Vec<i8>, versions 1..;
    }

    /// Response body of ListConfigResources (key 74).
    pub struct ListConfigResourcesResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        config_resources: Vec<ListConfigResourcesResponseConfigResource>, versions 0..;
    }

    /// Part of [`ListConfigResourcesResponse`].
    pub struct ListConfigResourcesResponseConfigResource, flexible 0 {
        resource_name: Str, versions 0..;
        resource_type: i8 = 16, versions 1..;
    }
}
