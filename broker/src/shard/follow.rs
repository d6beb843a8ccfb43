//! A partition that follows: what it asks its leader for, taking what comes, and cutting where histories part.
//!
//! Owns the follower's rules on its core. Leaves asking and the wire to the replication sessions, decisions to
//! `replication/follower.rs`, bytes and files to `log/`. Nothing here waits.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use protocol::ids::{LeaderEpoch, NodeId, Offset};

use super::Shard;
use super::partitions::Partition;
use crate::log::checkpoint::Name;
use crate::log::{AppendError, TruncateJob};
use crate::metadata::image::PartitionImage;
use crate::replication::epochs::EpochEnd;
use crate::replication::follower::{Following, OutOfRange, cut_at, out_of_range};
use crate::rt;

/// How long a disk that did not take the checkpoint files is left alone.
const CUT_AGAIN: Duration = Duration::from_millis(500);

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

/// Whom a replica follows. A copy of what the image said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Follows {
    leader: NodeId,
    epoch: LeaderEpoch,
    /// As it said last. Ours is never above it.
    leader_high_watermark: Offset,
}

/// How a log is cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// What lies at and above it goes.
    To(Offset),
    /// Everything goes; the log begins there.
    Anew(Offset),
}

impl Partition {
    /// What it would ask its leader for now. None while it leads, is truncated, has no leader, or is offline.
    pub fn following(&self) -> Option<Following> {
        let follows = self.follows_now()?;
        let log = self.log().ok()?;
        let offsets = log.offsets();
        Some(Following {
            leader: follows.leader,
            leader_epoch: follows.epoch,
            fetch_offset: offsets.log_end,
            last_fetched_epoch: log.last_record_epoch().map_or(-1, |epoch| epoch.0),
            log_start: offsets.log_start,
            synced: match self.shared.faults.report_unsynced {
                true => offsets.log_end,
                false => log.ready(),
            },
        })
    }

    fn follows_now(&self) -> Option<Follows> {
        self.follows
            .get()
            .filter(|_| !self.cutting.get() && !self.giving_up.get() && !self.is_offline())
    }

    /// The same, for what came from a leader under `sent`.
    fn follows_under(&self, sent: LeaderEpoch) -> Result<Follows, FollowError> {
        let follows = self.follows_now().ok_or(FollowError::NotFollowing)?;
        if follows.epoch != sent {
            return Err(FollowError::OtherEpoch {
                sent,
                current: follows.epoch,
            });
        }
        Ok(follows)
    }

    /// Follows `leader` from now on, or nobody. True if that is news.
    pub(super) fn follow(&self, leader: Option<(NodeId, LeaderEpoch)>) -> bool {
        let old = self.follows.get();
        let same = old.map(|follows| (follows.leader, follows.epoch)) == leader;
        if !same {
            self.follows.set(leader.map(|(leader, epoch)| Follows {
                leader,
                epoch,
                leader_high_watermark: Offset::ZERO,
            }));
            // Consumers that read from this replica learn where to go from here.
            self.watchers.wake_all();
        }
        !same
    }

    /// It has more, or its leader has committed more: what consumers may read here is what both say.
    pub(super) fn follower_progressed(&self) {
        let Some(follows) = self.follows.get() else { return };
        let upto = follows.leader_high_watermark.min(self.local_position());
        let moved = self.log_mut().is_ok_and(|mut log| log.set_high_watermark(upto));
        if moved {
            self.watchers.reached(upto);
        }
    }
}

impl Shard {
    /// Every partition of this core that follows now. Changes are told through [`Shard::follow_changed`].
    pub fn followed(&self) -> Vec<Rc<Partition>> {
        let mut all = self.all_partitions();
        all.retain(|partition| partition.following().is_some());
        // The map's own order is nobody's.
        all.sort_unstable_by_key(|partition| partition.id);
        all
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
        let follows = partition.follows_under(leader_epoch)?;
        if !records.is_empty() {
            let mut log = partition.log_mut().map_err(|_| FollowError::NotFollowing)?;
            log.append_as_follower(&records, rt::wall_ms())?;
            drop(log);
            partition.unsettled.set(true);
            self.rounds.mark_dirty(partition);
            if partition.shared.faults.report_unsynced {
                self.synced_progress.tell(partition.id);
            }
        }
        partition.follows.set(Some(Follows {
            leader_high_watermark,
            ..follows
        }));
        partition.follower_progressed();
        if let Ok(mut log) = partition.log_mut() {
            log.set_log_start(leader_log_start);
        }
        Ok(())
    }

    /// The leader says that histories part: starts cutting, by epoch. Until it is done `following()` is None; then
    /// [`Shard::follow_changed`] tells.
    pub fn follow_truncate(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        leader_epoch: LeaderEpoch,
        leader: EpochEnd,
    ) -> Result<(), FollowError> {
        partition.follows_under(leader_epoch)?;
        let to = {
            let log = partition.log().map_err(|_| FollowError::NotFollowing)?;
            let mine = log.epoch_end_offset(leader.epoch);
            let mine = mine.map(|(epoch, end_offset)| EpochEnd { epoch, end_offset });
            cut_at(leader, mine, log.offsets().log_end)
        };
        self.given_up_to_leader(partition, to);
        self.begin_cut(partition, Cut::To(to));
        Ok(())
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
        partition.follows_under(leader_epoch)?;
        let log_end = {
            let log = partition.log().map_err(|_| FollowError::NotFollowing)?;
            log.offsets().log_end
        };
        match out_of_range(log_end, leader_start, leader_end) {
            OutOfRange::StartAnew(at) => self.begin_cut(partition, Cut::Anew(at)),
            OutOfRange::Truncate(to) => {
                self.given_up_to_leader(partition, to);
                self.begin_cut(partition, Cut::To(to));
            }
            OutOfRange::AskAgain => {}
        }
        Ok(())
    }

