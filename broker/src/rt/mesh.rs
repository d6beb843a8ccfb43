//! Requests and replies between shards. Owns correlation, flow control and what happens when a side goes away; leaves
//! the messages to the caller (`Q` and `R` are closed enums of `shard/`).
//!
//! Every shard has one inbound doorbell, drained by one pump task, so requests of one shard arrive in the order sent.
//! A shard may have `window` unanswered requests at each other shard; more wait in line. The inbound queues are sized
//! for all windows at once, requests and replies, so a reply always fits, nothing else needs a backlog, and two shards
//! that flood each other cannot deadlock. A reply travels by request number to a local oneshot.

use super::ShardId;
use super::doorbell::{self, SendError};
use super::local::{Answer, Budget, Permit, oneshot};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

enum Frame<Q, R> {
    Request { from: ShardId, id: u64, body: Q },
    Reply { id: u64, body: Option<R> },
}

/// No reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// The other shard has ended.
    #[error("the other shard has ended")]
    Closed,
    /// The other shard dropped the request without an answer.
    #[error("the other shard gave no answer")]
    NoAnswer,
}

/// One shard's end of the mesh before it reaches its thread. `Send`; [`Port::open`] it on the shard.
pub struct Port<Q: Send, R: Send> {
    shard: ShardId,
    window: usize,
    inbound: doorbell::Receiver<Frame<Q, R>>,
    outbound: Vec<doorbell::Sender<Frame<Q, R>>>,
}

/// Ends for `shards` shards, in order. `window` bounds the unanswered requests per ordered pair of shards.
pub fn ports<Q: Send, R: Send>(shards: u16, window: usize) -> io::Result<Vec<Port<Q, R>>> {
    let limit = usize::from(shards) * window * 2;
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..shards {
        let (sender, receiver) = doorbell::channel(limit)?;
        senders.push(sender);
        receivers.push(receiver);
    }
    let port = |(shard, inbound)| Port {
        shard: ShardId(shard),
        window,
        inbound,
        outbound: senders.clone(),
    };
    Ok((0..shards).zip(receivers).map(port).collect())
}

impl<Q: Send, R: Send> Port<Q, R> {
    /// The shard's handle for asking, and the inbound side that the shard has to [`Inbound::run`] as a task.
    pub fn open(self) -> (Mesh<Q, R>, Inbound<Q, R>) {
        let windows = self.outbound.iter().map(|_| Budget::new(self.window)).collect();
        let inner = Rc::new(Inner {
            shard: self.shard,
            outbound: self.outbound,
            windows,
            next_id: Cell::new(0),
            pending: RefCell::new(HashMap::new()),
        });
        (
            Mesh(inner.clone()),
            Inbound {
                frames: self.inbound,
                inner,
            },
        )
    }
}

struct Pending<R> {
    answer: Answer<Result<R, MeshError>>,
    /// Held until the reply is here, not until the asker loses interest: the reply takes up room in our queue.
    _window: Permit,
}

struct Inner<Q: Send, R: Send> {
    shard: ShardId,
    outbound: Vec<doorbell::Sender<Frame<Q, R>>>,
    windows: Vec<Budget>,
    next_id: Cell<u64>,
    pending: RefCell<HashMap<u64, Pending<R>>>,
}

/// A shard's handle to the mesh; clones are cheap (`Rc`).
pub struct Mesh<Q: Send, R: Send>(Rc<Inner<Q, R>>);

impl<Q: Send, R: Send> Clone for Mesh<Q, R> {
    fn clone(&self) -> Self {
        Mesh(self.0.clone())
    }
}

