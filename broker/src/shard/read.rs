//! Reading on the core that owns a partition: what is there now, and telling a waiting fetch when there is more.
//!
//! Deals out the bytes before it reads. Leaves sessions, long polls and the wire to `api/fetch`, bytes to `log/reader`.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use protocol::{LeaderEpoch, NodeId, Offset, TopicPartition};

use super::Shard;
use super::cold::{LITTLE, Room};
use super::error::PartitionError;
use super::partitions::Partition;
use super::waiters::Watch;
use crate::log::{ReadJob, ReadPlan};
use crate::replication::epochs::{self, EpochEnd};

/// The partitions of one fetch that live on one core.
pub struct Read {
    /// In the order in which bytes are dealt out.
    pub parts: Vec<ReadPart>,
    /// This core's share of the answer.
    pub max_bytes: usize,
    /// Return the first batch found even if it is larger than `max_bytes`, so that a reader always gets on.
    pub first_batch_always: bool,
    /// A replica that follows may answer.
    pub any_replica: bool,
    /// Where the consumer is, if it says so and a nearer replica may be named to it.
    pub rack: Option<Arc<str>>,
}

/// One partition to read.
pub struct ReadPart {
    /// Which one.
    pub partition: TopicPartition,
    /// First offset wanted.
    pub offset: Offset,
    /// Bytes wanted of it.
    pub max_bytes: usize,
    /// Leader epoch the reader knows, or -1.
    pub leader_epoch: i32,
    /// Epoch of the last record the reader has, or -1.
    pub last_fetched_epoch: i32,
}

/// What a partition gives.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whole batches, the first holding `offset`; empty if nothing is there yet.
    pub records: Bytes,
    /// First offset that may not be read yet.
    pub high_watermark: Offset,
    /// First offset that no open transaction can still change; the high watermark while transactions are not served.
    pub last_stable: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// Set when the reader holds records that this log does not: where it must go back to. No records then.
    pub diverging: Option<EpochEnd>,
    /// A replica nearer to the reader, which should ask there. No records then (KIP-392).
    pub preferred: Option<NodeId>,
}

impl Found {
    /// Whether the reader should hear of it even without records: it has to go elsewhere, or back.
    pub fn is_news(&self) -> bool {
        self.diverging.is_some() || self.preferred.is_some()
    }
}

/// Reply for one partition.
pub type ReadReply = Result<Found, PartitionError>;

/// A fetch that has nothing yet and wants to hear of more.
pub struct Watching {
    /// Names this watch among all of its asker's.
    pub ticket: WatchTicket,
    /// Partitions and the high watermark the asker has seen of each, with the asker's own numbering.
    pub parts: Vec<(usize, TopicPartition, Offset)>,
}

/// Who asked, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchTicket {
    /// The asking core.
    pub asker: u16,
    /// A number that core never used before.
    pub number: u64,
}

enum Planned {
    Now(ReadReply),
    Later {
        partition: Rc<Partition>,
        found: Found,
        job: ReadJob,
        /// Bytes the job may return.
        most: usize,
    },
}

impl Shard {
    /// Reads what is there now of each part.
    pub async fn read(self: &Rc<Self>, read: Read) -> Vec<ReadReply> {
        let mut left = read.max_bytes;
        let mut first_always = read.first_batch_always;
        let planned: Vec<Planned> = read
            .parts
            .iter()
            .map(|part| {
                let planned = self.plan_read(&read, part, left, first_always);
                let size = planned.size();
                left = left.saturating_sub(size);
                first_always &= size == 0;
                planned
            })
            .collect();
        let jobs = self.with_room(planned).await;
        // Cold reads of several partitions go to the disk together.
        futures::future::join_all(jobs).await
    }

    /// Finds room for what has to be read from files. The first part waits for it; the others come with the next fetch if
    /// there is none, since what they would wait for may be this fetch's own.
    async fn with_room(&self, planned: Vec<Planned>) -> Vec<impl Future<Output = ReadReply> + use<>> {
        let is_found =
            |planned: &Planned| matches!(planned, Planned::Now(Ok(found)) if !found.records.is_empty());
        let has_some = planned.iter().any(is_found);
        let mut already = 0;
        let mut reads = Vec::with_capacity(planned.len());
        for planned in planned {
            reads.push(match planned {
                Planned::Now(reply) => finish_read(reply, None),
                Planned::Later {
                    partition,
                    found,
                    job,
                    ..
                } => {
                    let bytes = job.largest_read();
                    let room = match self.cold_reads.at_once(bytes, already) {
                        None if !has_some && already == 0 => Some(self.cold_reads.room(bytes).await),
                        room => room,
                    };
                    already += room.as_ref().map_or(0, |_| bytes);
                    finish_read(Ok(found), room.map(|room| (partition, job, room)))
                }
            });
        }
        reads
    }

