//! RemoveRaftVoter, API key 81: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of RemoveRaftVoter (key 81).
    pub struct RemoveRaftVoterRequest, flexible 0 {
        cluster_id: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        voter_id: i32, versions 0..;
        voter_directory_id: Uuid, versions 0..;
    }

    /// Response body of RemoveRaftVoter (key 81).
    pub struct RemoveRaftVoterResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
