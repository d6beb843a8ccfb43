//! The leader's side of one partition: who has synced how far, what that makes the high watermark, and who belongs into the
//! ISR.
//!
//! Owns the replica set, the ISR (with a proposed one while a change is pending) and every replica's progress. Leaves the
//! log and the waiters to `shard/partitions.rs`, which feeds progress in and acts on a moved high watermark, and proposing to
//! `shard/isr.rs`. Times are durations since a moment that is the same for all calls.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::ids::{LeaderEpoch, NodeId, Offset};

/// What the metadata says about a partition that this broker leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Under which epoch.
    pub epoch: LeaderEpoch,
    /// Goes up with every change of the partition's state, also of its ISR alone.
    pub partition_epoch: i32,
    /// All replicas, this broker's among them.
    pub replicas: Vec<NodeId>,
    /// Those that are in sync.
    pub isr: Vec<NodeId>,
    /// How many replicas there are to be; those that a reassignment brings count when it is complete.
    pub copies: usize,
}

/// The moment of a report, and where the leader's log ended then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since a moment that is the same for all calls.
    pub now: Duration,
    /// The leader's log end.
    pub log_end: Offset,
}

/// Leadership state of one partition on its leader. Lives on the core that owns the partition.
#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    committed: Leadership,
    proposed_isr: Option<Vec<NodeId>>,
    min_isr: usize,
    /// Every replica but this one.
    followers: BTreeMap<NodeId, Follower>,
    local: Offset,
    high_watermark: Offset,
    /// Where the log ended when this epoch began: who has not come so far may lack what an earlier leader committed.
    epoch_start: Offset,
}

/// What is known of one follower under this leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Follower {
    /// Of the broker's registration under which it reported.
    broker_epoch: i64,
    /// It asked at an offset up to which its history is ours. What it says before counts for nothing: it may have synced
    /// records that this log never had.
    same_history: bool,
    /// What it says it has synced.
    claimed: Offset,
    /// What counts of it.
    synced: Offset,
    /// When it last had all there was.
    caught_up: Duration,
    /// Of its last report.
    reported: Moment,
}

impl Follower {
    fn new(at: Moment) -> Follower {
        Follower {
            broker_epoch: -1,
            same_history: false,
            claimed: Offset::ZERO,
            synced: Offset::ZERO,
            caught_up: at.now,
            reported: at,
        }
    }

    fn counts(&mut self, upto: Offset, at: Moment) {
        self.synced = self.synced.max(upto.min(at.log_end));
        if self.synced >= at.log_end {
            self.caught_up = at.now;
        } else if self.synced >= self.reported.log_end {
            // It has what there was at its last report: under steady load it never has all there is now.
            self.caught_up = self.reported.now;
        }
        self.reported = at;
    }
}

impl Leader {
    /// Takes over leadership. `high_watermark` is the last one this replica knew; it never moves back from there.
    pub fn new(
        me: NodeId,
        leadership: Leadership,
        min_isr: usize,
        high_watermark: Offset,
        at: Moment,
    ) -> Leader {
        let mut leader = Leader {
            me,
            committed: leadership,
            proposed_isr: None,
            min_isr,
            followers: BTreeMap::new(),
            local: Offset::ZERO,
            high_watermark,
            epoch_start: at.log_end,
        };
        leader.meet_followers(at);
        leader
    }

    fn meet_followers(&mut self, at: Moment) {
        let replicas = &self.committed.replicas;
        self.followers.retain(|node, _| replicas.contains(node));
        for node in replicas.iter().filter(|node| **node != self.me) {
            self.followers.entry(*node).or_insert_with(|| Follower::new(at));
        }
    }

    /// The epoch under which this leader appends.
    pub fn epoch(&self) -> LeaderEpoch {
        self.committed.epoch
    }

    /// The epoch of the partition's state, which a proposal has to name.
    pub fn partition_epoch(&self) -> i32 {
        self.committed.partition_epoch
    }

    /// First offset that is not yet on every in-sync replica.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether an earlier leader may have committed, and shown to somebody, more than this one knows to be committed: until
    /// the followers have answered, the end of what may be read must not be told (KIP-207).
    pub fn is_behind(&self) -> bool {
        self.high_watermark < self.epoch_start
    }

