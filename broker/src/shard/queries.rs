//! Questions about a partition's offsets, on the core that owns it: by timestamp, by name (earliest, latest), by epoch.
//!
//! Leaves looking into indexes to `log/` and the wire to `api/list_offsets` and `api/offset_for_leader_epoch`.

use std::rc::Rc;
use std::sync::Arc;

use protocol::ids::{LeaderEpoch, Offset, TopicPartition};

use super::Shard;
use super::error::PartitionError;
use super::partitions::Partition;
use crate::log::SearchJob;
use crate::replication::epochs::EpochEnd;

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first record at or after this time, milliseconds since 1970.
    AtTime(i64),
    /// First offset of the log.
    Earliest,
    /// First offset that may not be read yet.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// Last offset that lives on remote storage: none here.
    LatestTiered,
}

/// One question of ListOffsets.
pub struct OffsetQuery {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Leader epoch the asker knows, or -1.
    pub leader_epoch: i32,
    /// Which offset.
    pub wanted: Wanted,
}

/// An offset, with what is known about the record there; timestamp -1 and no epoch where there is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    /// The offset, -1 if no record matches.
    pub offset: i64,
    /// The record's timestamp, or -1.
    pub timestamp: i64,
    /// The record's leader epoch.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// No record matches.
const NOTHING: OffsetFound = OffsetFound {
    offset: -1,
    timestamp: -1,
    leader_epoch: None,
};

/// Reply to an [`OffsetQuery`].
pub type OffsetReply = Result<OffsetFound, PartitionError>;

/// One question of OffsetForLeaderEpoch.
pub struct EpochQuery {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Leader epoch the asker knows to be current, or -1.
    pub current_epoch: i32,
    /// The epoch whose end is asked for.
    pub epoch: LeaderEpoch,
}

/// Reply to an [`EpochQuery`]; none if the log knows no such epoch.
pub type EpochReply = Result<Option<EpochEnd>, PartitionError>;

/// The replicas of one core in one log directory.
#[derive(Clone, Debug, Default)]
pub struct DirReplicas {
    /// The directory failed: nothing in it is served.
    pub offline: bool,
    /// In no order.
    pub replicas: Vec<ReplicaSize>,
}

/// One replica on this broker.
#[derive(Clone, Debug)]
pub struct ReplicaSize {
    /// Name of its topic.
    pub topic: Arc<str>,
    /// Of which partition.
    pub partition: i32,
    /// Bytes of its log files.
    pub size: u64,
    /// Records it lacks of those that are known to be committed.
    pub lag: i64,
}

impl Shard {
    /// The replicas of this core, by log directory in the order of `log.dirs`.
    pub(super) fn replicas(&self) -> Vec<DirReplicas> {
        let offline = self.dirs.iter().map(|dir| DirReplicas {
            offline: dir.offline.get(),
            replicas: Vec::new(),
        });
        let mut found: Vec<DirReplicas> = offline.collect();
        for partition in self.all_partitions() {
            let Ok(log) = partition.log() else { continue };
            let offsets = log.offsets();
            found[partition.dir].replicas.push(ReplicaSize {
                topic: partition.topic.clone(),
                partition: partition.id.partition,
                size: log.size(),
                lag: (offsets.high_watermark - offsets.log_end).max(0),
            });
        }
        found
    }

    /// Answers each query in order.
    pub async fn list_offsets(self: &Rc<Self>, queries: Vec<OffsetQuery>) -> Vec<OffsetReply> {
        let mut replies = Vec::with_capacity(queries.len());
        for query in queries {
            replies.push(self.find_offset(&query).await);
        }
        replies
    }

    async fn find_offset(self: &Rc<Self>, query: &OffsetQuery) -> OffsetReply {
        let partition = self.partition(&query.partition).ok_or(PartitionError::Unknown)?;
        partition.check_leader(query.leader_epoch)?;
        if query.wanted == Wanted::Latest && partition.is_behind_its_epoch() {
            return Err(PartitionError::Moved);
        }
        let offsets = partition.log()?.offsets();
        let plain = |offset: Offset, leader_epoch| OffsetFound {
            offset: offset.0,
            timestamp: -1,
            leader_epoch,
        };
        match query.wanted {
            Wanted::Latest => Ok(plain(offsets.high_watermark, partition.leader_epoch())),
            Wanted::Earliest => Ok(plain(offsets.log_start, epoch_of(&partition, offsets.log_start))),
            Wanted::LatestTiered => Ok(NOTHING),
            Wanted::AtTime(time) => {
                let job = partition
                    .log()?
                    .offset_for_timestamp(time, offsets.high_watermark);
                search(&partition, job).await
            }
            Wanted::MaxTimestamp => {
                let job = partition.log()?.max_timestamp(offsets.high_watermark);
                search(&partition, job).await
            }
        }
    }

    /// Answers each query in order.
    pub fn epoch_ends(&self, queries: &[EpochQuery]) -> Vec<EpochReply> {
        let answer = |query: &EpochQuery| {
            let partition = self.partition(&query.partition).ok_or(PartitionError::Unknown)?;
            partition.check_leader(query.current_epoch)?;
            let end = partition.log()?.epoch_end_offset(query.epoch);
            Ok(end.map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }))
        };
        queries.iter().map(answer).collect()
    }
}

/// Runs a search that the log planned; without one no record matches.
async fn search(partition: &Partition, job: Option<SearchJob>) -> OffsetReply {
    let found = match job {
        Some(job) => partition.noticed(job.run().await)?,
        None => None,
    };
    Ok(found.map_or(NOTHING, |found| OffsetFound {
        offset: found.offset.0,
        timestamp: found.timestamp,
        leader_epoch: Some(found.leader_epoch),
    }))
}

/// The leader epoch of the record at `offset`, if there is one.
fn epoch_of(partition: &Partition, offset: Offset) -> Option<LeaderEpoch> {
    let log = partition.log().ok()?;
    let started = log
        .epochs()
        .entries()
        .iter()
        .rev()
        .find(|(_, start)| *start <= offset);
    started
        .map(|(epoch, _)| *epoch)
        .filter(|_| offset < log.offsets().log_end)
}
