//! Delivery state of share partitions, as `__share_group_state` keeps it (record types 0 and 1).

use crate::message;
use crate::primitives::{Str, Uuid};

message! {
    /// A key.
    pub struct ShareSnapshotKey, flexible none {
        group_id: Str, versions 0..;
        topic_id: Uuid, versions 0..;
        partition: i32, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareSnapshotValue, flexible 0 {
        snapshot_epoch: i32, versions 0..;
        state_epoch: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
        create_timestamp: i64, versions 0..;
        write_timestamp: i64, versions 0..;
        state_batches: Vec<ShareSnapshotValueStateBatch>, versions 0..;
        delivery_complete_count: i32 = -1, versions 0.., tag 0;
    }

    /// Part of [`ShareSnapshotValue`].
    pub struct ShareSnapshotValueStateBatch, flexible 0 {
        first_offset: i64, versions 0..;
        last_offset: i64, versions 0..;
        delivery_state: i8, versions 0..;
        delivery_count: i16, versions 0..;
    }
}

message! {
    /// A key.
    pub struct ShareUpdateKey, flexible none {
        group_id: Str, versions 0..;
        topic_id: Uuid, versions 0..;
        partition: i32, versions 0..;
    }
}

message! {
    /// A value.
    pub struct ShareUpdateValue, flexible 0 {
        snapshot_epoch: i32, versions 0..;
        leader_epoch: i32, versions 0..;
        start_offset: i64, versions 0..;
        state_batches: Vec<ShareUpdateValueStateBatch>, versions 0..;
        delivery_complete_count: i32 = -1, versions 0.., tag 0;
    }

    /// Part of [`ShareUpdateValue`].
    pub struct ShareUpdateValueStateBatch, flexible 0 {
        first_offset: i64, versions 0..;
        last_offset: i64, versions 0..;
        delivery_state: i8, versions 0..;
        delivery_count: i16, versions 0..;
    }
}