impl<Q: Send, R: Send> Mesh<Q, R> {
    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// Shards in the mesh.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.0.outbound.len()).expect("made from a u16")
    }

    /// Requests without a reply yet, over all shards.
    pub fn unanswered(&self) -> usize {
        self.0.pending.borrow().len()
    }

    /// Asks shard `to` and awaits its reply. Waits in line when the window to that shard is full. Dropping the future
    /// before it sent takes the request back; after that the request is carried out and its reply ignored.
    pub async fn request(&self, to: ShardId, body: Q) -> Result<R, MeshError> {
        let window = self.0.windows[to.index()].acquire(1).await;
        self.start(to, body, window)?
            .await
            .unwrap_or(Err(MeshError::Closed))
    }

    /// As [`Mesh::request`] without waiting for the reply: returns once the request is on its way.
    pub async fn post(&self, to: ShardId, body: Q) -> Result<(), MeshError> {
        let window = self.0.windows[to.index()].acquire(1).await;
        self.start(to, body, window).map(drop)
    }

    fn start(
        &self,
        to: ShardId,
        body: Q,
        window: Permit,
    ) -> Result<super::local::Question<Result<R, MeshError>>, MeshError> {
        let inner = &self.0;
        let id = inner.next_id.get();
        inner.next_id.set(id + 1);
        let (answer, question) = oneshot();
        inner.pending.borrow_mut().insert(
            id,
            Pending {
                answer,
                _window: window,
            },
        );
        let outbound = &inner.outbound[to.index()];
        let sent = outbound.try_send(Frame::Request {
            from: inner.shard,
            id,
            body,
        });
        // A shard that closed while we pushed may have missed the frame; then nobody would ever answer.
        if sent.is_err() || outbound.is_closed() {
            debug_assert!(
                !matches!(sent, Err(SendError::Full(_))),
                "the mesh keeps room for every request"
            );
            inner.pending.borrow_mut().remove(&id);
            return Err(MeshError::Closed);
        }
        Ok(question)
    }
}

/// Owed to one request. Dropped unsent, the asking shard sees [`MeshError::NoAnswer`].
#[must_use = "dropping the replier tells the asking shard that there is no answer"]
pub struct Replier<Q: Send, R: Send> {
    to: Option<doorbell::Sender<Frame<Q, R>>>,
    id: u64,
}

impl<Q: Send, R: Send> Replier<Q, R> {
    /// Answers the request. Never waits: the asker's window has kept room for it.
    pub fn send(mut self, body: R) {
        self.answer(Some(body));
    }

    fn answer(&mut self, body: Option<R>) {
        let Some(to) = self.to.take() else { return };
        let sent = to.try_send(Frame::Reply { id: self.id, body });
        debug_assert!(
            !matches!(sent, Err(SendError::Full(_))),
            "the mesh keeps room for every reply"
        );
    }
}

impl<Q: Send, R: Send> Drop for Replier<Q, R> {
    fn drop(&mut self) {
        self.answer(None);
    }
}

/// What arrives at one shard. Belongs to that shard's pump task.
pub struct Inbound<Q: Send, R: Send> {
    frames: doorbell::Receiver<Frame<Q, R>>,
    inner: Rc<Inner<Q, R>>,
}

impl<Q: Send, R: Send> Inbound<Q, R> {
    /// Hands every request to `handler`, in order of arrival, and every reply to who asked. `handler` must not block;
    /// what takes time goes into a task of its own with the [`Replier`]. Ends when every other end is gone; usually it
    /// is a task that is dropped with its shard, and then open requests to this shard fail.
    pub async fn run(mut self, mut handler: impl FnMut(ShardId, Q, Replier<Q, R>)) {
        while let Some(frame) = self.frames.recv().await {
            match frame {
                Frame::Request { from, id, body } => {
                    let to = Some(self.inner.outbound[from.index()].clone());
                    handler(from, body, Replier { to, id });
                }
                Frame::Reply { id, body } => {
                    let pending = self.inner.pending.borrow_mut().remove(&id);
                    if let Some(pending) = pending {
                        let _ = pending.answer.send(body.ok_or(MeshError::NoAnswer));
                    }
                }
            }
        }
    }
}

impl<Q: Send, R: Send> Drop for Inbound<Q, R> {
    fn drop(&mut self) {
        self.frames.close();
        while let Some(frame) = self.frames.try_recv() {
            if let Frame::Request { from, id, .. } = frame {
                drop(Replier {
                    to: Some(self.inner.outbound[from.index()].clone()),
                    id,
                });
            }
        }
        // Whoever still asks on this shard would wait for ever: nobody delivers replies any more.
        self.inner.pending.borrow_mut().clear();
    }
}