    fn plan_read(&self, read: &Read, part: &ReadPart, left: usize, first_always: bool) -> Planned {
        let Some(partition) = self.partition(&part.partition) else {
            return Planned::Now(Err(PartitionError::Unknown));
        };
        let may = match read.any_replica {
            true => partition.check_replica_of(part.leader_epoch),
            false => partition.check_leader(part.leader_epoch),
        };
        let planned = may.and_then(|()| {
            let rack = read.rack.as_deref();
            let preferred = rack.and_then(|rack| {
                partition.preferred_replica(&self.image(), self.options.node_id, rack, part.offset)
            });
            plan(&partition, part, left, first_always, preferred)
        });
        planned.unwrap_or_else(|error| Planned::Now(Err(error)))
    }

    /// Resolves when one of the watched partitions has passed what the asker has seen, or is not what it was.
    pub async fn watch(self: &Rc<Self>, watching: Watching) -> Vec<usize> {
        let (watch, fired) = Watch::new();
        let mut watched = Vec::with_capacity(watching.parts.len());
        for (index, tp, seen) in watching.parts {
            match self.partition(&tp) {
                Some(partition) if partition.high_watermark() == seen && !partition.is_offline() => {
                    partition.watchers.add(&watch, index, seen);
                    watched.push(partition);
                }
                _ => watch.fire(index),
            }
        }
        let registered = Registered {
            shard: self.clone(),
            ticket: watching.ticket,
            watch,
            watched,
        };
        self.watches
            .borrow_mut()
            .insert(watching.ticket, registered.watch.clone());
        let _ = fired.await;
        registered.watch.take_moved()
    }

    /// Ends a watch whose asker no longer waits.
    pub fn unwatch(&self, ticket: &WatchTicket) {
        if let Some(watch) = self.watches.borrow_mut().remove(ticket) {
            watch.cancel();
        }
    }
}

/// Takes the watch off its partitions however the waiting ends.
struct Registered {
    shard: Rc<Shard>,
    ticket: WatchTicket,
    watch: Rc<Watch>,
    watched: Vec<Rc<Partition>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        for partition in &self.watched {
            partition.watchers.remove(&self.watch);
        }
        self.shard.watches.borrow_mut().remove(&self.ticket);
    }
}

impl Planned {
    /// Bytes this part will take of the answer.
    fn size(&self) -> usize {
        match self {
            Planned::Now(Ok(found)) => found.records.len(),
            Planned::Now(Err(_)) => 0,
            Planned::Later { most, .. } => *most,
        }
    }
}

async fn finish_read(reply: ReadReply, job: Option<(Rc<Partition>, ReadJob, Room)>) -> ReadReply {
    let mut found = reply?;
    if let Some((partition, job, room)) = job {
        let job = match room.whole {
            true => job,
            false => job.up_to(LITTLE),
        };
        let records = partition.noticed(job.run().await)?;
        found.records = room.hold(records);
    }
    Ok(found)
}

/// Decides what to read of one partition, without touching the disk.
fn plan(
    partition: &Rc<Partition>,
    part: &ReadPart,
    left: usize,
    first_always: bool,
    preferred: Option<NodeId>,
) -> Result<Planned, PartitionError> {
    let log = partition.log()?;
    let offsets = log.offsets();
    let mut found = Found {
        records: Bytes::new(),
        high_watermark: offsets.high_watermark,
        last_stable: offsets.high_watermark,
        log_start: offsets.log_start,
        diverging: None,
        preferred: None,
    };
    if part.last_fetched_epoch >= 0 {
        // A reader of records under an epoch that this log never had can go back to nothing that both share.
        let (epoch, end_offset) =
            log.epoch_end_offset(LeaderEpoch(part.last_fetched_epoch))
                .ok_or(PartitionError::OutOfRange {
                    start: offsets.log_start,
                    end: offsets.log_end,
                })?;
        found.diverging = epochs::diverging(
            part.last_fetched_epoch,
            part.offset,
            EpochEnd { epoch, end_offset },
        );
        if found.diverging.is_some() {
            return Ok(Planned::Now(Ok(found)));
        }
    }
    if part.offset < offsets.log_start || part.offset > offsets.log_end {
        return Err(PartitionError::OutOfRange {
            start: offsets.log_start,
            end: offsets.log_end,
        });
    }
    if preferred.is_some() {
        found.preferred = preferred;
        return Ok(Planned::Now(Ok(found)));
    }
    let max_bytes = part.max_bytes.min(left);
    if part.offset >= offsets.high_watermark || (max_bytes == 0 && !first_always) {
        return Ok(Planned::Now(Ok(found)));
    }
    Ok(
        match log.read(part.offset, max_bytes, offsets.high_watermark, first_always)? {
            ReadPlan::Empty => Planned::Now(Ok(found)),
            ReadPlan::Cached(records) => {
                found.records = records;
                Planned::Now(Ok(found))
            }
            ReadPlan::Cold(job) => Planned::Later {
                partition: partition.clone(),
                found,
                job,
                most: max_bytes,
            },
        },
    )
}
