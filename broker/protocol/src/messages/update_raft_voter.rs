//! UpdateRaftVoter, API key 82: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// Request body of UpdateRaftVoter (key 82).
    pub struct UpdateRaftVoterRequest, flexible 0 {
        cluster_id: Option<Str> = Some(Str::EMPTY), versions 0.., nullable 0..;
        current_leader_epoch: i32, versions 0..;
        voter_id: i32, versions 0..;
        voter_directory_id: Uuid, versions 0..;
        listeners: Vec<UpdateRaftVoterRequestListener>, versions 0..;
        kraft_version_feature: UpdateRaftVoterRequestKraftVersionFeature, versions 0..;
    }

    /// Part of [`UpdateRaftVoterRequest`].
    pub struct UpdateRaftVoterRequestListener, flexible 0 {
        name: Str, versions 0..;
        host: Str, versions 0..;
        port: u16, versions 0..;
    }

    /// Part of [`UpdateRaftVoterRequest`].
    pub struct UpdateRaftVoterRequestKraftVersionFeature, flexible 0 {
        min_supported_version: i16, versions 0..;
        max_supported_version: i16, versions 0..;
    }

    /// Response body of UpdateRaftVoter (key 82).
    pub struct UpdateRaftVoterResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        current_leader: UpdateRaftVoterResponseCurrentLeader, versions 0.., tag 0;
    }

    /// Part of [`UpdateRaftVoterResponse`].
    pub struct UpdateRaftVoterResponseCurrentLeader, flexible 0 {
        leader_id: i32 = -1, versions 0..;
        leader_epoch: i32 = -1, versions 0..;
        host: Str, versions 0..;
        port: i32, versions 0..;
    }
}
