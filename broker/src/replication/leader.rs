//! The leader's side of one partition: who has synced how far, and what that makes the high watermark.
//!
//! Owns the replica set, the ISR (with a proposed one while a change is pending) and every replica's progress. Leaves the
//! log and the waiters to `shard/partitions.rs`, which feeds progress in and acts on a moved high watermark.
//! One broker is its own whole ISR; nothing here assumes that.

use std::collections::BTreeMap;

use protocol::ids::{LeaderEpoch, NodeId, Offset};

/// Leadership state of one partition on its leader. Lives on the core that owns the partition.
#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    epoch: LeaderEpoch,
    isr: Vec<NodeId>,
    proposed_isr: Option<Vec<NodeId>>,
    min_isr: usize,
    /// How far each follower has synced. The leader's own progress is `local`.
    followers: BTreeMap<NodeId, Offset>,
    local: Offset,
    high_watermark: Offset,
}

impl Leader {
    /// Takes over leadership. `high_watermark` is the last checkpointed one; it never moves back from there.
    pub fn new(
        me: NodeId,
        epoch: LeaderEpoch,
        isr: Vec<NodeId>,
        min_isr: usize,
        high_watermark: Offset,
    ) -> Leader {
        Leader {
            me,
            epoch,
            isr,
            proposed_isr: None,
            min_isr: min_isr.max(1),
            followers: BTreeMap::new(),
            local: Offset::ZERO,
            high_watermark,
        }
    }

    /// The epoch under which this leader appends.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// First offset that is not yet on every in-sync replica.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Replicas counted as in sync now.
    pub fn isr(&self) -> &[NodeId] {
        &self.isr
    }

    /// Whether enough replicas are in sync for an `acks=all` append to be accepted.
    pub fn enough_in_sync(&self) -> bool {
        self.isr.len() >= self.min_isr
    }

    /// A changed `min.insync.replicas`. Lowering it may let the high watermark go on.
    pub fn set_min_isr(&mut self, min_isr: usize) -> Option<Offset> {
        self.min_isr = min_isr.max(1);
        self.advance()
    }

    /// The metadata quorum committed a new ISR (and perhaps a new epoch, when leadership moved away and came back).
    pub fn commit_isr(&mut self, epoch: LeaderEpoch, isr: Vec<NodeId>) -> Option<Offset> {
        self.epoch = epoch;
        self.isr = isr;
        self.proposed_isr = None;
        let isr = &self.isr;
        self.followers.retain(|node, _| isr.contains(node));
        self.advance()
    }

    /// An ISR change is on its way to the quorum: until it is decided both sets count, so that neither outcome can have
    /// exposed a record that a member lacks (KIP-497).
    pub fn propose_isr(&mut self, isr: Vec<NodeId>) {
        self.proposed_isr = Some(isr);
    }

    /// What this broker itself promises has reached `upto` (synced bytes, or written ones under `flush.policy=async`).
    /// Returns the new high watermark if it moved.
    pub fn local_progress(&mut self, upto: Offset) -> Option<Offset> {
        self.local = self.local.max(upto);
        self.advance()
    }

    /// A follower has synced up to `upto`. Returns the new high watermark if it moved.
    pub fn follower_progress(&mut self, node: NodeId, upto: Offset) -> Option<Offset> {
        let at = self.followers.entry(node).or_insert(Offset::ZERO);
        *at = (*at).max(upto);
        self.advance()
    }

    fn position(&self, node: NodeId) -> Offset {
        if node == self.me {
            self.local
        } else {
            self.followers.get(&node).copied().unwrap_or(Offset::ZERO)
        }
    }

    /// The smallest progress over the union of the committed and the proposed ISR; it stands still below `min_isr`
    /// (KIP-966) and never moves back.
    fn advance(&mut self) -> Option<Offset> {
        if !self.enough_in_sync() {
            return None;
        }
        let proposed = self.proposed_isr.iter().flatten();
        let reached = self
            .isr
            .iter()
            .chain(proposed)
            .map(|node| self.position(*node))
            .min()?;
        if reached <= self.high_watermark {
            return None;
        }
        self.high_watermark = reached;
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const THIRD: NodeId = NodeId(3);

    fn leader(isr: &[NodeId], min_isr: usize) -> Leader {
        Leader::new(ME, LeaderEpoch(0), isr.to_vec(), min_isr, Offset::ZERO)
    }

    #[test]
    fn alone_the_high_watermark_is_what_is_synced() {
        let mut leader = leader(&[ME], 1);
        assert_eq!(leader.local_progress(Offset(7)), Some(Offset(7)));
        assert_eq!(leader.local_progress(Offset(7)), None);
        assert_eq!(leader.local_progress(Offset(5)), None, "never back");
        assert_eq!(leader.high_watermark(), Offset(7));
    }

    #[test]
    fn the_slowest_in_sync_replica_decides() {
        let mut leader = leader(&[ME, OTHER], 1);
        assert_eq!(leader.local_progress(Offset(10)), None);
        assert_eq!(leader.follower_progress(OTHER, Offset(4)), Some(Offset(4)));
        assert_eq!(
            leader.follower_progress(THIRD, Offset(99)),
            None,
            "not in the ISR, does not count"
        );
        assert_eq!(leader.commit_isr(LeaderEpoch(0), vec![ME]), Some(Offset(10)));
    }

    #[test]
    fn while_a_change_is_pending_both_sets_count() {
        let mut leader = leader(&[ME], 1);
        leader.propose_isr(vec![ME, OTHER]);
        assert_eq!(leader.local_progress(Offset(10)), None);
        assert_eq!(leader.follower_progress(OTHER, Offset(6)), Some(Offset(6)));
    }

    #[test]
    fn below_min_isr_it_stands_still() {
        let mut leader = leader(&[ME], 2);
        assert!(!leader.enough_in_sync());
        assert_eq!(leader.local_progress(Offset(10)), None);
        assert_eq!(leader.set_min_isr(1), Some(Offset(10)));
    }
}
