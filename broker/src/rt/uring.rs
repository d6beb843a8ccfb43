//! Engine `uring`: one glommio executor per shard. Owns how an executor is built and run, and the glommio side of tasks,
//! timers and the blocking pool; `net/uring.rs` and `file/ring.rs` have sockets and files.
//!
//! glommio traps handled here:
//! - its placement ignores cpusets: `shards` binds the thread;
//! - `spawn_local` polls at once; panics in its pool's threads never return; its buffers must outlive what the kernel
//!   still does with them ([`settle`]);
//! - **it may sleep with runnable tasks.** Its loop asks whether the preempt timer has fired before it runs the first
//!   task; if it has (a thread that lost its cpu for a moment), no task is run, the next poll eats the timer's event, and
//!   with nothing else to do it parks. With a timer of 1 ms this hung two busy shards within seconds on a loaded
//!   machine. But without such a timer a queue that never empties keeps the reactor from its turn. So the timer is off
//!   ([`PREEMPT_TIMER`]) and turns are our own: [`Gate`] lets tasks run for [`TURN`], then holds them back until the
//!   reactor had its turn. A slow beat ([`BEAT`]) bounds what other late events could do to the same loop.

use super::local::Event;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, TaskQueueHandle};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Never: see the module. (Longer than any process runs; the kernel's timer takes it.)
const PREEMPT_TIMER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long tasks run one after the other before the executor looks at its rings.
const TURN: Duration = Duration::from_micros(500);
/// A sleeping executor wakes at least this often.
const BEAT: Duration = Duration::from_millis(100);
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

/// Starts an engine task. Those of `rt::spawn` take turns; operations that are only waited for do not need to.
pub(super) fn spawn(future: impl Future<Output = ()> + Unpin + 'static) {
    spawn_ungated(Gate(future));
}

pub(super) fn spawn_ungated(future: impl Future<Output = ()> + 'static) {
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
    // The next poll of this task is refused, and comes back after the reactor's turn.
    if TURNS.with(|turns| turns.is_over()) {
        super::yield_now().await;
    }
}

/// Runs `root` on the executor until it ends.
pub(super) fn run<T>(executor: &LocalExecutor, root: impl Future<Output = T>) -> T {
    executor.run(async move {
        let beat = glommio::spawn_local(async {
            loop {
                glommio::timer::sleep(BEAT).await;
            }
        });
        let turns = TURNS.with(Rc::clone);
        let giving_turns = glommio::spawn_local(async move { turns.give().await });
        let output = Gate(Box::pin(root)).await;
        beat.cancel().await;
        giving_turns.cancel().await;
        settle().await;
        output
    })
}

thread_local! {
    static TURNS: Rc<Turns> = Rc::new(Turns::default());
}

/// How long this thread's tasks have run since the reactor's last turn, and who waits for the next.
#[derive(Default)]
struct Turns {
    started: Cell<Option<Instant>>,
    waiting: RefCell<Vec<Waker>>,
    wanted: Event,
}

impl Turns {
    /// Whether tasks have had their time. The executor counts how often it started on its queue since the last look:
    /// each start comes after a turn of the reactor, because nothing else of ours stops it before the queue is empty.
    fn is_over(&self) -> bool {
        let starts = glommio::executor().executor_stats().scheduler_runs();
        match self.started.get() {
            Some(started) if starts == 0 => started.elapsed() > TURN,
            _ => {
                self.started.set(Some(Instant::now()));
                false
            }
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push(waker.clone());
        if waiting.len() == 1 {
            drop(waiting);
            self.wanted.notify_all();
        }
    }

    /// Wakes those held back, in order, after each turn they wait for.
    async fn give(&self) {
        loop {
            let wanted = self.wanted.wait();
            if self.waiting.borrow().is_empty() {
                wanted.await;
            }
            // Due by the time the queue is empty and the reactor looks. Were it ready at once, the turn would still be
            // over and all would be held back again.
            glommio::timer::sleep(Duration::from_micros(1)).await;
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            for waker in waiting {
                waker.wake();
            }
        }
    }
}

/// A future that is polled only while its shard's turn lasts.
struct Gate<F>(F);

impl<F: Future + Unpin> Future for Gate<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let held_back = TURNS.with(|turns| {
            let over = turns.is_over();
            if over {
                turns.wait(cx.waker());
            }
            over
        });
        if held_back {
            Poll::Pending
        } else {
            Pin::new(&mut self.0).poll(cx)
        }
    }
}

/// Gives the reactor turns to cancel what dropped futures left in the rings (polls, accepts, bell reads) and to close
/// dropped files, before the memory the kernel may still write to goes away with the executor.
async fn settle() {
    for _ in 0..2 {
        glommio::timer::sleep(Duration::from_millis(1)).await;
    }
}