    /// In-sync followers that have everything below `offset`, the one with the most first.
    pub fn followers_with(&self, offset: Offset) -> Vec<NodeId> {
        let mut found: Vec<(Offset, NodeId)> = self
            .followers
            .iter()
            .filter(|(node, follower)| follower.synced >= offset && self.committed.isr.contains(node))
            .map(|(node, follower)| (follower.synced, *node))
            .collect();
        found.sort_unstable_by_key(|(synced, node)| (std::cmp::Reverse(*synced), *node));
        found.into_iter().map(|(_, node)| node).collect()
    }

    /// Replicas counted as in sync now.
    pub fn isr(&self) -> &[NodeId] {
        &self.committed.isr
    }

    /// Whether `node` holds a replica.
    pub fn is_replica(&self, node: NodeId) -> bool {
        self.followers.contains_key(&node)
    }

    /// Whether enough replicas are in sync for an `acks=all` append to be accepted. More than there are is not asked for.
    pub fn enough_in_sync(&self) -> bool {
        let wanted = self.min_isr.min(self.committed.copies).max(1);
        self.committed.isr.len() >= wanted
    }

    /// A changed `min.insync.replicas`. Lowering it may let the high watermark go on.
    pub fn set_min_isr(&mut self, min_isr: usize) -> Option<Offset> {
        self.min_isr = min_isr;
        self.advance()
    }

    /// The metadata quorum committed a new state. Under a new epoch all that followers said is forgotten: leadership may
    /// have been elsewhere in between, and their logs may have been cut since.
    pub fn commit(&mut self, leadership: Leadership, at: Moment) -> Option<Offset> {
        if leadership.epoch != self.committed.epoch {
            self.followers.clear();
            self.epoch_start = at.log_end;
            self.proposed_isr = None;
        }
        if leadership.partition_epoch != self.committed.partition_epoch {
            self.proposed_isr = None;
        }
        self.committed = leadership;
        self.meet_followers(at);
        self.advance()
    }

    /// What should be proposed as the new ISR, if it is not the present one and no proposal is undecided: without those that
    /// have not had all there was for longer than `lag_max`, with those that have synced what is committed, and what there
    /// was when this leader began. `eligible`: the broker serves, in the life (broker epoch) in which it reported.
    pub fn wanted_isr(
        &mut self,
        at: Moment,
        lag_max: Duration,
        eligible: impl Fn(NodeId, i64) -> bool,
    ) -> Option<Vec<NodeId>> {
        if self.proposed_isr.is_some() {
            return None;
        }
        let mut wanted = Vec::with_capacity(self.committed.replicas.len());
        for node in &self.committed.replicas {
            let Some(follower) = self.followers.get_mut(node) else {
                wanted.push(*node);
                continue;
            };
            if follower.synced >= at.log_end {
                // Nothing was appended: a follower that has everything has nothing to report.
                follower.caught_up = at.now;
            }
            let is_in = self.committed.isr.contains(node);
            let stays = is_in && at.now.saturating_sub(follower.caught_up) <= lag_max;
            let joins = !is_in
                && follower.same_history
                && follower.synced >= self.high_watermark
                && follower.synced >= self.epoch_start
                && eligible(*node, follower.broker_epoch);
            if stays || joins {
                wanted.push(*node);
            }
        }
        let same =
            wanted.len() == self.committed.isr.len() && wanted.iter().all(|n| self.committed.isr.contains(n));
        (!same).then_some(wanted)
    }

    /// Whether a proposal to let `node` in is worth looking for: it is cheap, and asked at every report.
    pub fn may_join(&self, node: NodeId) -> bool {
        self.proposed_isr.is_none()
            && !self.committed.isr.contains(&node)
            && self
                .followers
                .get(&node)
                .is_some_and(|f| f.synced >= self.high_watermark && f.synced >= self.epoch_start)
    }

    /// An ISR change is on its way to the quorum: until it is decided both sets count, so that neither outcome can have
    /// exposed a record that a member lacks (KIP-497).
    pub fn propose_isr(&mut self, isr: Vec<NodeId>) {
        self.proposed_isr = Some(isr);
    }

    /// The proposed ISR, while it is undecided.
    pub fn proposed_isr(&self) -> Option<&[NodeId]> {
        self.proposed_isr.as_deref()
    }

    /// The proposal was refused for good: it never became true, and never will. Only to be called when that is certain.
    pub fn proposal_refused(&mut self) -> Option<Offset> {
        self.proposed_isr = None;
        self.advance()
    }

