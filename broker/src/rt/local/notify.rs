//! Two ways to say "look again": [`Event`] wakes everybody who waits, [`Notify`] wakes one and remembers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes all who wait. A wait that was *created* before [`Event::notify_all`] sees it, polled or not, so
/// "create the wait, check the condition, await" loses nothing.
#[derive(Clone, Default)]
pub struct Event(Rc<EventInner>);

#[derive(Default)]
struct EventInner {
    version: Cell<u64>,
    next_waiter: Cell<u64>,
    waiters: RefCell<BTreeMap<u64, Waker>>,
}

impl Event {
    /// Wakes every wait that exists now.
    pub fn notify_all(&self) {
        self.0.version.set(self.0.version.get() + 1);
        let waiters = std::mem::take(&mut *self.0.waiters.borrow_mut());
        for waker in waiters.into_values() {
            waker.wake();
        }
    }

    /// Ends at the next [`Event::notify_all`] after this call.
    pub fn wait(&self) -> EventWait {
        EventWait {
            inner: self.0.clone(),
            seen: self.0.version.get(),
            key: None,
        }
    }
}

/// See [`Event::wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct EventWait {
    inner: Rc<EventInner>,
    seen: u64,
    key: Option<u64>,
}

impl Future for EventWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.inner.version.get() != self.seen {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) => key,
            None => {
                let key = self.inner.next_waiter.get();
                self.inner.next_waiter.set(key + 1);
                self.key = Some(key);
                key
            }
        };
        self.inner.waiters.borrow_mut().insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.inner.waiters.borrow_mut().remove(&key);
        }
    }
}

/// Wakes one waiter per call, in order of waiting; a call with nobody waiting is remembered once.
#[derive(Clone, Default)]
pub struct Notify(Rc<NotifyInner>);

#[derive(Default)]
struct NotifyInner {
    permit: Cell<bool>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Default)]
struct Waiter {
    given: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    /// Wakes the longest waiting, or lets the next wait end at once.
    pub fn notify_one(&self) {
        let first = self.0.waiters.borrow_mut().pop_front();
        match first {
            None => self.0.permit.set(true),
            Some(waiter) => {
                waiter.given.set(true);
                let waker = waiter.waker.borrow_mut().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// Ends once this wait is notified.
    pub fn notified(&self) -> Notified {
        Notified {
            notify: self.clone(),
            waiter: None,
        }
    }
}

/// See [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct Notified {
    notify: Notify,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Notified {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiter) = &self.waiter {
            if waiter.given.get() {
                self.waiter = None;
                return Poll::Ready(());
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.notify.0.permit.take() {
            return Poll::Ready(());
        }
        let waiter = Rc::new(Waiter::default());
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        self.notify.0.waiters.borrow_mut().push_back(waiter.clone());
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.given.get() {
            // Given but never seen: the next in line gets it.
            self.notify.notify_one();
        } else {
            self.notify
                .0
                .waiters
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &waiter));
        }
    }
}
