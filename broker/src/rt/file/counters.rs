//! How bytes reached the disk, counted for the whole process: what a test (or an operator) looks at to see that on
//! `uring` no log byte is written by a system call on a shard or on a pool.

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) static RING_WRITES: Counter = Counter::new();
pub(super) static RING_BYTES: Counter = Counter::new();
pub(super) static RING_SYNCS: Counter = Counter::new();
pub(super) static RING_READS: Counter = Counter::new();
pub(super) static POOL_WRITES: Counter = Counter::new();
pub(super) static POOL_BYTES: Counter = Counter::new();
pub(super) static POOL_SYNCS: Counter = Counter::new();
pub(super) static POOL_READS: Counter = Counter::new();
pub(super) static CACHED_READS: Counter = Counter::new();
pub(super) static COLD_WRITES: Counter = Counter::new();
pub(super) static COLD_SYNCS: Counter = Counter::new();

/// A reading of all counters since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes, bytes, fdatasyncs and reads that went through a ring.
    pub ring_writes: u64,
    pub ring_bytes: u64,
    pub ring_syncs: u64,
    pub ring_reads: u64,
    /// The same through the blocking pool (`posix`).
    pub pool_writes: u64,
    pub pool_bytes: u64,
    pub pool_syncs: u64,
    pub pool_reads: u64,
    /// `preadv2(RWF_NOWAIT)` calls that returned bytes.
    pub cached_reads: u64,
    /// Writes and syncs of [`super::BlockingFile`] and the cold operations, on any thread.
    pub cold_writes: u64,
    pub cold_syncs: u64,
}

/// Reads all counters.
pub fn counters() -> Counters {
    Counters {
        ring_writes: RING_WRITES.get(),
        ring_bytes: RING_BYTES.get(),
        ring_syncs: RING_SYNCS.get(),
        ring_reads: RING_READS.get(),
        pool_writes: POOL_WRITES.get(),
        pool_bytes: POOL_BYTES.get(),
        pool_syncs: POOL_SYNCS.get(),
        pool_reads: POOL_READS.get(),
        cached_reads: CACHED_READS.get(),
        cold_writes: COLD_WRITES.get(),
        cold_syncs: COLD_SYNCS.get(),
    }
}
