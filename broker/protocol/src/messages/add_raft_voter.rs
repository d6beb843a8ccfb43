//! AddRaftVoter, API key 80: versions 0 to 1, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of AddRaftVoter (key 80).
    pub struct AddRaftVoterRequest, flexible 0 {
        cluster_id: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        timeout_ms: i32, versions 0..;
        voter_id: i32, versions 0..;
        voter_directory_id: Uuid, versions 0..;
        listeners: Vec<AddRaftVoterRequestListener>, versions 0..;
        ack_when_committed: bool = true, versions 1..;
    }

    /// Part of [`AddRaftVoterRequest`].
    pub struct AddRaftVoterRequestListener, flexible 0 {
        name: Str, versions 0..;
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Response body of AddRaftVoter (key 80).
    pub struct AddRaftVoterResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
    }
}
