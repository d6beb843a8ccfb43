//! New logs by the hundred: laid out without a sync each, made durable together, then opened like logs found at start.
//!
//! A log made alone costs five syncs, so ten thousand of them took longer than any client waits for CreateTopics. Owns:
//! from how many on that pays and what happens when it fails. Leaves single logs to `replicas.rs`, files to `log/`.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;

use futures::stream::{StreamExt, iter};
use protocol::TopicPartition;

use super::Shard;
use super::replicas::FoundLog;
use super::topic_config::TopicConfig;
use crate::log::{Log, LogConfig, LogName, RecoverFrom, Recovered};
use crate::metadata::image::TopicImage;
use crate::rt;
use crate::rt::file::Disk;

/// Below it logs are made one by one: a sync of the whole file system also waits for what others wrote to it.
const TOGETHER_FROM: usize = 32;
/// Logs made by one job of the blocking pool.
const CHUNK: usize = 256;
/// Jobs under way at once per core.
const CHUNKS_AT_ONCE: usize = 2;

/// A partition that this core is to hold and does not hold yet.
pub(super) struct Missing {
    pub(super) topic: Arc<TopicImage>,
    pub(super) id: TopicPartition,
    pub(super) config: Rc<TopicConfig>,
}

/// A log to make, without what only its own core may touch.
struct Plan {
    found: FoundLog,
    config: LogConfig,
}

impl Shard {
    /// Makes the logs among `missing` that were not found at start, if they are many, and leaves them with those that
    /// were. One that fails stays to be made, and to fail with its reason, by itself.
    pub(super) async fn make_together(&self, missing: &[Missing]) {
        let plans = self.plan(missing);
        if plans.len() < TOGETHER_FROM {
            return;
        }
        let dirs: BTreeSet<usize> = plans.iter().map(|plan| plan.found.dir).collect();
        let laid_out = self.in_chunks(plans, lay_out).await;
        if laid_out.is_empty() {
            return;
        }
        for dir in dirs {
            let (disk, path) = (self.disk.clone(), self.dirs[dir].path.clone());
            if let Err(error) = rt::blocking(move || disk.sync_tree(&path)).await {
                tracing::error!(%error, "make new logs durable");
                self.take_dir_offline(dir);
            }
        }
        let durable = laid_out
            .into_iter()
            .filter(|plan| !self.dirs[plan.found.dir].offline.get())
            .collect();
        let opened = self.in_chunks(durable, open).await;
        let mut unclaimed = self.unclaimed.borrow_mut();
        unclaimed.extend(opened.into_iter().map(|log| (log.0.id(), log)));
    }

    fn plan(&self, missing: &[Missing]) -> Vec<Plan> {
        let unclaimed = self.unclaimed.borrow();
        let mut planned = vec![0; self.dirs.len()];
        let now_ms = rt::wall_ms();
        let mut plans = Vec::new();
        for Missing { topic, id, config } in missing {
            let Some(dir) = self
                .roomiest_dir(&planned)
                .filter(|_| !unclaimed.contains_key(id))
            else {
                continue;
            };
            planned[dir] += 1;
            let name = LogName {
                topic: topic.name.clone(),
                partition: id.partition,
                topic_id: id.topic_id,
            };
            let found = FoundLog {
                path: self.dirs[dir].path.join(name.directory()),
                name,
                dir,
                from: RecoverFrom {
                    clean: true,
                    checkpoint: None,
                    now_ms,
                },
            };
            plans.push(Plan {
                found,
                config: config.log.clone(),
            });
        }
        plans
    }

    async fn in_chunks<R: Send + 'static>(
        &self,
        plans: Vec<Plan>,
        job: fn(&Disk, Vec<Plan>) -> Vec<R>,
    ) -> Vec<R> {
        let mut left = plans.into_iter();
        let mut chunks = Vec::new();
        loop {
            let chunk: Vec<Plan> = left.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        let jobs = chunks.into_iter().map(|chunk| {
            let disk = self.disk.clone();
            rt::blocking(move || job(&disk, chunk))
        });
        let done: Vec<Vec<R>> = iter(jobs).buffered(CHUNKS_AT_ONCE).collect().await;
        done.into_iter().flatten().collect()
    }
}

/// Those that could be laid out.
fn lay_out(disk: &Disk, plans: Vec<Plan>) -> Vec<Plan> {
    let mut failed = Failed::default();
    let lay_out_one = |plan: &Plan| {
        let laid_out = Log::lay_out(disk, &plan.found.path, &plan.found.name);
        failed.note(laid_out).is_some()
    };
    let laid_out = plans.into_iter().filter(lay_out_one).collect();
    failed.say("lay out");
    laid_out
}

/// Those that could be opened.
fn open(disk: &Disk, plans: Vec<Plan>) -> Vec<(FoundLog, Recovered)> {
    let mut failed = Failed::default();
    let open_one = |Plan { found, config }| {
        let recovered = Log::recover(disk, &found.path, &found.name, &config, found.from);
        failed.note(recovered).map(|recovered| (found, recovered))
    };
    let opened = plans.into_iter().filter_map(open_one).collect();
    failed.say("open");
    opened
}

/// How many of a chunk failed, and why the first did: hundreds of equal lines would help nobody.
#[derive(Default)]
struct Failed {
    count: usize,
    first: Option<String>,
}

impl Failed {
    fn note<T, E: Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        let error = match outcome {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        self.count += 1;
        self.first.get_or_insert_with(|| error.to_string());
        None
    }

    fn say(&self, what: &str) {
        if let Some(first) = &self.first {
            tracing::warn!(
                logs = self.count,
                first,
                "{what} new logs together: these are tried one by one"
            );
        }
    }
}
