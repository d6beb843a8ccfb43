//! Tasks of one shard, the same on every engine. Owns the registry of live tasks, so that a shard that ends drops
//! every future on its own thread (glommio leaks detached tasks, tokio drops them late). Leaves polling to engines.

use super::LocalBoxFuture;
use super::engine::Context;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

/// One live task. The future is taken out while it is polled, so a task may cancel itself or be cancelled meanwhile.
pub(super) struct Slot {
    future: RefCell<Option<LocalBoxFuture<'static, ()>>>,
    waker: RefCell<Option<Waker>>,
    cancelled: Cell<bool>,
    index: Cell<usize>,
}

impl Slot {
    fn cancel(&self) {
        self.cancelled.set(true);
        let future = self.future.borrow_mut().take();
        drop(future);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All live tasks of a shard.
#[derive(Default)]
pub(super) struct Registry {
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    free: RefCell<Vec<usize>>,
}

impl Registry {
    fn insert(&self, slot: &Rc<Slot>) {
        let mut slots = self.slots.borrow_mut();
        match self.free.borrow_mut().pop() {
            Some(index) => {
                slot.index.set(index);
                slots[index] = Some(slot.clone());
            }
            None => {
                slot.index.set(slots.len());
                slots.push(Some(slot.clone()));
            }
        }
    }

    fn remove(&self, slot: &Slot) {
        let removed = self.slots.borrow_mut()[slot.index.get()].take();
        if removed.is_some() {
            self.free.borrow_mut().push(slot.index.get());
        }
    }

    pub(super) fn live(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Drops the futures of all tasks; their engine tasks then end on their next poll.
    pub(super) fn cancel_all(&self) {
        let all: Vec<Rc<Slot>> = self.slots.borrow().iter().flatten().cloned().collect();
        for slot in all {
            slot.cancel();
        }
    }
}

/// What an engine polls: forwards to the slot and keeps the registry right.
pub(super) struct Driver {
    slot: Rc<Slot>,
    context: Rc<Context>,
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let slot = &self.slot;
        let taken = slot.future.borrow_mut().take();
        let Some(mut future) = taken else {
            self.context.tasks.remove(slot);
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) if !slot.cancelled.get() => {
                *slot.future.borrow_mut() = Some(future);
                let mut waker = slot.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Ok(_) => {}
            Err(payload) => self.context.fail(payload),
        }
        drop(future);
        self.slot.waker.borrow_mut().take();
        self.context.tasks.remove(&self.slot);
        Poll::Ready(())
    }
}

struct Join<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    finished: Cell<bool>,
}

/// A running task; awaiting it gives its output. Dropping it cancels the task and drops its future at once
/// (unless the task is the one dropping it: then right after its current poll).
#[must_use = "dropping a task cancels it; use `.detach()` to let it run"]
pub struct Task<T> {
    slot: Option<Weak<Slot>>,
    join: Rc<Join<T>>,
}

impl<T> Task<T> {
    /// Lets the task run on its own until it ends or its shard does.
    pub fn detach(mut self) {
        self.slot = None;
    }

    /// Whether the task has come to its end.
    pub fn is_finished(&self) -> bool {
        self.join.finished.get()
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take().and_then(|slot| slot.upgrade()) {
            slot.cancel();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<T> {
        match self.join.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.join.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Registers `future` as a task of `context`; the caller hands the driver to the engine.
pub(super) fn create<T: 'static>(
    context: &Rc<Context>,
    future: impl Future<Output = T> + 'static,
) -> (Driver, Task<T>) {
    let join = Rc::new(Join {
        value: Cell::new(None),
        waker: Cell::new(None),
        finished: Cell::new(false),
    });
    let ending = join.clone();
    let body = Box::pin(async move {
        let value = future.await;
        ending.value.set(Some(value));
        ending.finished.set(true);
        if let Some(waker) = ending.waker.take() {
            waker.wake();
        }
    });
    let slot = Rc::new(Slot {
        future: RefCell::new(Some(body)),
        waker: RefCell::new(None),
        cancelled: Cell::new(false),
        index: Cell::new(usize::MAX),
    });
    context.tasks.insert(&slot);
    let task = Task {
        slot: Some(Rc::downgrade(&slot)),
        join,
    };
    (
        Driver {
            slot,
            context: context.clone(),
        },
        task,
    )
}