    /// Says which records are lost, where the leader misses some that were acknowledged: only an unclean one does.
    fn given_up_to_leader(&self, partition: &Partition, to: Offset) {
        let committed = partition.high_watermark();
        if to < committed {
            let log_end = partition.log().map_or(committed, |log| log.offsets().log_end);
            let count = |from: Offset, to: Offset| u64::try_from(to - from).unwrap_or(0);
            let certain = &self.counters.acknowledged_records_given_up;
            certain.fetch_add(count(to, committed), Relaxed);
            let rest = &self.counters.unsettled_records_given_up;
            rest.fetch_add(count(committed, log_end), Relaxed);
            tracing::error!(
                topic = %partition.topic, partition = partition.id.partition, from = %to, to = %committed, at_most = %log_end,
                "acknowledged records are given up: the leader, elected uncleanly, misses them; this replica knows that those \
                 below `to` were acknowledged, those below `at_most` may have been"
            );
        }
    }

    /// Makes a partition what the image says it is, and tells the sessions if they have to look again.
    pub(super) fn apply_state(self: &Rc<Self>, partition: &Rc<Partition>, state: &PartitionImage) {
        let me = self.options.node_id;
        let before = partition.led();
        let changed = if state.leader == Some(me) && self.own_epoch(&self.image()).is_none() {
            // It is meant for another process of this node id: the one before this, or one that took its place.
            let nobody = PartitionImage {
                leader: None,
                ..state.clone()
            };
            partition.apply_state(me, &nobody)
        } else {
            partition.apply_state(me, state)
        };
        if let Some(now) = partition.led() {
            self.counters.led(before.as_ref(), &now);
        }
        if changed {
            self.follow_changed.tell(partition.id);
        }
        if changed && partition.shared.faults.truncate_by_high_watermark && partition.following().is_some() {
            self.begin_cut(partition, Cut::To(partition.high_watermark()));
        }
    }

    pub(super) fn begin_cut(self: &Rc<Self>, partition: &Rc<Partition>, cut: Cut) {
        let (topic, number) = (&partition.topic, partition.id.partition);
        let committed = partition.high_watermark();
        tracing::info!(%topic, partition = number, %committed, ?cut, "cut a log, to follow its leader from there");
        partition.cutting.set(true);
        self.follow_changed.tell(partition.id);
        let (shard, partition) = (self.clone(), partition.clone());
        rt::spawn(async move { shard.cut(&partition, cut).await }).detach();
    }

    /// Cuts once no round is owed, then goes on as what the newest image says. A log that fails meanwhile, or is deleted,
    /// is left as it is.
    async fn cut(self: &Rc<Self>, partition: &Rc<Partition>, cut: Cut) {
        let Some((name, job)) = self.cut_job(partition, cut).await else {
            return;
        };
        let checkpoints = self.dirs[partition.dir].checkpoints.clone();
        checkpoints.set(name.clone(), job.checkpoint_before());
        loop {
            let write = checkpoints.clone();
            let Err(error) = rt::blocking(move || write.write()).await else {
                break;
            };
            tracing::error!(topic = %partition.topic, %error, "write the checkpoint files before a cut; tried again");
            rt::sleep(CUT_AGAIN).await;
        }
        let truncated = job.run().await;
        let Ok(finished) = partition
            .log_mut()
            .map(|mut log| log.finish_truncation(truncated))
        else {
            return;
        };
        if let Err(error) = finished {
            tracing::error!(topic = %partition.topic, partition = partition.id.partition, %error, "cut a log");
            return self.take_dir_offline(partition.dir);
        }
        if let Ok(log) = partition.log() {
            checkpoints.set(name, log.checkpoint_data());
        }
        partition.unsettled.set(true);
        partition.cutting.set(false);
        partition.progressed();
        if let Some(state) = self
            .image()
            .partition(partition.id.topic_id, partition.id.partition)
        {
            self.apply_state(partition, state);
        }
        self.follow_changed.tell(partition.id);
    }

    async fn cut_job(&self, partition: &Rc<Partition>, cut: Cut) -> Option<(Name, TruncateJob)> {
        loop {
            let settled = partition.settled.wait();
            {
                let mut log = partition.log_mut().ok()?;
                let now_ms = rt::wall_ms();
                let job = match cut {
                    Cut::To(to) => log.truncate_to(to, now_ms),
                    Cut::Anew(at) => log.start_anew(at, now_ms),
                };
                if let Ok(job) = job {
                    return Some((log.name().key(), job));
                }
                if log.failed().is_some() {
                    return None;
                }
            }
            if partition.is_dirty() {
                self.rounds.mark_dirty(partition);
            }
            settled.await;
        }
    }
}

impl From<AppendError> for FollowError {
    fn from(error: AppendError) -> FollowError {
        match error {
            AppendError::Elsewhere { expected, found } => FollowError::Elsewhere { expected, found },
            AppendError::DiskFull => FollowError::DiskFull,
            AppendError::Failed(reason) => FollowError::Storage(reason),
            AppendError::Truncating => FollowError::NotFollowing,
            error => FollowError::Damaged(error.to_string()),
        }
    }
}
