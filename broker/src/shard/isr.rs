//! The in-sync sets of the partitions that this core leads: who lags is proposed to leave, who caught up to join.
//!
//! Owns when it is looked, what is asked of the quorum, and what its answers mean. Leaves the rules to `replication/leader.rs`,
//! the decision to `metadata/isr.rs`. One proposal per partition is undecided at a time, and one request per core: what
//! is found meanwhile goes with the next.

use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::select;
use protocol::ErrorCode;
use protocol::ids::{NodeId, TopicPartition};

use super::Shard;
use super::partitions::Partition;
use crate::metadata::image::MetadataImage;
use crate::metadata::{IsrChange, ItemError, PartitionState, Reply, Request};
use crate::rt;

/// How long the quorum may take to decide.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the quorum is left alone after it could not decide.
const AGAIN: Duration = Duration::from_millis(200);
/// Partitions in one request.
const BATCH: usize = 2_000;
/// A proposal whose fate was unknown once, and which was refused later, counts for so much longer: the first request may
/// still be on its way to the quorum.
const LATE: Duration = Duration::from_secs(15);

impl Shard {
    /// Runs for as long as the core lives.
    pub(super) async fn run_isr(self: Rc<Self>) {
        let mut undecided: BTreeSet<TopicPartition> = BTreeSet::new();
        let look_every = self.options.replica_lag_max / 2;
        let mut look_at_all = rt::now() + look_every;
        loop {
            let told = self.shared.isr_wanted.wait();
            let mut about = self.shared.isr_wanted.take();
            if rt::now() >= look_at_all {
                look_at_all = rt::now() + look_every;
                about.extend(self.all_partitions().iter().map(|partition| partition.id));
            }
            about.append(&mut undecided);
            let changes = self.changes(about);
            if changes.is_empty() {
                select(pin!(told), pin!(rt::sleep_until(look_at_all))).await;
                continue;
            }
            undecided = self.propose(changes).await;
            if !undecided.is_empty() {
                rt::sleep(AGAIN).await;
            }
        }
    }

    /// What to ask for, at most one request full. What does not fit is told again.
    fn changes(&self, about: BTreeSet<TopicPartition>) -> Vec<(Rc<Partition>, IsrChange)> {
        let image = self.image();
        let mut changes = Vec::new();
        for id in about {
            if changes.len() == BATCH {
                self.shared.isr_wanted.tell(id);
                continue;
            }
            let Some(partition) = self.partition(&id) else {
                continue;
            };
            if let Some(change) = partition.isr_change(&image, self.options.replica_lag_max) {
                changes.push((partition, change));
            }
        }
        changes
    }

    /// Asks the quorum. Returns the partitions whose proposals are not decided.
    async fn propose(self: &Rc<Self>, changes: Vec<(Rc<Partition>, IsrChange)>) -> BTreeSet<TopicPartition> {
        let node = self.options.node_id;
        let broker_epoch = self.image().broker(node).map_or(-1, |broker| broker.epoch);
        let request = Request::AlterPartition {
            node,
            broker_epoch,
            changes: changes.iter().map(|(_, change)| change.clone()).collect(),
        };
        let replies = match self.submit(request, WITHIN).await {
            Ok(Reply::AlterPartition(Ok(replies))) => replies,
            Ok(Reply::AlterPartition(Err(error))) | Err(error) => {
                tracing::warn!(partitions = changes.len(), %error.message, "in-sync sets were not changed; tried again");
                return changes.iter().map(|(partition, _)| partition.id).collect();
            }
            Ok(_) => return BTreeSet::new(),
        };
        let mut undecided = BTreeSet::new();
        for ((partition, change), reply) in changes.iter().zip(replies) {
            if !self.decided(partition, change, reply) {
                undecided.insert(partition.id);
            }
        }
        undecided
    }

    /// Acts on the answer for one partition; false if it leaves open what became of the proposal.
    fn decided(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        change: &IsrChange,
        reply: Result<PartitionState, ItemError>,
    ) -> bool {
        match reply {
            Ok(state) => {
                tracing::info!(
                    topic = %partition.topic, partition = partition.id.partition, isr = ?state.isr, "the in-sync set changed"
                );
                // The image that says so was installed before this answer came; if it says nothing new, there was nothing
                // to change.
                partition.withdraw_proposal(change.partition_epoch);
                true
            }
            // The image that says what it is at now is on its way, and decides the proposal.
            Err(error) if error.code == ErrorCode::InvalidUpdateVersion => true,
            Err(error) => {
                tracing::info!(topic = %partition.topic, partition = partition.id.partition, %error.message, "in-sync set");
                let (partition, epoch) = (partition.clone(), change.partition_epoch);
                let late = partition.isr_retried.get();
                if !late {
                    partition.withdraw_proposal(epoch);
                }
                rt::spawn(async move {
                    if late {
                        rt::sleep(LATE).await;
                        partition.withdraw_proposal(epoch);
                    }
                    // Others may have come meanwhile, and say nothing more if nothing is appended.
                    rt::sleep(AGAIN).await;
                    partition.shared.isr_wanted.tell(partition.id);
                })
                .detach();
                true
            }
        }
    }
}

impl Partition {
    /// The change to ask for, if this broker leads and one is due: an undecided one is asked for again.
    fn isr_change(&self, image: &MetadataImage, lag_max: Duration) -> Option<IsrChange> {
        if self.is_offline() || self.cutting.get() {
            return None;
        }
        let at = self.moment(rt::now());
        let mut leader = self.leader.borrow_mut();
        let leader = leader.as_mut()?;
        let epoch_of = |node: NodeId| image.broker(node).map(|broker| broker.epoch);
        let wanted = match leader.proposed_isr() {
            Some(proposed) => {
                self.isr_retried.set(true);
                proposed.to_vec()
            }
            None => {
                let eligible = |node: NodeId, reported: i64| {
                    image
                        .broker(node)
                        .is_some_and(|broker| broker.serves() && broker.epoch == reported)
                };
                let wanted = leader.wanted_isr(at, lag_max, eligible)?;
                leader.propose_isr(wanted.clone());
                self.isr_retried.set(false);
                wanted
            }
        };
        let isr = wanted.into_iter().map(|node| {
            // Who joins, joins in the life in which it reported; who was in it before, is in it by the image.
            let joins = !leader.isr().contains(&node);
            let reported = joins.then(|| leader.broker_epoch(node));
            (node, reported.or_else(|| epoch_of(node)).unwrap_or(-1))
        });
        Some(IsrChange {
            partition: self.id,
            leader_epoch: leader.epoch(),
            partition_epoch: leader.partition_epoch(),
            isr: isr.collect(),
        })
    }

    /// What was proposed from `partition_epoch` on did not become true, and will not.
    fn withdraw_proposal(&self, partition_epoch: i32) {
        let moved = self
            .leader
            .borrow_mut()
            .as_mut()
            .filter(|leader| leader.partition_epoch() == partition_epoch)
            .and_then(|leader| leader.proposal_refused());
        self.high_watermark_moved(moved);
    }
}
