//! A bounded channel into a shard from any thread: control plane or another shard.
//!
//! Owns the only way data and wake-ups cross threads. A sender pushes to a lock-free queue and, when the receiver has
//! said that it is about to sleep (`armed`), writes to an eventfd. The receiver arms, looks once more, then waits for
//! the eventfd with its own engine: through the ring on `uring`, epoll on `posix`. So no task waker is ever visible to
//! another thread, and a busy receiver costs senders no system call.

use super::Engine;
use super::engine;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

mod bell;

use bell::{Bell, ring};

struct Shared {
    /// Items in the queue or about to be: bounds the queue.
    queued: AtomicUsize,
    limit: usize,
    armed: AtomicBool,
    senders: AtomicUsize,
    receiver_gone: AtomicBool,
    bell: Rung,
}

/// What wakes a receiver that sleeps.
enum Rung {
    Eventfd(Arc<OwnedFd>),
    /// In a simulated world all is on one thread, and the receiver's own waker may be kept.
    Waker(Mutex<Option<Waker>>),
}

impl Shared {
    /// Wakes the receiver if it sleeps. Comes after what it is to see.
    fn wake(&self) {
        // Pairs with the fence in `Receiver::wait`: either we see `armed`, or the receiver sees what we did before.
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel) {
            match &self.bell {
                Rung::Eventfd(eventfd) => ring(eventfd),
                Rung::Waker(slot) => {
                    let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
        }
    }
}

/// Why an item was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError<T> {
    /// The queue holds its limit.
    #[error("the queue is full")]
    Full(T),
    /// The receiver is gone.
    #[error("the receiving shard is gone")]
    Closed(T),
}

impl<T> std::fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full",
            SendError::Closed(_) => "Closed",
        })
    }
}

/// Sends from any thread. Never waits.
pub struct Sender<T> {
    queue: mpsc::Sender<T>,
    shared: Arc<Shared>,
}

/// Receives on one shard. May be moved between threads until it first waits; from then on it belongs to that shard.
pub struct Receiver<T> {
    queue: mpsc::Receiver<T>,
    shared: Arc<Shared>,
    bell: Option<Bell>,
}

/// A channel that holds at most `limit` items.
pub fn channel<T: Send>(limit: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    let (sender, receiver) = mpsc::channel();
    let shared = Arc::new(Shared {
        queued: AtomicUsize::new(0),
        limit,
        armed: AtomicBool::new(false),
        senders: AtomicUsize::new(1),
        receiver_gone: AtomicBool::new(false),
        bell: match super::sim::active() {
            true => Rung::Waker(Mutex::default()),
            false => Rung::Eventfd(Arc::new(bell::eventfd()?)),
        },
    });
    Ok((
        Sender {
            queue: sender,
            shared: shared.clone(),
        },
        Receiver {
            queue: receiver,
            shared,
            bell: None,
        },
    ))
}

impl<T: Send> Sender<T> {
    /// Puts the item in the queue, or gives it back.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Err(SendError::Closed(item));
        }
        if self.shared.queued.fetch_add(1, Ordering::Relaxed) >= self.shared.limit {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(SendError::Full(item));
        }
        if let Err(mpsc::SendError(item)) = self.queue.send(item) {
            self.shared.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(SendError::Closed(item));
        }
        self.shared.wake();
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            queue: self.queue.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wake();
        }
    }
}

impl<T: Send> Receiver<T> {
    /// The next item, if one is there now.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.queue.try_recv().ok()?;
        self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        Some(item)
    }

    /// The next item; `None` once all senders are gone and the queue is empty. Cancelling it loses nothing.
    ///
    /// # Panics
    /// When it waits on another shard than the one it first waited on.
    pub async fn recv(&mut self) -> Option<T> {
        engine::yield_if_needed().await;
        loop {
            if let Some(item) = self.try_recv() {
                return Some(item);
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                // Senders push before they go: one more look decides.
                return self.try_recv();
            }
            self.shared.armed.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(item) = self.try_recv() {
                self.shared.armed.store(false, Ordering::Relaxed);
                return Some(item);
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                continue;
            }
            match &self.shared.bell {
                Rung::Eventfd(eventfd) => {
                    let bell = match &mut self.bell {
                        Some(bell) => bell,
                        none => none.insert(Bell::new(eventfd)),
                    };
                    bell.wait().await;
                }
                Rung::Waker(slot) => {
                    let armed = &self.shared.armed;
                    poll_fn(|cx| {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
                        match armed.load(Ordering::Relaxed) {
                            true => Poll::Pending,
                            false => Poll::Ready(()),
                        }
                    })
                    .await;
                }
            }
            self.shared.armed.store(false, Ordering::Relaxed);
        }
    }

    /// Items waiting (senders in the middle of a push are counted).
    pub fn len(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses everything from now on; what is queued can still be received.
    ///
    /// A sender that was pushing meanwhile either is seen by a receive after this call, or sees `is_closed` after its
    /// push.
    pub fn close(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
    }
}

impl Bell {
    fn new(eventfd: &Arc<OwnedFd>) -> Bell {
        match engine::current().engine {
            Engine::Uring => Bell::ring(eventfd),
            Engine::Posix => Bell::epoll(eventfd),
            Engine::Sim => unreachable!("a channel made in a simulated world has no eventfd"),
        }
    }
}
