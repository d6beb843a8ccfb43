//! A partition that follows: what it asks its leader for, taking what comes, and cutting where histories part.
//!
//! Owns the follower's rules on its core. Leaves asking and the wire to the replication sessions, decisions to
//! `replication/follower.rs`, bytes and files to `log/`. Nothing here waits.

use std::rc::Rc;

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, Offset};

use super::Shard;
use super::partitions::Partition;
use crate::replication::epochs::EpochEnd;
use crate::replication::follower::Following;

/// Why a follower did not take what its leader sent. The session drops what it has in flight for the partition, and asks
/// again from [`Partition::following`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// It leads, is being truncated, is gone, or its disk failed: there is nothing to follow now.
    #[error("this replica follows nobody now")]
    NotFollowing,
    /// What came is of another leader epoch than the one it follows under.
    #[error("of leader epoch {sent}, this replica follows under {current}")]
    OtherEpoch {
        /// What the answer was for.
        sent: LeaderEpoch,
        /// What it follows under.
        current: LeaderEpoch,
    },
    /// What came does not begin where the log ends: late, or twice.
    #[error("records begin at {found}, the log ends at {expected}")]
    Elsewhere {
        /// The log end.
        expected: Offset,
        /// Base offset of the first batch.
        found: Offset,
    },
    /// Damaged on the way, or damaged at the leader.
    #[error("records are damaged: {0}")]
    Damaged(String),
    /// No room: to be tried again after a while.
    #[error("the disk is full")]
    DiskFull,
    /// The log directory failed.
    #[error("the log directory failed: {0}")]
    Storage(String),
}

impl Partition {
    /// What it would ask its leader for now. None while it leads, is truncated, has no leader, or is offline.
    pub fn following(&self) -> Option<Following> {
        None
    }
}

impl Shard {
    /// Every partition of this core that follows now. Changes are told through [`Shard::follow_changed`].
    pub fn followed(&self) -> Vec<Rc<Partition>> {
        let all = self.all_partitions();
        all.into_iter()
            .filter(|partition| partition.following().is_some())
            .collect()
    }

    /// Takes what the leader sent for the position it was asked for: appended as it is (offsets, epochs, producer state),
    /// durable after the next round, which tells [`Shard::synced_progress`]. `records` may be empty: then only the
    /// leader's high watermark and log start are news. The follower's own high watermark is the smaller of the leader's
    /// and of what it has synced itself.
    pub fn follow_append(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        leader_epoch: LeaderEpoch,
        records: Bytes,
        leader_high_watermark: Offset,
        leader_log_start: Offset,
    ) -> Result<(), FollowError> {
        let _ = (
            partition,
            leader_epoch,
            records,
            leader_high_watermark,
            leader_log_start,
        );
        Err(FollowError::NotFollowing)
    }

    /// The leader says that histories part: starts cutting, by epoch. Until it is done `following()` is None; then
    /// [`Shard::follow_changed`] tells.
    pub fn follow_truncate(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        leader_epoch: LeaderEpoch,
        leader: EpochEnd,
    ) -> Result<(), FollowError> {
        let _ = (partition, leader_epoch, leader);
        Err(FollowError::NotFollowing)
    }

    /// The leader has nothing at the offset it was asked for; its log is `leader_start..leader_end`. Cuts or begins anew
    /// as [`Shard::follow_truncate`] does.
    pub fn follow_out_of_range(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        leader_epoch: LeaderEpoch,
        leader_start: Offset,
        leader_end: Offset,
    ) -> Result<(), FollowError> {
        let _ = (partition, leader_epoch, leader_start, leader_end);
        Err(FollowError::NotFollowing)
    }
}
