//! ListGroups, API key 16: versions 0 to 5, flexible from 3.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of ListGroups (key 16).
    pub struct ListGroupsRequest, flexible 3 {
        states_filter: Vec<Str>, versions 4..;
        types_filter: Vec<Str>, versions 5..;
    }

    /// Response body of ListGroups (key 16).
    pub struct ListGroupsResponse, flexible 3 {
        throttle_time_ms: i32, versions 1..;
        error_code: i16, versions 0..;
        groups: Vec<ListGroupsResponseGroup>, versions 0..;
    }

    /// Part of [`ListGroupsResponse`].
    pub struct ListGroupsResponseGroup, flexible 3 {
        group_id: Str, versions 0..;
        protocol_type: Str, versions 0..;
        group_state: Str, versions 4..;
        group_type: Str, versions 5..;
    }
}
