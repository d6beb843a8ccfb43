//! The thread's engine: which one runs here, and the free functions that dispatch on it. Owns the per-shard context
//! (task registry, count of operations in flight, the panic that ended the shard). Leaves mechanics to the engines.

use super::local::{Budget, Event, Permit, oneshot};
use super::task::{self, Registry, Task};
use super::{Engine, LocalBoxFuture, ShardId};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::{Poll, Waker};

pub(super) type PanicPayload = Box<dyn Any + Send>;

/// Blocking calls of one shard that may be queued or running. glommio's queue to its pool holds 4,096; beyond that
/// its sender would park a task waker in a channel shared with another thread, which is the one forbidden thing.
const BLOCKING_IN_FLIGHT: usize = 1024;

/// Per-shard state. Lives on the shard's thread from before `main` starts until after its last task ended.
pub(super) struct Context {
    pub(super) engine: Engine,
    pub(super) shard: ShardId,
    pub(super) tasks: Registry,
    /// File and blocking operations that have started: the shard's rings and pool may not go before they end.
    in_flight: Cell<usize>,
    idle: Event,
    blocking: Budget,
    panic: RefCell<Option<PanicPayload>>,
    main_waker: RefCell<Option<Waker>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
}

/// The context of the shard this thread runs.
///
/// # Panics
/// Off a shard thread: the caller belongs to the control plane and wants [`super::control`].
pub(super) fn current() -> Rc<Context> {
    CURRENT.with(|current| {
        current
            .borrow()
            .clone()
            .expect("called off a shard thread; the control plane uses rt::control")
    })
}

/// Makes `context` this thread's, and gives back the one before: the simulated engine runs many shards on one thread.
pub(super) fn enter(context: Option<Rc<Context>>) -> Option<Rc<Context>> {
    CURRENT.with(|current| current.replace(context))
}

/// Counts one started operation until dropped.
pub(super) struct InFlight(Rc<Context>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get() - 1;
        self.0.in_flight.set(left);
        if left == 0 {
            self.0.idle.notify_all();
        }
    }
}

impl Context {
    pub(super) fn new(engine: Engine, shard: ShardId) -> Rc<Context> {
        Rc::new(Context {
            engine,
            shard,
            tasks: Registry::default(),
            in_flight: Cell::new(0),
            idle: Event::default(),
            blocking: Budget::new(BLOCKING_IN_FLIGHT),
            panic: RefCell::new(None),
            main_waker: RefCell::new(None),
        })
    }

    /// Remembers the panic that ends this shard and wakes `main` to return.
    pub(super) fn fail(&self, payload: PanicPayload) {
        super::shards::panicked(self.shard, &payload);
        self.panic.borrow_mut().get_or_insert(payload);
        let waker = self.main_waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn begin(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self.clone())
    }
}

/// Runs `main` as this thread's shard, then drops every task it left and waits for started operations.
/// `main` is made on the shard, so that it may hold shard-local state. Called inside the engine's executor.
pub(super) async fn run_shard(
    context: Rc<Context>,
    main: impl FnOnce() -> LocalBoxFuture<'static, ()>,
) -> Result<(), PanicPayload> {
    CURRENT.with(|current| *current.borrow_mut() = Some(context.clone()));
    let mut body: Option<LocalBoxFuture<'static, ()>> = None;
    match catch_unwind(AssertUnwindSafe(main)) {
        Ok(future) => body = Some(future),
        Err(payload) => context.fail(payload),
    }
    std::future::poll_fn(|cx| {
        if context.panic.borrow().is_some() {
            return Poll::Ready(());
        }
        *context.main_waker.borrow_mut() = Some(cx.waker().clone());
        let future = body.as_mut().expect("`main` is polled only until it is ready");
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(payload) => {
                context.fail(payload);
                Poll::Ready(())
            }
        }
    })
    .await;
    drop(body);
    while context.tasks.live() > 0 {
        context.tasks.cancel_all();
        yield_now().await;
    }
    while context.in_flight.get() > 0 {
        context.idle.wait().await;
    }
    context.main_waker.borrow_mut().take();
    CURRENT.with(|current| *current.borrow_mut() = None);
    match context.panic.borrow_mut().take() {
        Some(payload) => Err(payload),
        None => Ok(()),
    }
}

/// Starts a task on this shard. It is first polled after the caller yields, never inside `spawn`.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let context = current();
    let (driver, task) = task::create(&context, future);
    match context.engine {
        Engine::Uring => super::uring::spawn(driver),
        Engine::Posix => super::posix::spawn(driver),
        Engine::Sim => super::sim::spawn(driver),
    }
    task
}

/// Runs an engine operation to its end whatever happens to the returned future; the shard waits for it before it ends.
/// Ring reads and writes need it: their buffers belong to the kernel until the completion arrives.
pub(super) async fn to_the_end<T: 'static>(operation: impl Future<Output = T> + 'static) -> T {
    let context = current();
    let in_flight = context.begin();
    let (answer, outcome) = oneshot();
    let to_its_end = async move {
        let value = operation.await;
        let _ = answer.send(value);
        drop(in_flight);
    };
    match context.engine {
        Engine::Uring => super::uring::spawn_ungated(to_its_end),
        Engine::Posix => super::posix::spawn(to_its_end),
        Engine::Sim => super::sim::spawn(to_its_end),
    }
    outcome.await.expect("a started operation always answers")
}

/// Runs `call` on this shard's pool of blocking threads. It runs to its end even when the future is dropped once the
/// call was queued. At most 1,024 are in flight per shard; more wait their turn. A panic in `call` is the shard's.
pub async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let context = current();
    let permit: Permit = context.blocking.acquire(1).await;
    let guarded = move || catch_unwind(AssertUnwindSafe(call));
    let engine = context.engine;
    let outcome = to_the_end(async move {
        let outcome = match engine {
            Engine::Uring => super::uring::blocking(guarded).await,
            Engine::Posix => super::posix::blocking(guarded).await,
            Engine::Sim => super::sim::blocking(guarded).await,
        };
        drop(permit);
        outcome
    })
    .await;
    match outcome {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

/// Lets every other ready task of this shard run once.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Yields only when this task has used up its share: for loops whose awaits may all be ready at once.
pub async fn yield_if_needed() {
    match current().engine {
        Engine::Uring => super::uring::yield_if_needed().await,
        Engine::Posix => super::posix::yield_if_needed().await,
        Engine::Sim => super::sim::yield_if_needed().await,
    }
}
