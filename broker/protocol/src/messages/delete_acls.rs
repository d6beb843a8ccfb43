//! DeleteAcls, API key 31: versions 1 to 3, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DeleteAcls (key 31).
    pub struct DeleteAclsRequest, flexible 2 {
        filters: Vec<DeleteAclsRequestFilter>, versions 1..;
    }

    /// Part of [`DeleteAclsRequest`].
    pub struct DeleteAclsRequestFilter, flexible 2 {
        resource_type_filter: i8, versions 1..;
        resource_name_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        pattern_type_filter: i8 = 3, versions 1..;
        principal_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        host_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        operation: i8, versions 1..;
        permission_type: i8, versions 1..;
    }

    /// Response body of DeleteAcls (key 31).
    pub struct DeleteAclsResponse, flexible 2 {
        throttle_time_ms: i32, versions 1..;
        filter_results: Vec<DeleteAclsResponseFilterResult>, versions 1..;
    }

    /// Part of [`DeleteAclsResponse`].
    pub struct DeleteAclsResponseFilterResult, flexible 2 {
        error_code: i16, versions 1..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        matching_acls: Vec<DeleteAclsResponseFilterResultMatchingAcl>, versions 1..;
    }

    /// Part of [`DeleteAclsResponseFilterResult`].
    pub struct DeleteAclsResponseFilterResultMatchingAcl, flexible 2 {
        error_code: i16, versions 1..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        resource_type: i8, versions 1..;
        resource_name: Str, versions 1..;
        pattern_type: i8 = 3, versions 1..;
        principal: Str, versions 1..;
        host: Str, versions 1..;
        operation: i8, versions 1..;
        permission_type: i8, versions 1..;
    }
}
