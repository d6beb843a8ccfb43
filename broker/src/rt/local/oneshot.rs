//! One value from one task to another of the same shard.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Inner<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
    answer_gone: Cell<bool>,
    question_gone: Cell<bool>,
}

/// The side that sends. Dropping it unsent makes the other side see [`Dropped`].
pub struct Answer<T>(Rc<Inner<T>>);

/// The side that awaits the value.
#[must_use = "the answer is lost unless awaited"]
pub struct Question<T>(Rc<Inner<T>>);

/// The answering side went away without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answering side went away without an answer")]
pub struct Dropped;

/// A new pair.
pub fn oneshot<T>() -> (Answer<T>, Question<T>) {
    let inner = Rc::new(Inner {
        value: RefCell::new(None),
        waker: RefCell::new(None),
        answer_gone: Cell::new(false),
        question_gone: Cell::new(false),
    });
    (Answer(inner.clone()), Question(inner))
}

impl<T> Answer<T> {
    /// Sends the value; gives it back when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.0.question_gone.get() {
            return Err(value);
        }
        *self.0.value.borrow_mut() = Some(value);
        Ok(())
    }

    /// Whether the asking side was dropped.
    pub fn is_abandoned(&self) -> bool {
        self.0.question_gone.get()
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.0.answer_gone.set(true);
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Question<T> {
    /// The value, if it is there already.
    pub fn try_take(&mut self) -> Option<T> {
        self.0.value.borrow_mut().take()
    }
}

impl<T> Future for Question<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.0.value.borrow_mut().take() {
            return Poll::Ready(Ok(value));
        }
        if self.0.answer_gone.get() {
            return Poll::Ready(Err(Dropped));
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Question<T> {
    fn drop(&mut self) {
        self.0.question_gone.set(true);
        self.0.waker.borrow_mut().take();
    }
}
