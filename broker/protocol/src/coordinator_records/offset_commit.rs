//! Committed offsets, as `__consumer_offsets` keeps them (record types 0 and 1).

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// A key.
    pub struct LegacyOffsetCommitKey, flexible none {
        group: Str, versions 0..;
        topic: Str, versions 0..;
        partition: i32, versions 0..;
    }
}

message! {
    /// A value.
    pub struct LegacyOffsetCommitValue, flexible none {
        offset: i64, versions 0..;
        metadata: Str, versions 0..;
        commit_timestamp: i64, versions 0..;
    }
}

message! {
    /// A key.
    pub struct OffsetCommitKey, flexible none {
        group: Str, versions 0..;
        topic: Str, versions 0..;
        partition: i32, versions 0..;
    }
}

message! {
    /// A value.
    pub struct OffsetCommitValue, flexible 4 {
        offset: i64, versions 0..;
        leader_epoch: i32 = -1, versions 3..;
        metadata: Str, versions 0..;
        commit_timestamp: i64, versions 0..;
        expire_timestamp: i64 = -1, versions 1..=1;
        topic_id: Uuid, versions 4.., tag 0;
    }
}
