//! Engine `uring`: one glommio executor per shard. Owns how an executor is built and the glommio side of tasks,
//! timers and the blocking pool; `net/uring.rs` and `file/uring.rs` have sockets and files.
//!
//! glommio traps handled here: its placement ignores cpusets (we bind the thread ourselves), its default preempt timer
//! delays messages into a busy core by tens of milliseconds, `spawn_local` polls at once, panics in its pool's threads
//! never return, and its buffers must outlive what the kernel still does (see [`settle`]).

use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, TaskQueueHandle};
use std::future::Future;
use std::io;
use std::time::Duration;

/// How long a task may run before the executor looks at its rings again.
const PREEMPT_TIMER: Duration = Duration::from_millis(1);
/// How long a pinned executor polls before it sleeps: a message from another core then costs 8 us, not 80.
const SPIN: Duration = Duration::from_micros(50);
/// Entries of each of the executor's three rings.
const RING_DEPTH: usize = 256;
/// Registered buffer memory. glommio's default of 10 MiB is pinned and resident; we use it for small reads only.
const IO_MEMORY: usize = 128 << 10;
/// Blocking threads per executor.
const POOL_THREADS: usize = 4;

/// Builds this thread's executor. `pinned` executors may spin: an unpinned one would burn its cgroup's quota.
pub(super) fn executor(pinned: bool) -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .preempt_timer(PREEMPT_TIMER)
        .spin_before_park(if pinned { SPIN } else { Duration::ZERO })
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(POOL_THREADS))
        .make()
        .map_err(|error| io::Error::other(format!("io_uring executor: {error}")))
}

pub(super) fn spawn(future: impl Future<Output = ()> + 'static) {
    // Into the default queue by name: the plain form polls the future before it returns.
    let task = glommio::spawn_local_into(future, TaskQueueHandle::default())
        .expect("the default task queue exists as long as the executor");
    task.detach();
}

pub(super) async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Runs `call` on the executor's pool. `call` may not panic: the pool's thread would die and never answer.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(call).await
}

pub(super) async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// Gives the reactor turns to cancel what dropped futures left in the rings (polls, accepts, bell reads) and to close
/// dropped files, before the memory the kernel may still write to goes away with the executor.
pub(super) async fn settle() {
    for _ in 0..2 {
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
}
