//! DeleteGroups, API key 42: versions 0 to 3, flexible from 2.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of DeleteGroups (key 42).
    pub struct DeleteGroupsRequest, flexible 2 {
        groups_names: Vec<Str>, versions 0..;
    }

    /// Response body of DeleteGroups (key 42).
    pub struct DeleteGroupsResponse, flexible 2 {
        throttle_time_ms: i32, versions 0..;
        results: Vec<DeleteGroupsResponseResult>, versions 0..;
    }

    /// Part of [`DeleteGroupsResponse`].
    pub struct DeleteGroupsResponseResult, flexible 2 {
        group_id: Str, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 3.., nullable 3..;
    }
}
