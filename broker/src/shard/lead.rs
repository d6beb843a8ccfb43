//! A partition that leads: what it gives its followers, and what they say of themselves.
//!
//! Owns reading for followers and their progress. Leaves the arithmetic to `replication/leader.rs`, ISR proposals to `isr.rs`,
//! sessions and the wire to the replication transport. Nothing here waits.

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, NodeId, Offset};

use super::counters::Led;
use super::error::PartitionError;
use super::partitions::Partition;
use crate::log::{ReadJob, ReadPlan};
use crate::metadata::image::MetadataImage;
use crate::replication::epochs::{self, EpochEnd};
use crate::replication::follower::FollowerPosition;
use crate::replication::leader::Leader;
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
    /// The leader's log end when it was read.
    pub log_end: Offset,
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
        self.check_leader(position.leader_epoch.0)?;
        self.check_replica(node, broker_epoch)?;
        let log = self.log()?;
        let offsets = log.offsets();
        let mut read = FollowerRead {
            records: FollowerRecords::Now(Bytes::new()),
            high_watermark: offsets.high_watermark,
            log_start: offsets.log_start,
            log_end: offsets.log_end,
            diverging: None,
        };
        let out_of_range = || PartitionError::OutOfRange {
            start: offsets.log_start,
            end: offsets.log_end,
        };
        if position.last_fetched_epoch >= 0 && !self.shared.faults.skip_epoch_check {
            let last = LeaderEpoch(position.last_fetched_epoch);
            let (epoch, end_offset) = log.epoch_end_offset(last).ok_or_else(out_of_range)?;
            let ours = EpochEnd { epoch, end_offset };
            read.diverging = epochs::diverging(position.last_fetched_epoch, position.fetch_offset, ours);
        }
        if read.diverging.is_some() {
            let at = self.moment(now);
            if let Some(leader) = self.leader.borrow_mut().as_mut() {
                leader.follower_diverged(node, broker_epoch, at);
            }
            return Ok(read);
        }
        if position.fetch_offset < offsets.log_start || position.fetch_offset > offsets.log_end {
            return Err(out_of_range());
        }
        let plan = log.read(position.fetch_offset, position.max_bytes, offsets.log_end, true)?;
        drop(log);
        read.records = match plan {
            ReadPlan::Empty => FollowerRecords::Now(Bytes::new()),
            ReadPlan::Cached(records) => FollowerRecords::Now(records),
            ReadPlan::Cold(job) => FollowerRecords::Cold(job),
        };
        let at = self.moment(now);
        let moved = self
            .leader
            .borrow_mut()
            .as_mut()
            .and_then(|leader| leader.follower_fetched(node, broker_epoch, position.fetch_offset, at));
        self.follower_moved(node, moved);
        read.high_watermark = self.high_watermark();
        Ok(read)
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
        if self.check_leader(leader_epoch.0).is_err() || self.check_replica(node, broker_epoch).is_err() {
            return;
        }
        let at = self.moment(now);
        let moved = self
            .leader
            .borrow_mut()
            .as_mut()
            .and_then(|leader| leader.follower_synced(node, broker_epoch, synced, at));
        self.follower_moved(node, moved);
    }

    /// How this broker leads it, if it does.
    pub(super) fn led(&self) -> Option<Led> {
        let leader = self.leader.borrow();
        leader.as_ref().map(|leader| Led {
            epoch: leader.epoch(),
            isr: leader.isr().to_vec(),
        })
    }

    /// Whether this broker leads and has `node` in its in-sync set.
    pub(super) fn is_in_sync(&self, node: NodeId) -> bool {
        let leader = self.leader.borrow();
        leader.as_ref().is_some_and(|leader| leader.isr().contains(&node))
    }

    /// It has led for too short a time to know what an earlier leader had committed (KIP-207).
    pub(super) fn is_behind_its_epoch(&self) -> bool {
        self.leader.borrow().as_ref().is_some_and(Leader::is_behind)
    }

    /// The replica a consumer in `rack` had better read `offset` from, if that is not this one (KIP-392).
    pub(super) fn preferred_replica(
        &self,
        image: &MetadataImage,
        me: NodeId,
        rack: &str,
        offset: Offset,
    ) -> Option<NodeId> {
        let is_there = |node: NodeId| {
            let broker = image.broker(node);
            broker.is_some_and(|broker| broker.serves() && broker.rack.as_deref() == Some(rack))
        };
        if is_there(me) {
            return None;
        }
        let leader = self.leader.borrow();
        let followers = leader.as_ref()?.followers_with(offset);
        followers.into_iter().find(|node| is_there(*node))
    }

    /// A follower's progress was taken in: acts on a moved high watermark, and lets it into the ISR if it belongs there.
    fn follower_moved(&self, node: NodeId, moved: Option<Offset>) {
        self.high_watermark_moved(moved);
        let may_join = self
            .leader
            .borrow()
            .as_ref()
            .is_some_and(|leader| leader.may_join(node));
        if may_join {
            self.shared.isr_wanted.tell(self.id);
        }
    }

    fn check_replica(&self, node: NodeId, broker_epoch: i64) -> Result<(), PartitionError> {
        let leader = self.leader.borrow();
        let leader = leader.as_ref().ok_or(PartitionError::NotLeader)?;
        let known = self.shared.broker_epochs.borrow().get(&node).copied();
        let is_current = known.is_none_or(|known| broker_epoch >= known);
        (leader.is_replica(node) && is_current)
            .then_some(())
            .ok_or(PartitionError::NotReplica)
    }
}
