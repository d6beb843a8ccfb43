//! Scenarios of whole logs, on both engines. `uring` is left out, with a line that says why, only where the start ladder
//! refuses it.

mod crash;
mod deletion;
mod failure;
mod model;
mod reads;

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use protocol::record::batch::{BatchBuilder, batches};
use protocol::record::compression::Compression;
use protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};

use super::checkpoint::{Checkpoint, DirectoryCheckpoints};
use super::*;
use crate::rt::cores::CorePlan;
use crate::rt::file::Disk;
use crate::rt::{self, Engine, IoEngine, LocalBoxFuture, PanicPolicy, probe};

const NOW: i64 = 1_700_000_000_000;
const EPOCH: LeaderEpoch = LeaderEpoch(3);

/// Runs a scenario on every engine there is here.
fn on_engines<F>(scenario: impl Fn() -> F + Send + Clone + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut engines = vec![Engine::Posix];
    match probe::choose(IoEngine::Uring, 1) {
        Ok(_) => engines.push(Engine::Uring),
        Err(refused) => println!("not run on uring: {refused}"),
    }
    for engine in engines {
        println!("{engine}");
        rt::on_shard_panic(PanicPolicy::Report);
        let scenario = scenario.clone();
        let main = move |_| -> LocalBoxFuture<'static, ()> { Box::pin(scenario()) };
        if let Err(panicked) = rt::start(engine, &CorePlan::unpinned(1), main).unwrap().join() {
            panic!("{panicked}");
        }
    }
}

/// One log directory with one log in it.
struct Rig {
    /// Keeps the directory; `None` when the caller keeps it.
    _temporary: Option<tempfile::TempDir>,
    root: PathBuf,
    disk: Disk,
    config: LogConfig,
    handles: Rc<HandleCache>,
    budget: Rc<TailBudget>,
    log: RefCell<Option<Log>>,
}

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 4096,
        index_interval_bytes: 256,
        retention_ms: None,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

fn name() -> LogName {
    LogName {
        topic: Arc::from("orders"),
        partition: 7,
        topic_id: TopicId([9; 16]),
    }
}

impl Rig {
    fn new(config: LogConfig) -> Rig {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().to_path_buf();
        Rig {
            _temporary: Some(temporary),
            ..Rig::at(root, Disk::real(), config)
        }
        .opened()
    }

    /// In a directory, not opened yet.
    fn at(root: PathBuf, disk: Disk, config: LogConfig) -> Rig {
        Rig {
            _temporary: None,
            root,
            config,
            handles: HandleCache::new(&disk, 16),
            budget: TailBudget::new(64 * 1024),
            disk,
            log: RefCell::new(None),
        }
    }

    fn opened(self) -> Rig {
        self.recover(true, None).unwrap();
        self
    }

    fn dir(&self) -> PathBuf {
        self.root.join(name().directory())
    }

    fn recover(&self, clean: bool, checkpoint: Option<Checkpoint>) -> Result<RecoveryReport, LogError> {
        self.log.replace(None);
        let from = RecoverFrom {
            clean,
            checkpoint,
            now_ms: NOW,
        };
        let recovered = Log::recover(&self.disk, &self.dir(), &name(), &self.config, from)?;
        let report = recovered.report.clone();
        self.log
            .replace(Some(Log::open(recovered, &self.handles, &self.budget)));
        Ok(report)
    }

    /// A crash of the process, then a start with this recovery point.
    fn crash(&self, recovery_point: i64) -> RecoveryReport {
        let checkpoint = self.checkpoint_at(recovery_point);
        self.recover(false, Some(checkpoint)).unwrap()
    }

    fn checkpoint_at(&self, recovery_point: i64) -> Checkpoint {
        Checkpoint {
            recovery_point: Offset(recovery_point),
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(self.log.borrow_mut().as_mut().expect("open"))
    }

    fn append(&self, batch: Bytes) -> Result<Appended, AppendError> {
        self.with(|log| log.append(batch, EPOCH, NOW))
    }

    fn end(&self) -> i64 {
        self.with(|log| log.offsets().log_end.0)
    }

    /// Rounds until none is owed.
    async fn sync(&self) {
        while let Some(job) = self.with(Log::begin_round) {
            let done = job.run().await;
            self.with(|log| log.finish_round(done)).unwrap();
        }
        let ready = self.with(|log| log.ready());
        assert_eq!(ready.0, self.end());
        self.with(|log| log.set_high_watermark(ready));
    }

    /// A clean stop; what the checkpoint files would say.
    async fn close(&self) -> Checkpoint {
        self.sync().await;
        let job = self.with(Log::close).unwrap();
        let done = job.run().await;
        self.with(|log| log.finish_checkpoint(done)).unwrap()
    }

    async fn read(&self, from: i64, max_bytes: usize) -> Result<Bytes, ReadError> {
        let upto = self.with(|log| log.offsets().high_watermark);
        let plan = self.with(|log| log.read(Offset(from), max_bytes, upto, true))?;
        match plan {
            ReadPlan::Cached(bytes) => Ok(bytes),
            ReadPlan::Cold(job) => job.run().await,
            ReadPlan::Empty => Ok(Bytes::new()),
        }
    }

    /// Reads everything from `from` to the high watermark, `max_bytes` at a time.
    async fn read_all(&self, from: i64, max_bytes: usize) -> Vec<Bytes> {
        let mut found = Vec::new();
        let mut next = from;
        loop {
            let bytes = self.read(next, max_bytes).await.unwrap();
            if bytes.is_empty() {
                return found;
            }
            for batch in batches(&bytes) {
                let (_, batch) = batch.unwrap();
                batch.validate().unwrap();
                assert!(batch.last_offset().0 >= next, "nothing twice");
                next = batch.next_offset().0;
                found.push(Bytes::copy_from_slice(batch.bytes()));
            }
        }
    }

    fn checkpoints(&self) -> Arc<DirectoryCheckpoints> {
        Arc::new(DirectoryCheckpoints::load(&self.disk, &self.root, |error| panic!("{error}")).unwrap())
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        files_in(&self.dir(), ending)
    }
}

fn files_in(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let names = Disk::real().read_dir(dir).unwrap();
    names
        .iter()
        .filter(|name| name.ends_with(ending))
        .map(|name| dir.join(name))
        .collect()
}

/// A batch of `count` records of `size` bytes with timestamps from `timestamp` on, one ms apart.
fn batch_at(timestamp: i64, count: usize, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(timestamp);
    for at in 0..count {
        // Not zeros: a lost write is recognized by them.
        builder.record(
            timestamp + at as i64,
            None,
            Some(&vec![b'a' + (at % 26) as u8; size]),
        );
    }
    builder.build(Compression::None).unwrap()
}

fn batch(count: usize, size: usize) -> Bytes {
    batch_at(NOW, count, size)
}

fn idempotent(producer: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(NOW).producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for _ in 0..count {
        builder.record(NOW, None, Some(b"value"));
    }
    builder.build(Compression::None).unwrap()
}

/// Offsets and epoch of a stored batch, and what the producer sent.
fn stored_as(bytes: &Bytes) -> (i64, i64, i32) {
    let (_, batch) = batches(bytes).next().unwrap().unwrap();
    (
        batch.base_offset().0,
        batch.last_offset().0,
        batch.leader_epoch().0,
    )
}

/// Seeded randomness for random runs: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
