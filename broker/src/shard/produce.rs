//! Appending on the core that owns a partition, and answering when the records are as durable as the producer asked.
//!
//! Owns the order (arrival order in this core's inbox), the acks rules and the promise line. Leaves batch checks to
//! `api/produce` (done on the connection's core) and offsets, sequences and bytes to `log/`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use protocol::ids::{Offset, TopicPartition};

use super::Shard;
use super::error::PartitionError;
use super::partitions::Partition;
use super::waiters::Pending;
use crate::rt;
use crate::rt::local::Question;

/// What a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing; nobody is told. The frame's memory is still held until the bytes are written.
    None,
    /// The leader's own durability round.
    Leader,
    /// Every in-sync replica: the high watermark has passed.
    All,
}

/// The partitions of one produce request that live on one core.
pub struct Produce {
    /// What to wait for.
    pub acks: Acks,
    /// How long to wait for it.
    pub timeout: Duration,
    /// Validated batches, each a slice of the request's frame.
    pub parts: Vec<ProducePart>,
}

/// Records for one partition.
pub struct ProducePart {
    /// Where they go.
    pub partition: TopicPartition,
    /// One or more whole batches, header and checksum checked.
    pub batches: Bytes,
}

/// Where records ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The broker's timestamp if the topic asks for one, else -1.
    pub log_append_time: i64,
    /// First offset of the log.
    pub log_start: Offset,
}

/// Outcome of one part.
pub type PartOutcome = Result<Placed, PartitionError>;

/// A produce whose parts are appended and may still wait for durability.
pub struct Appended {
    acks: Acks,
    timeout: Duration,
    outcomes: Vec<PartOutcome>,
    targets: Vec<Option<Rc<Partition>>>,
    pending: Rc<Pending>,
    settled: Question<()>,
}

impl Shard {
    /// Appends all parts, in order, before it returns; `Appended::settle` waits for the slowest of them.
    pub fn begin_produce(self: &Rc<Self>, produce: Produce) -> Appended {
        let (pending, settled) = Pending::new();
        let mut outcomes = Vec::with_capacity(produce.parts.len());
        let mut targets = Vec::with_capacity(produce.parts.len());
        for (index, part) in produce.parts.into_iter().enumerate() {
            let target = self.partition(&part.partition);
            outcomes.push(match &target {
                Some(target) => self.append(target, part.batches, produce.acks, &pending, index),
                None => Err(PartitionError::Unknown),
            });
            targets.push(target);
        }
        Appended {
            acks: produce.acks,
            timeout: produce.timeout,
            outcomes,
            targets,
            pending,
            settled,
        }
    }

    /// Appends to one partition and registers what must happen before it counts as done.
    fn append(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        batches: Bytes,
        acks: Acks,
        pending: &Rc<Pending>,
        index: usize,
    ) -> PartOutcome {
        let placed = self.append_now(partition, batches, acks)?;
        if !self.options.answer_before_sync {
            partition.wait_durable(placed.last_offset, acks, pending, index);
        }
        Ok(placed)
    }

    /// Appends records of this broker itself (group commits) and waits until they are below the high watermark.
    pub async fn append_committed(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        batches: Bytes,
    ) -> Result<Placed, PartitionError> {
        let (pending, settled) = Pending::new();
        let placed = self.append(partition, batches, Acks::All, &pending, 0)?;
        if !pending.is_settled() {
            let _ = settled.await;
        }
        if let Some((_, error)) = pending.take_failures().pop() {
            return Err(error);
        }
        promise(partition, &placed);
        Ok(placed)
    }
}

impl Drop for Appended {
    /// Answered in time or late, or its client has left: nothing of it stays behind.
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

impl Appended {
    /// Waits until every part is as durable as asked, has failed, or the producer's time is up.
    pub async fn settle(mut self) -> Vec<PartOutcome> {
        if !self.pending.is_settled() && rt::timeout(self.timeout, &mut self.settled).await.is_err() {
            // Kafka's meaning of the timeout: the records may well become durable, but this answer does not say so.
            self.fail_unsettled();
        }
        for (index, error) in self.pending.take_failures() {
            self.outcomes[index] = Err(error);
        }
        for (outcome, target) in self.outcomes.iter().zip(&self.targets) {
            if let (Ok(placed), Some(target)) = (outcome, target)
                && self.acks != Acks::None
            {
                promise(target, placed);
            }
        }
        std::mem::take(&mut self.outcomes)
    }

    /// Takes what still waits off the partitions.
    fn stop_waiting(&self) {
        if self.pending.is_settled() {
            return;
        }
        for (outcome, target) in self.outcomes.iter().zip(&self.targets) {
            if let (Ok(placed), Some(target)) = (outcome, target) {
                target.stop_waiting(placed.last_offset, self.acks, &self.pending);
            }
        }
    }

    /// Marks the parts that did not get where they should in time.
    fn fail_unsettled(&mut self) {
        self.stop_waiting();
        for (outcome, target) in self.outcomes.iter_mut().zip(&self.targets) {
            if let (Ok(placed), Some(target)) = (&outcome, target)
                && !target.is_durable(placed.last_offset, self.acks)
            {
                *outcome = Err(PartitionError::TimedOut);
            }
        }
    }
}

/// The line at which a produce answer leaves: from here on the records must survive a power cut, and a recording disk
/// checks that they do.
fn promise(partition: &Partition, placed: &Placed) {
    partition.promise(placed.last_offset);
}
