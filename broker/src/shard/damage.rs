//! Replicas with records that their disk does not hold any more: given up and fetched again from another replica, where
//! there is one; refused to readers and kept as they are where there is none.
//!
//! Found when a log is opened and when somebody reads. Owns when the quorum is asked and what follows. The order is what
//! keeps promises: the replica stops following, the quorum takes it out of the in-sync set under a new leader epoch
//! (`metadata/damaged.rs`), and only then is anything cut. Leaves judging bytes to `log/`, cutting to `follow.rs`.

use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::select;
use protocol::ids::{Offset, TopicPartition};

use super::Shard;
use super::error::PartitionError;
use super::follow::Cut;
use super::partitions::Partition;
use crate::log::ReadError;
use crate::metadata::damaged::others_have_it;
use crate::metadata::{DamagedReplica, ItemError, Reply, Request};
use crate::rt;

/// How long the quorum may take to decide.
const WITHIN: Duration = Duration::from_secs(5);
/// How often replicas that could not be given up are looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// Replicas in one request.
const BATCH: usize = 2_000;

impl Partition {
    /// Takes note that its log is damaged at `offset`, and says so once.
    pub(super) fn found_damage(&self, offset: Offset, reason: &str) {
        if self.damaged.get().is_some_and(|known| known <= offset) {
            return;
        }
        self.damaged.set(Some(offset));
        self.shared.damaged.tell(self.id);
        tracing::error!(
            topic = %self.topic, partition = self.id.partition, %offset, reason,
            "records on this broker's disk are damaged; they are fetched again if another replica has them, refused to \
             readers otherwise: look after the disk"
        );
    }

    /// Retention may be faster than everything else.
    fn forget_damage_below_the_start(&self) {
        let start = self.log().map_or(Offset::ZERO, |log| log.offsets().log_start);
        if self.damaged.get().is_some_and(|offset| offset < start) {
            let left = self
                .log()
                .ok()
                .and_then(|log| log.damage().first().map(|damage| damage.from));
            self.damaged.set(left.filter(|offset| *offset >= start));
        }
    }

    /// What a read came to; a damaged place is remembered.
    pub(super) fn noticed<T>(&self, read: Result<T, ReadError>) -> Result<T, PartitionError> {
        if let Err(ReadError::Corrupt { at, reason }) = &read {
            self.found_damage(*at, reason);
        }
        read.map_err(PartitionError::from)
    }
}

impl Shard {
    /// Runs for as long as the core lives.
    pub(super) async fn run_damaged(self: Rc<Self>) {
        let mut open: BTreeSet<TopicPartition> = BTreeSet::new();
        loop {
            let told = self.shared.damaged.wait();
            open.append(&mut self.shared.damaged.take());
            self.give_up_damaged(&open).await;
            open.retain(|id| {
                self.partition(id)
                    .is_some_and(|found| found.damaged.get().is_some())
            });
            self.counters.replicas_damaged.store(open.len() as u64, Relaxed);
            match open.is_empty() {
                true => told.await,
                false => _ = select(told, pin!(rt::sleep(AGAIN))).await,
            }
        }
    }

    async fn give_up_damaged(self: &Rc<Self>, open: &BTreeSet<TopicPartition>) {
        let (image, node) = (self.image(), self.options.node_id);
        let Some(broker_epoch) = image
            .broker(node)
            .filter(|own| own.incarnation_id == self.options.incarnation_id)
            .map(|own| own.epoch)
        else {
            return;
        };
        let replica = |id: &TopicPartition| {
            let partition = self.partition(id).filter(|found| !found.cutting.get())?;
            partition.forget_damage_below_the_start();
            partition.damaged.get()?;
            let leader_epoch = image.partition(id.topic_id, id.partition)?.leader_epoch;
            let replica = DamagedReplica {
                partition: *id,
                leader_epoch,
            };
            others_have_it(&image, node, id).then_some((partition, replica))
        };
        let (partitions, damaged): (Vec<Rc<Partition>>, Vec<DamagedReplica>) =
            open.iter().filter_map(replica).take(BATCH).unzip();
        if partitions.is_empty() {
            return;
        }
        for partition in &partitions {
            // From here on it says nothing of its progress that a leader of the next epoch could hear.
            partition.giving_up.set(true);
            self.follow_changed.tell(partition.id);
        }
        let request = Request::GiveUpDamaged {
            node,
            broker_epoch,
            damaged,
        };
        let replies = match self.submit(request, WITHIN).await {
            Ok(Reply::GiveUpDamaged(Ok(replies))) => replies,
            Ok(Reply::GiveUpDamaged(Err(error))) | Err(error) => vec![Err(error); partitions.len()],
            Ok(_) => Vec::new(),
        };
        for (partition, reply) in partitions.iter().zip(replies) {
            self.given_up(partition, reply);
        }
        for partition in partitions {
            partition.giving_up.set(false);
            self.follow_changed.tell(partition.id);
        }
    }

    /// The quorum has decided; the image that says so is installed.
    fn given_up(self: &Rc<Self>, partition: &Rc<Partition>, reply: Result<(), ItemError>) {
        let (topic, number) = (&partition.topic, partition.id.partition);
        if let Err(error) = reply {
            return tracing::warn!(
                %topic, partition = number, %error.message, "a damaged replica stays as it is; tried again"
            );
        }
        let (image, node) = (self.image(), self.options.node_id);
        let state = image.partition(partition.id.topic_id, partition.id.partition);
        let is_out = state.is_some_and(|state| {
            state.leader != Some(node) && !state.isr.contains(&node) && !state.elr.contains(&node)
        });
        if !is_out || partition.cutting.get() {
            return;
        }
        if let Some(from) = partition.damaged.take() {
            self.counters.damaged_replicas_refetched.fetch_add(1, Relaxed);
            tracing::warn!(%topic, partition = number, %from, "a damaged replica left the in-sync set and is fetched again");
            self.begin_cut(partition, Cut::To(from));
        }
    }
}
