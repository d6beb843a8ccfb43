//! A bounded queue between tasks of one shard: many senders, one receiver.

use super::notify::Notify;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

struct Inner<T> {
    items: RefCell<VecDeque<T>>,
    limit: usize,
    senders: Cell<usize>,
    receiver_gone: Cell<bool>,
    filled: Notify,
    emptied: Notify,
}

/// The receiver went away; the item comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiving side went away")]
pub struct Closed<T>(pub T);

/// Why `try_send` gave the item back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull<T> {
    #[error("the queue is full")]
    Full(T),
    #[error("the receiving side went away")]
    Closed(T),
}

/// Sending side; clone it freely within the shard.
pub struct QueueSender<T>(Rc<Inner<T>>);

/// Receiving side.
pub struct QueueReceiver<T>(Rc<Inner<T>>);

/// A queue of at most `limit` items (at least one).
pub fn queue<T>(limit: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let inner = Rc::new(Inner {
        items: RefCell::new(VecDeque::new()),
        limit: limit.max(1),
        senders: Cell::new(1),
        receiver_gone: Cell::new(false),
        filled: Notify::default(),
        emptied: Notify::default(),
    });
    (QueueSender(inner.clone()), QueueReceiver(inner))
}

impl<T> QueueSender<T> {
    /// Puts the item in if there is room now.
    pub fn try_send(&self, item: T) -> Result<(), QueueFull<T>> {
        if self.0.receiver_gone.get() {
            return Err(QueueFull::Closed(item));
        }
        let mut items = self.0.items.borrow_mut();
        if items.len() >= self.0.limit {
            return Err(QueueFull::Full(item));
        }
        items.push_back(item);
        drop(items);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Waits for room, first come first served.
    pub async fn send(&self, item: T) -> Result<(), Closed<T>> {
        let mut item = item;
        loop {
            match self.try_send(item) {
                Ok(()) => {
                    // Room left over is for the next in line: one wake-up may stand for several takes.
                    if self.0.items.borrow().len() < self.0.limit {
                        self.0.emptied.notify_one();
                    }
                    return Ok(());
                }
                Err(QueueFull::Closed(back)) => {
                    self.0.emptied.notify_one();
                    return Err(Closed(back));
                }
                Err(QueueFull::Full(back)) => item = back,
            }
            self.0.emptied.notified().await;
        }
    }
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        QueueSender(self.0.clone())
    }
}

impl<T> Drop for QueueSender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.filled.notify_one();
        }
    }
}

impl<T> QueueReceiver<T> {
    /// The next item; `None` once all senders are gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.try_recv() {
                return Some(item);
            }
            if self.0.senders.get() == 0 {
                return None;
            }
            self.0.filled.notified().await;
        }
    }

    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.0.items.borrow_mut().pop_front();
        if item.is_some() {
            self.0.emptied.notify_one();
        }
        item
    }

    /// Items waiting.
    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        self.0.receiver_gone.set(true);
        let items = std::mem::take(&mut *self.0.items.borrow_mut());
        drop(items);
        // Each woken sender sees that the receiver is gone and wakes the next.
        self.0.emptied.notify_one();
    }
}
