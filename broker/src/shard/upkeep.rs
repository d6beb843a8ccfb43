//! What a core does on the clock, beside serving: retention, checkpoints, looking at the free space of its disks; and the
//! last things before it ends.
//!
//! Leaves which segments go to `log/retention`, what a checkpoint holds to `log/maintenance` and `log/checkpoint`.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join4;
use futures::stream::{StreamExt, iter};

use super::Shard;
use super::partitions::Partition;
use crate::rt;

/// How often free space is looked at: a producer at full speed must not get through the reserve in between.
const LOOK_AT_DISK: Duration = Duration::from_secs(1);
/// Logs checkpointed or closed at once.
const AT_ONCE: usize = 16;

impl Shard {
    /// Runs for as long as the core lives.
    pub(super) async fn run_upkeep(self: Rc<Self>) {
        join4(
            self.clone().watch_disks(),
            self.clone().retain(),
            self.clone().expire_producers(),
            self.checkpoint_now_and_then(),
        )
        .await;
    }

    /// Refuses producers before a disk is full, so that consumers, deletions and the metadata log can go on; lets them in
    /// again by itself.
    async fn watch_disks(self: Rc<Self>) {
        loop {
            for dir in &self.dirs {
                let (disk, path) = (self.disk.clone(), dir.path.clone());
                match rt::blocking(move || disk.space(&path)).await {
                    Ok(space) => self.judge(dir, space.free),
                    Err(error) => tracing::warn!(dir = %dir.path.display(), %error, "look at the free space"),
                }
            }
            rt::sleep(LOOK_AT_DISK).await;
        }
    }

    fn judge(&self, dir: &super::LogDir, free: u64) {
        let full = free < self.options.disk_reserve_bytes;
        if dir.full.replace(full) != full {
            let dir = dir.path.display();
            if full {
                tracing::warn!(%dir, free, "little space is left; producers are refused until there is more");
            } else {
                tracing::info!(%dir, free, "there is space again; producers are served");
            }
        }
    }

    async fn retain(self: Rc<Self>) {
        loop {
            rt::sleep(self.options.retention_check).await;
            let now_ms = rt::wall_ms();
            for partition in self.all_partitions() {
                self.retain_one(&partition, now_ms);
                rt::yield_now().await;
            }
        }
    }

    async fn expire_producers(self: Rc<Self>) {
        loop {
            rt::sleep(self.options.producers_check).await;
            let now_ms = rt::wall_ms();
            for partition in self.all_partitions() {
                if let Ok(mut log) = partition.log_mut() {
                    log.expire_producers(now_ms);
                }
                rt::yield_now().await;
            }
        }
    }

    /// Lets go of what a partition's limits no longer keep. The files go later, in the background.
    fn retain_one(&self, partition: &Rc<Partition>, now_ms: i64) {
        let Ok(mut log) = partition.log_mut() else { return };
        let job = log.retention(now_ms);
        drop(log);
        if partition.is_dirty() || job.is_some() {
            partition.unsettled.set(true);
        }
        if partition.is_dirty() {
            // Retention may close the active segment; its index is a round's business.
            self.rounds.mark_dirty(partition);
        }
        let Some(job) = job else { return };
        tracing::info!(
            topic = %partition.topic, partition = partition.id.partition, log_start = %job.log_start(), bytes = job.bytes(),
            "old segments go"
        );
        let checkpoints = self.dirs[partition.dir].checkpoints.clone();
        let topic = partition.topic.clone();
        rt::spawn(async move {
            if let Err(error) = job.run(&checkpoints).await {
                tracing::warn!(%topic, %error, "remove old segments");
            }
        })
        .detach();
    }

    async fn checkpoint_now_and_then(self: Rc<Self>) {
        loop {
            rt::sleep(self.options.checkpoint_every).await;
            let done = iter(self.all_partitions()).map(|partition| self.checkpoint_one(partition));
            let done: Vec<bool> = done.buffer_unordered(AT_ONCE).collect().await;
            if done.contains(&true) {
                self.write_checkpoints().await;
            }
        }
    }

    /// Puts down what makes the next start of one log short; true if something did change.
    async fn checkpoint_one(&self, partition: Rc<Partition>) -> bool {
        let job = partition.log_mut().ok().and_then(|mut log| log.checkpoint());
        let Some(job) = job else { return false };
        let done = job.run().await;
        self.checkpointed(&partition, done)
    }

    fn checkpointed(&self, partition: &Partition, done: io::Result<crate::log::Checkpointed>) -> bool {
        let Ok(mut log) = partition.log_mut() else {
            return false;
        };
        let checkpoint = log.finish_checkpoint(done);
        let failed = log.failed().is_some();
        let name = log.name().key();
        drop(log);
        match checkpoint {
            Ok(checkpoint) => {
                self.dirs[partition.dir].checkpoints.set(name, checkpoint);
                partition.progressed();
                true
            }
            Err(error) => {
                tracing::error!(topic = %partition.topic, partition = partition.id.partition, %error, "checkpoint a log");
                partition.settled.notify_all();
                if failed {
                    self.take_dir_offline(partition.dir);
                }
                false
            }
        }
    }

    async fn write_checkpoints(&self) {
        for dir in self.dirs.iter().filter(|dir| !dir.offline.get()) {
            let checkpoints = dir.checkpoints.clone();
            if let Err(error) = rt::blocking(move || checkpoints.write()).await {
                tracing::warn!(dir = %dir.path.display(), %error, "write the checkpoint files");
            }
        }
    }

    /// The last things before a clean stop, when nothing is appended any more: the last round, then every log is closed and
    /// checkpointed. True if all of it worked, so that the directories may be marked as cleanly left.
    pub async fn finish(self: &Rc<Self>) -> bool {
        self.flushed().await;
        let closed = iter(self.all_partitions()).map(|partition| self.close_one(partition));
        let closed: Vec<bool> = closed.buffer_unordered(AT_ONCE).collect().await;
        // The files themselves are written once for all cores, by the thread that stops them.
        !closed.contains(&false)
    }

    async fn close_one(&self, partition: Rc<Partition>) -> bool {
        if !partition.unsettled.get() {
            // Nothing happened to it since a clean start: its files are what closing would leave.
            return true;
        }
        let job = match partition.log_mut().map(|mut log| log.close()) {
            // Deleted: nothing of it is left to be closed.
            Err(_) => return true,
            Ok(Err(busy)) => {
                tracing::warn!(topic = %partition.topic, partition = partition.id.partition, "close a log: {busy}");
                return false;
            }
            Ok(Ok(job)) => job,
        };
        let done = job.run().await;
        self.checkpointed(&partition, done)
    }
}
