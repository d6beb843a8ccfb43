//! The control plane's share of the seam: what `quorum/` and the gRPC side use instead of naming tokio's time, threads
//! and channels. Futures here are `Send` and run on a small multi-thread tokio runtime of their own.
//!
//! Shard to control: a `sync` sender's non-async `send`. Control to shard: [`super::doorbell::Sender`].
//! Files: the sync operations of [`super::file::Disk`] inside [`blocking`].

use super::sim::{self, ProcessId};
use super::{Elapsed, Instant, now};
use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

pub mod http;
pub mod net;

/// Channels between control tasks, and from shards into them (their non-async `send` only).
pub mod sync {
    pub use tokio::sync::{Mutex, Notify, OwnedMutexGuard, Semaphore, mpsc, oneshot, watch};
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
        ControlHandle(Plane::Tokio(self.runtime.handle().clone()))
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
pub struct ControlHandle(Plane);

#[derive(Clone)]
enum Plane {
    Tokio(Handle),
    /// Of one process of the thread's simulated world.
    Sim(ProcessId),
}

impl ControlHandle {
    /// The control plane of the current process of a simulated world.
    ///
    /// # Panics
    /// Outside of one.
    pub fn simulated() -> ControlHandle {
        ControlHandle(Plane::Sim(sim::current_process()))
    }

    /// Starts a task. It runs on when the returned handle is dropped.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> ControlTask<T> {
        match &self.0 {
            Plane::Tokio(handle) => ControlTask(Running::Tokio(handle.spawn(future))),
            Plane::Sim(process) => ControlTask(Running::simulated(*process, future)),
        }
    }
}

/// A control task. Dropping it detaches the task; [`ControlTask::abort`] ends it.
pub struct ControlTask<T>(Running<T>);

enum Running<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Sim {
        task: u64,
        value: sync::oneshot::Receiver<T>,
        finished: Arc<AtomicBool>,
    },
}

impl<T: Send + 'static> Running<T> {
    fn simulated(process: ProcessId, future: impl Future<Output = T> + 'static) -> Running<T> {
        let (answer, value) = sync::oneshot::channel();
        let finished = Arc::new(AtomicBool::new(false));
        let finishing = finished.clone();
        let task = sim::spawn_control(process, async move {
            let outcome = future.await;
            finishing.store(true, Ordering::Relaxed);
            // Nobody may want to know.
            let _ = answer.send(outcome);
        });
        Running::Sim {
            task,
            value,
            finished,
        }
    }
}

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
        match &self.0 {
            Running::Tokio(task) => task.abort(),
            Running::Sim { task, .. } => sim::cancel(*task),
        }
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Running::Tokio(task) => task.is_finished(),
            Running::Sim { finished, .. } => finished.load(Ordering::Relaxed),
        }
    }

    /// Waits for its value.
    pub async fn join(self) -> Result<T, TaskEnded> {
        self.joined().await
    }

    /// The wait for its value, as a type. Dropping it detaches the task.
    pub fn joined(self) -> Joined<T> {
        Joined(self.0)
    }
}

/// See [`ControlTask::joined`].
pub struct Joined<T>(Running<T>);

impl<T> Future for Joined<T> {
    type Output = Result<T, TaskEnded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Running::Tokio(task) => Pin::new(task).poll(cx).map_err(|error| {
                if error.is_cancelled() {
                    return TaskEnded::Aborted;
                }
                TaskEnded::Panicked(words(&*error.into_panic()))
            }),
            // A panic ends the whole simulation.
            Running::Sim { value, .. } => Pin::new(value).poll(cx).map_err(|_| TaskEnded::Aborted),
        }
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
    if sim::active() {
        return ControlHandle::simulated().spawn(future);
    }
    ControlTask(Running::Tokio(tokio::spawn(future)))
}

/// Runs `call` on the control plane's blocking pool, to its end even when the future is dropped. Its panic is the
/// caller's.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    if sim::active() {
        let running = ControlHandle::simulated().spawn(sim::blocking(call));
        return match running.join().await {
            Ok(value) => value,
            Err(_) => std::future::pending().await,
        };
    }
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
    Sleep::lasting(duration).await;
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    sleep(deadline - now()).await;
}

/// A timer of the control plane as a value, for crates that name its type.
pub struct Sleep(Timer);

enum Timer {
    Tokio(Pin<Box<tokio::time::Sleep>>),
    Sim(sim::Sleep),
}

impl Sleep {
    /// Over once `duration` has passed.
    pub fn lasting(duration: Duration) -> Sleep {
        Sleep(match sim::active() {
            true => Timer::Sim(sim::Sleep::lasting(duration)),
            false => Timer::Tokio(Box::pin(tokio::time::sleep(duration))),
        })
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Timer::Tokio(sleep) => sleep.as_mut().poll(cx),
            Timer::Sim(sleep) => Pin::new(sleep).poll(cx),
        }
    }
}

/// Awaits `future` for at most `duration`, then drops it. A future that is ready wins over a timer that is due.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut timer = Sleep::lasting(duration);
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut timer).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// A beat every `period`. A beat that comes late does not make the next ones come in a burst.
pub struct Interval {
    period: Duration,
    next: Instant,
}

/// The first beat is one `period` from now.
pub fn interval(period: Duration) -> Interval {
    Interval {
        period,
        next: now() + period,
    }
}

impl Interval {
    /// Waits for the next beat.
    pub async fn tick(&mut self) {
        sleep_until(self.next).await;
        self.next = self.next + self.period;
        if self.next < now() {
            self.next = now() + self.period;
        }
    }
}
