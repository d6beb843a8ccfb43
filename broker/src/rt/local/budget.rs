//! A fair byte budget: bounded memory within one shard. Waiters are served strictly in order, so a large request is
//! not starved by small ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A counted limit shared by the tasks of one shard. Clones share it.
#[derive(Clone)]
pub struct Budget(Rc<Inner>);

struct Inner {
    limit: Cell<usize>,
    used: Cell<usize>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    amount: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A share of the budget; dropping it gives the share back.
#[must_use = "dropping the permit gives it back"]
pub struct Permit {
    inner: Rc<Inner>,
    amount: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget(Rc::new(Inner {
            limit: Cell::new(limit),
            used: Cell::new(0),
            waiters: RefCell::new(VecDeque::new()),
        }))
    }

    /// Takes `amount` if it is free now and nobody waits before.
    pub fn try_acquire(&self, amount: usize) -> Option<Permit> {
        if !self.0.waiters.borrow().is_empty() || !self.0.fits(amount) {
            return None;
        }
        self.0.used.set(self.0.used.get() + amount);
        Some(Permit {
            inner: self.0.clone(),
            amount,
        })
    }

    /// Waits in line for `amount`. More than the whole limit is granted once nothing else is in use, so that one
    /// oversized request can pass instead of waiting for ever.
    pub fn acquire(&self, amount: usize) -> Acquire {
        Acquire {
            inner: self.0.clone(),
            amount,
            waiter: None,
        }
    }

    /// Units given out now.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.0.limit.get()
    }

    /// Tasks waiting in line.
    pub fn waiting(&self) -> usize {
        self.0.waiters.borrow().len()
    }

    /// Changes the limit; a higher one serves waiters at once, a lower one takes effect as permits come back.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.set(limit);
        self.0.serve();
    }
}

impl Inner {
    fn fits(&self, amount: usize) -> bool {
        let used = self.used.get();
        used == 0
            || used
                .checked_add(amount)
                .is_some_and(|total| total <= self.limit.get())
    }

    fn serve(&self) {
        loop {
            let next = {
                let mut waiters = self.waiters.borrow_mut();
                match waiters.front() {
                    Some(first) if self.fits(first.amount) => waiters.pop_front(),
                    _ => None,
                }
            };
            let Some(waiter) = next else { return };
            self.used.set(self.used.get() + waiter.amount);
            waiter.granted.set(true);
            let waker = waiter.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn give_back(&self, amount: usize) {
        self.used.set(self.used.get() - amount);
        self.serve();
    }
}

impl Permit {
    /// Units held.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Gives back all but `amount` (no effect when it holds less).
    pub fn shrink_to(&mut self, amount: usize) {
        if amount < self.amount {
            let surplus = self.amount - amount;
            self.amount = amount;
            self.inner.give_back(surplus);
        }
    }

    /// Cuts off `amount` (at most what is held) as a permit of its own.
    pub fn split(&mut self, amount: usize) -> Permit {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Permit {
            inner: self.inner.clone(),
            amount,
        }
    }

    /// Takes over the share of another permit of the same budget.
    ///
    /// # Panics
    /// When the permits belong to different budgets.
    pub fn merge(&mut self, mut other: Permit) {
        assert!(
            Rc::ptr_eq(&self.inner, &other.inner),
            "permits of different budgets cannot be merged"
        );
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.inner.give_back(self.amount);
        }
    }
}

/// See [`Budget::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    inner: Rc<Inner>,
    amount: usize,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let amount = self.amount;
        if let Some(waiter) = &self.waiter {
            if waiter.granted.get() {
                self.waiter = None;
                return Poll::Ready(Permit {
                    inner: self.inner.clone(),
                    amount,
                });
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.inner.waiters.borrow().is_empty() && self.inner.fits(amount) {
            self.inner.used.set(self.inner.used.get() + amount);
            return Poll::Ready(Permit {
                inner: self.inner.clone(),
                amount,
            });
        }
        let waiter = Rc::new(Waiter {
            amount,
            granted: Cell::new(false),
            waker: RefCell::new(Some(cx.waker().clone())),
        });
        self.inner.waiters.borrow_mut().push_back(waiter.clone());
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.granted.get() {
            self.inner.give_back(waiter.amount);
        } else {
            self.inner
                .waiters
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &waiter));
            // The next in line may fit where this one did not.
            self.inner.serve();
        }
    }
}
