//! DeleteShareGroupOffsets, API key 92: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of DeleteShareGroupOffsets (key 92).
    pub struct DeleteShareGroupOffsetsRequest, flexible 0 {
        group_id: Str, versions 0..;
        topics: Vec<DeleteShareGroupOffsetsRequestTopic>, versions 0..;
    }

    /// Part of [`DeleteShareGroupOffsetsRequest`].
    pub struct DeleteShareGroupOffsetsRequestTopic, flexible 0 {
        topic_name: Str, versions 0..;
    }

    /// Response body of DeleteShareGroupOffsets (key 92).
    pub struct DeleteShareGroupOffsetsResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
        responses: Vec<DeleteShareGroupOffsetsResponseResponse>, versions 0..;
    }

    /// Part of [`DeleteShareGroupOffsetsResponse`].
    pub struct DeleteShareGroupOffsetsResponseResponse, flexible 0 {
        topic_name: Str, versions 0..;
        topic_id: Uuid, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
