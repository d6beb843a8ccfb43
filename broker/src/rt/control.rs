//! The control plane's share of the seam: what `quorum/` and the gRPC side use instead of naming tokio's time, threads
//! and channels. Futures here are `Send` and run on a small multi-thread tokio runtime of their own.
//!
//! Shard to control: a `sync` sender's non-async `send`. Control to shard: [`super::doorbell::Sender`].
//! Files: the sync operations of [`super::file::Disk`] inside [`blocking`].

use super::{Elapsed, Instant, now};
use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Channels between control tasks, and from shards into them (their non-async `send` only).
pub mod sync {
    pub use tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot, watch};
}

/// The control plane's threads. Shut down with [`Control::shutdown`]; a drop in an async context would panic.
pub struct Control {
    runtime: Runtime,
}

/// Blocking threads of the control plane: metadata log, snapshots, directory scans.
const POOL_THREADS: usize = 8;

impl Control {
    /// Starts `threads` worker threads (at least one; two are plenty: the data plane does not run here).
    pub fn start(threads: usize) -> io::Result<Control> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(POOL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()?;
        Ok(Control { runtime })
    }

    /// A handle that spawns from any thread.
    pub fn handle(&self) -> ControlHandle {
        ControlHandle(self.runtime.handle().clone())
    }

    /// Runs `future` on the calling thread until it ends. Not from a control or shard thread.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Drops all tasks, and waits at most `grace` for blocking calls under way.
    pub fn shutdown(self, grace: Duration) {
        self.runtime.shutdown_timeout(grace);
    }
}

/// Spawns on the control plane from any thread, shards included.
#[derive(Clone)]
pub struct ControlHandle(Handle);

impl ControlHandle {
    /// Starts a task. It runs on when the returned handle is dropped.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> ControlTask<T> {
        ControlTask(self.0.spawn(future))
    }

    /// The tokio handle, for adaptors to crates that want one (tonic, axum, openraft).
    pub fn tokio(&self) -> &Handle {
        &self.0
    }
}

/// A control task. Dropping it detaches the task; [`ControlTask::abort`] ends it.
pub struct ControlTask<T>(tokio::task::JoinHandle<T>);

/// Why a control task gave no value.
#[derive(Debug, thiserror::Error)]
pub enum TaskEnded {
    #[error("the task was aborted")]
    Aborted,
    #[error("the task panicked: {0}")]
    Panicked(String),
}

impl<T> ControlTask<T> {
    /// Drops the task's future at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for its value.
    pub async fn join(self) -> Result<T, TaskEnded> {
        self.0.await.map_err(|error| {
            if error.is_cancelled() {
                return TaskEnded::Aborted;
            }
            TaskEnded::Panicked(words(&*error.into_panic()))
        })
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "panic without words".to_owned(),
    }
}

/// Starts a task from within the control plane.
///
/// # Panics
/// Off the control plane; use [`ControlHandle::spawn`] there.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> ControlTask<T> {
    ControlTask(tokio::spawn(future))
}

/// Runs `call` on the control plane's blocking pool, to its end even when the future is dropped. Its panic is the
/// caller's.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let guarded = move || catch_unwind(AssertUnwindSafe(call));
    match tokio::task::spawn_blocking(guarded).await {
        Ok(Ok(value)) => value,
        Ok(Err(payload)) => resume_unwind(payload),
        // Aborted before it ran: the runtime is shutting down and drops this future too.
        Err(_) => std::future::pending().await,
    }
}

/// Waits at least `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    let remaining = deadline - now();
    if !remaining.is_zero() {
        tokio::time::sleep(remaining).await;
    }
}

/// Awaits `future` for at most `duration`, then drops it.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
}

/// A beat every `period`. A beat that comes late does not make the next ones come in a burst.
pub struct Interval(tokio::time::Interval);

/// The first beat is one `period` from now.
pub fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    Interval(interval)
}

impl Interval {
    /// Waits for the next beat.
    pub async fn tick(&mut self) {
        self.0.tick().await;
    }
}
