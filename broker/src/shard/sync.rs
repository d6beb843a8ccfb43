//! Durability rounds: the group commit of one core.
//!
//! At most one round runs at a time. It takes every dirty log with the end it has at that moment, writes each new range with
//! one write and one fdatasync, all of them at once, and moves `synced` when they return. What became dirty meanwhile is
//! the next round, which starts at once. A failed write or sync takes the log directory offline: nothing is retried and
//! hoped for, because the kernel may have dropped the pages it could not write.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;

use super::Shard;
use super::partitions::Partition;
use crate::log::RoundError;
use crate::rt;
use crate::rt::local::Notify;

/// How long a full disk is left alone before the next try.
const RETRY_FULL_DISK: Duration = Duration::from_millis(500);

/// What is dirty on one core.
#[derive(Default)]
pub struct Rounds {
    dirty: RefCell<Vec<Rc<Partition>>>,
    wanted: Notify,
    running: Cell<bool>,
    idle: Notify,
}

impl Rounds {
    /// The partition has bytes that no round has taken yet.
    pub fn mark_dirty(&self, partition: &Rc<Partition>) {
        if !partition.dirty.replace(true) {
            self.dirty.borrow_mut().push(partition.clone());
            self.wanted.notify_one();
        }
    }

    /// Takes all that is dirty for one round.
    fn take(&self) -> Vec<Rc<Partition>> {
        let taken = self.dirty.take();
        for partition in &taken {
            partition.dirty.set(false);
        }
        taken
    }

    fn is_quiet(&self) -> bool {
        !self.running.get() && self.dirty.borrow().is_empty()
    }
}

impl Shard {
    /// Runs rounds for as long as the core lives.
    pub async fn run_rounds(self: Rc<Self>) {
        loop {
            let taken = self.rounds.take();
            if taken.is_empty() {
                self.rounds.idle.notify_one();
                self.rounds.wanted.notified().await;
                continue;
            }
            self.rounds.running.set(true);
            self.round(taken).await;
            self.rounds.running.set(false);
        }
    }

    /// Resolves when nothing is dirty and no round runs. Used on the way down, when no new appends arrive.
    pub async fn flushed(&self) {
        while !self.rounds.is_quiet() {
            self.rounds.idle.notified().await;
        }
    }

    async fn round(self: &Rc<Self>, taken: Vec<Rc<Partition>>) {
        self.counters.round(taken.len() as u64);
        self.counters.waits_for_disk(Some(rt::now()));
        join_all(taken.into_iter().map(|partition| self.sync_one(partition))).await;
        self.counters.waits_for_disk(None);
    }

    /// One log's part of a round. The log is not borrowed while its bytes are on the way.
    async fn sync_one(self: &Rc<Self>, partition: Rc<Partition>) {
        let job = partition.log_mut().ok().and_then(|mut log| log.begin_round());
        let Some(job) = job else { return };
        let done = job.run().await;
        // A slow disk that goes on is no stalled one.
        self.counters.waits_for_disk(Some(rt::now()));
        // A log that was deleted meanwhile has nobody left to tell.
        let Ok(finished) = partition.log_mut().map(|mut log| log.finish_round(done)) else {
            return;
        };
        match finished {
            Ok(_) => {
                partition.progressed();
                if partition.follows.get().is_some() {
                    self.synced_progress.tell(partition.id);
                }
                if partition.is_dirty() {
                    // Appended meanwhile, or more than one round takes at once.
                    self.rounds.mark_dirty(&partition);
                }
            }
            Err(RoundError::DiskFull(error)) => self.no_room(partition, &error),
            Err(RoundError::Failed(error)) => self.round_failed(&partition, &error),
        }
    }

    /// What did not fit is still in memory and was promised to nobody: producers are refused, and the write is tried again
    /// after a while. It succeeds when retention, a deletion or a person made room.
    fn no_room(self: &Rc<Self>, partition: Rc<Partition>, error: &io::Error) {
        let dir = &self.dirs[partition.dir];
        if !dir.full.replace(true) {
            tracing::error!(dir = %dir.path.display(), %error, "the disk is full; producers are refused until there is room");
        }
        let shard = self.clone();
        rt::spawn(async move {
            rt::sleep(RETRY_FULL_DISK).await;
            shard.rounds.mark_dirty(&partition);
        })
        .detach();
    }

    fn round_failed(self: &Rc<Self>, partition: &Rc<Partition>, error: &io::Error) {
        let dir = &self.dirs[partition.dir];
        tracing::error!(
            topic = %partition.topic, partition = partition.id.partition, dir = %dir.path.display(), %error,
            "a write to the log failed; the log directory is taken offline"
        );
        self.take_dir_offline(partition.dir);
    }
}
