//! Engine `posix`: a tokio current-thread runtime per shard with a bounded pool of threads for files, for machines
//! that forbid io_uring. Owns how the runtime is built and the tokio side of tasks, timers and the pool.

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Blocking threads per shard: they carry every file read, write and sync of this engine.
const POOL_THREADS: usize = 8;

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(POOL_THREADS)
        .thread_name("rt-pool")
        .build()
}

/// Runs `root` with a place for local tasks; they are gone when this returns.
pub(super) fn run<T>(runtime: Runtime, root: impl Future<Output = T>) -> T {
    let local = LocalSet::new();
    let output = local.block_on(&runtime, root);
    // Drivers that ended but were not yet collected go while their runtime still exists.
    drop(local);
    output
}

pub(super) fn spawn(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(future);
}

pub(super) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs `call` on the runtime's pool. `call` may not panic.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(call)
        .await
        .expect("the call catches its panics and is never aborted")
}

pub(super) async fn yield_if_needed() {
    tokio::task::consume_budget().await;
}