    /// What this broker itself promises has reached `upto` (synced bytes, or written ones under `flush.policy=async`).
    /// Returns the new high watermark if it moved.
    pub fn local_progress(&mut self, upto: Offset) -> Option<Offset> {
        self.local = self.local.max(upto);
        self.advance()
    }

    /// The follower asked at `fetch_offset`, and up to there its history is ours. Returns the new high watermark if what it
    /// said before, and counts only now, moved it.
    pub fn follower_fetched(
        &mut self,
        node: NodeId,
        broker_epoch: i64,
        fetch_offset: Offset,
        at: Moment,
    ) -> Option<Offset> {
        let follower = self.follower(node, broker_epoch, at)?;
        if !follower.same_history {
            follower.same_history = true;
            follower.counts(follower.claimed.min(fetch_offset), at);
        }
        self.advance()
    }

    /// The follower holds records that this log does not: it has to be cut before anything it says counts.
    pub fn follower_diverged(&mut self, node: NodeId, broker_epoch: i64, at: Moment) {
        if let Some(follower) = self.follower(node, broker_epoch, at) {
            follower.same_history = false;
        }
    }

    /// A follower says that it has synced up to `upto`. Returns the new high watermark if it moved.
    pub fn follower_synced(
        &mut self,
        node: NodeId,
        broker_epoch: i64,
        upto: Offset,
        at: Moment,
    ) -> Option<Offset> {
        let follower = self.follower(node, broker_epoch, at)?;
        follower.claimed = follower.claimed.max(upto);
        if follower.same_history {
            follower.counts(upto, at);
        }
        self.advance()
    }

    /// The follower in its life `broker_epoch`; a new life begins with nothing, an old one is not heard.
    fn follower(&mut self, node: NodeId, broker_epoch: i64, at: Moment) -> Option<&mut Follower> {
        let follower = self.followers.get_mut(&node)?;
        if broker_epoch < follower.broker_epoch {
            return None;
        }
        if broker_epoch > follower.broker_epoch {
            *follower = Follower {
                broker_epoch,
                caught_up: follower.caught_up,
                ..Follower::new(at)
            };
        }
        Some(follower)
    }

    fn position(&self, node: NodeId) -> Offset {
        if node == self.me {
            return self.local;
        }
        self.followers
            .get(&node)
            .map_or(Offset::ZERO, |follower| follower.synced)
    }

    /// The life in which `node` reported last, -1 if it never did.
    pub fn broker_epoch(&self, node: NodeId) -> i64 {
        self.followers
            .get(&node)
            .map_or(-1, |follower| follower.broker_epoch)
    }

