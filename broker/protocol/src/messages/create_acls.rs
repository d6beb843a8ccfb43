//! CreateAcls, API key 30: versions 1 to 3, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of CreateAcls (key 30).
    pub struct CreateAclsRequest, flexible 2 {
        creations: Vec<CreateAclsRequestCreation>, versions 1..;
    }

    /// Part of [`CreateAclsRequest`].
    pub struct CreateAclsRequestCreation, flexible 2 {
        resource_type: i8, versions 1..;
        resource_name: Str, versions 1..;
        resource_pattern_type: i8 = 3, versions 1..;
        principal: Str, versions 1..;
        host: Str, versions 1..;
        operation: i8, versions 1..;
        permission_type: i8, versions 1..;
    }

    /// Response body of CreateAcls (key 30).
    pub struct CreateAclsResponse, flexible 2 {
        throttle_time_ms: i32, versions 1..;
        results: Vec<CreateAclsResponseResult>, versions 1..;
    }

    /// Part of [`CreateAclsResponse`].
    pub struct CreateAclsResponseResult, flexible 2 {
        error_code: i16, versions 1..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
    }
}
