//! DescribeAcls, API key 29: versions 1 to 3, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DescribeAcls (key 29).
    pub struct DescribeAclsRequest, flexible 2 {
        resource_type_filter: i8, versions 1..;
        resource_name_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        pattern_type_filter: i8 = 3, versions 1..;
        principal_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        host_filter: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        operation: i8, versions 1..;
        permission_type: i8, versions 1..;
    }

    /// Response body of DescribeAcls (key 29).
    pub struct DescribeAclsResponse, flexible 2 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 1..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 1.., nullable 1..;
        resources: Vec<DescribeAclsResponseResource>, versions 1..;
    }

    /// Part of [`DescribeAclsResponse`].
    pub struct DescribeAclsResponseResource, flexible 2 {
        resource_type: i8, versions 1..;
        resource_name: Str, versions 1..;
        pattern_type: i8 = 3, versions 1..;
        acls: Vec<DescribeAclsResponseResourceAcl>, versions 1..;
    }

    /// Part of [`DescribeAclsResponseResource`].
    pub struct DescribeAclsResponseResourceAcl, flexible 2 {
        principal: Str, versions 1..;
        host: Str, versions 1..;
        operation: i8, versions 1..;
        permission_type: i8, versions 1..;
    }
}