    /// The smallest progress over the union of the committed and the proposed ISR; it stands still below `min_isr`
    /// (KIP-966) and never moves back.
    fn advance(&mut self) -> Option<Offset> {
        if !self.enough_in_sync() {
            return None;
        }
        let proposed = self.proposed_isr.iter().flatten();
        let reached = self
            .committed
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
    const LAG: Duration = Duration::from_secs(30);

    fn at(seconds: u64, log_end: i64) -> Moment {
        Moment {
            now: Duration::from_secs(seconds),
            log_end: Offset(log_end),
        }
    }

    fn state(isr: &[NodeId], partition_epoch: i32) -> Leadership {
        Leadership {
            epoch: LeaderEpoch(0),
            partition_epoch,
            replicas: vec![ME, OTHER, THIRD],
            isr: isr.to_vec(),
            copies: 3,
        }
    }

    fn leader(isr: &[NodeId], min_isr: usize) -> Leader {
        Leader::new(ME, state(isr, 0), min_isr, Offset::ZERO, at(0, 0))
    }

    fn synced(leader: &mut Leader, node: NodeId, upto: i64, moment: Moment) -> Option<Offset> {
        let fetched = leader.follower_fetched(node, 7, Offset(upto), moment);
        leader.follower_synced(node, 7, Offset(upto), moment).or(fetched)
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
        assert_eq!(synced(&mut leader, OTHER, 4, at(1, 10)), Some(Offset(4)));
        assert_eq!(
            synced(&mut leader, THIRD, 9, at(1, 10)),
            None,
            "not in the ISR, does not count"
        );
        assert_eq!(leader.commit(state(&[ME], 1), at(1, 10)), Some(Offset(10)));
    }

    #[test]
    fn while_a_change_is_pending_both_sets_count() {
        let mut leader = leader(&[ME], 1);
        leader.propose_isr(vec![ME, OTHER]);
        assert_eq!(leader.local_progress(Offset(10)), None);
        assert_eq!(synced(&mut leader, OTHER, 6, at(1, 10)), Some(Offset(6)));
        assert_eq!(
            leader.commit(state(&[ME], 0), at(1, 10)),
            None,
            "the same state again decides nothing"
        );
        assert_eq!(leader.proposal_refused(), Some(Offset(10)));
    }

    #[test]
    fn below_min_isr_it_stands_still() {
        let mut leader = leader(&[ME], 2);
        assert!(!leader.enough_in_sync());
        assert_eq!(leader.local_progress(Offset(10)), None);
        assert_eq!(leader.set_min_isr(1), Some(Offset(10)));
    }

    #[test]
    fn what_a_follower_says_counts_only_once_its_history_is_known_to_be_ours() {
        let mut leader = leader(&[ME, OTHER], 1);
        leader.local_progress(Offset(10));
        assert_eq!(leader.follower_synced(OTHER, 7, Offset(8), at(1, 10)), None);
        leader.follower_diverged(OTHER, 7, at(1, 10));
        assert_eq!(
            leader.follower_fetched(OTHER, 7, Offset(3), at(1, 10)),
            Some(Offset(3)),
            "after its cut it had three of the eight"
        );
        assert_eq!(
            leader.follower_synced(OTHER, 6, Offset(9), at(1, 10)),
            None,
            "an earlier life"
        );
        assert_eq!(
            leader.follower_synced(OTHER, 7, Offset(9), at(1, 10)),
            Some(Offset(9))
        );
        assert_eq!(
            leader.follower_synced(OTHER, 8, Offset(10), at(1, 10)),
            None,
            "a new life"
        );
    }

    #[test]
    fn who_lags_leaves_and_who_caught_up_joins() {
        let all = |_, _| true;
        let mut leader = leader(&[ME, OTHER], 1);
        leader.local_progress(Offset(10));
        synced(&mut leader, OTHER, 10, at(10, 10));
        assert_eq!(leader.wanted_isr(at(30, 10), LAG, all), None);
        assert_eq!(leader.wanted_isr(at(50, 20), LAG, all), None);
        assert_eq!(leader.wanted_isr(at(61, 20), LAG, all), Some(vec![ME]));
        synced(&mut leader, THIRD, 9, at(61, 20));
        assert_eq!(
            leader.wanted_isr(at(61, 20), LAG, all),
            Some(vec![ME]),
            "below the high watermark"
        );
        synced(&mut leader, THIRD, 10, at(61, 20));
        assert!(leader.may_join(THIRD));
        assert_eq!(leader.wanted_isr(at(61, 20), LAG, all), Some(vec![ME, THIRD]));
        assert_eq!(leader.wanted_isr(at(61, 20), LAG, |_, _| false), Some(vec![ME]));
        leader.propose_isr(vec![ME, THIRD]);
        assert_eq!(leader.wanted_isr(at(61, 20), LAG, all), None, "one at a time");
        leader.commit(state(&[ME, THIRD], 1), at(61, 20));
        assert!(leader.proposed_isr().is_none());
    }

    #[test]
    fn under_steady_load_having_what_there_was_at_the_last_report_is_enough() {
        let mut leader = leader(&[ME, OTHER], 1);
        for second in 1..100 {
            let moment = at(second, second as i64 * 10);
            synced(&mut leader, OTHER, second as i64 * 10 - 10, moment);
            assert_eq!(leader.wanted_isr(moment, LAG, |_, _| true), None);
        }
    }

    #[test]
    fn a_new_epoch_forgets_what_followers_said() {
        let mut leader = leader(&[ME, OTHER], 1);
        leader.local_progress(Offset(10));
        synced(&mut leader, OTHER, 5, at(1, 10));
        let next = Leadership {
            epoch: LeaderEpoch(2),
            ..state(&[ME, OTHER], 2)
        };
        assert_eq!(leader.commit(next, at(2, 10)), None);
        assert_eq!(leader.follower_synced(OTHER, 7, Offset(8), at(2, 10)), None);
        assert_eq!(leader.high_watermark(), Offset(5));
    }
}
