//! One client connection on the core that accepted it: frames in, answers out in request order.
//!
//! Owns how many requests of a connection run at once (a bounded number of those that may run together, else one at a
//! time, as Kafka does), the order of answers, and why a connection ends. Leaves the meaning of requests to `api/`.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesOrdered, Stream, StreamExt};

use super::frames::{FrameError, FrameReader, InFrame};
use super::listener::Handle;
use crate::api::{self, Order, Outcome};
use crate::rt::net::TcpStream;

/// Requests of one connection that run at once when they may. Bytes are bounded by the core's receive budget.
const MOST_IN_FLIGHT: usize = 64;

/// Why a connection is asked to end by its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Nothing came or went for `connections.max.idle.ms`.
    Idle,
    /// The broker stops: requests in flight are answered, no more are read.
    Stopping,
}

enum Event {
    Frame(Result<InFrame, FrameError>),
    Served(Outcome),
    Close(Close),
}

/// Serves a connection until it ends. Dropping the future cancels what is in flight.
pub async fn run(
    context: Rc<api::Connection>,
    stream: Rc<TcpStream>,
    handle: Rc<Handle>,
    reader: FrameReader,
) {
    let mut connection = Running {
        context,
        stream,
        handle,
        in_flight: FuturesOrdered::new(),
        alone: false,
        parked: None,
        draining: false,
    };
    let frames = futures::stream::unfold(reader, |mut reader| async {
        let frame = reader.next().await;
        Some((frame, reader))
    });
    let mut frames = pin!(frames);
    while let Some(event) = connection.next_event(frames.as_mut()).await {
        if !connection.on_event(event).await {
            break;
        }
    }
    // The peer may be gone already.
    let _ = connection.stream.shutdown();
}

struct Running {
    context: Rc<api::Connection>,
    stream: Rc<TcpStream>,
    handle: Rc<Handle>,
    in_flight: FuturesOrdered<LocalBoxFuture<'static, Outcome>>,
    /// The request in flight lets no other run beside it.
    alone: bool,
    /// A request that was read and may not start yet.
    parked: Option<InFrame>,
    /// No more requests are taken; the connection ends when the last answer is out.
    draining: bool,
}

impl Running {
    /// The next thing that happens; None when a draining connection has nothing left to answer.
    async fn next_event<S>(&mut self, mut frames: Pin<&mut S>) -> Option<Event>
    where
        S: Stream<Item = Result<InFrame, FrameError>>,
    {
        if self.draining && self.in_flight.is_empty() {
            return None;
        }
        let handle = self.handle.clone();
        let mut closed = pin!(handle.asked_to_close());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(outcome)) = self.in_flight.poll_next_unpin(cx) {
                return Poll::Ready(Some(Event::Served(outcome)));
            }
            // Reading goes on while requests run: it is how a client's leaving is noticed.
            if !self.draining
                && self.parked.is_none()
                && let Poll::Ready(Some(frame)) = frames.as_mut().poll_next(cx)
            {
                return Poll::Ready(Some(Event::Frame(frame)));
            }
            if !self.draining
                && let Poll::Ready(close) = closed.as_mut().poll(cx)
            {
                return Poll::Ready(Some(Event::Close(close)));
            }
            Poll::Pending
        })
        .await
    }

    /// Acts on an event; false ends the connection.
    async fn on_event(&mut self, event: Event) -> bool {
        match event {
            Event::Frame(Ok(frame)) => {
                self.handle.touch();
                self.parked = Some(frame);
                self.start_parked();
                true
            }
            Event::Frame(Err(error)) => {
                self.log_end(&error);
                false
            }
            Event::Served(outcome) => {
                let goes_on = self.answer(outcome).await;
                if self.in_flight.is_empty() {
                    self.alone = false;
                    self.handle.serving.set(false);
                }
                self.start_parked();
                goes_on
            }
            Event::Close(Close::Idle) => {
                tracing::debug!(peer = %self.context.peer, "an idle connection is closed");
                false
            }
            Event::Close(Close::Stopping) => {
                self.parked = None;
                self.draining = true;
                true
            }
        }
    }

    /// Starts the parked request if what runs now allows it.
    fn start_parked(&mut self) {
        let Some(frame) = &self.parked else { return };
        let order = api::order(&self.context.core, &frame.bytes);
        let may_start = match order {
            Order::Together => !self.alone && self.in_flight.len() < MOST_IN_FLIGHT,
            Order::Alone => self.in_flight.is_empty(),
        };
        if !may_start {
            return;
        }
        let Some(frame) = self.parked.take() else { return };
        self.alone = order == Order::Alone;
        self.handle.serving.set(true);
        let context = self.context.clone();
        self.in_flight.push_back(Box::pin(async move {
            let InFrame { bytes, permit } = frame;
            let outcome = api::serve(context, bytes).await;
            drop(permit);
            outcome
        }));
    }

    /// Writes an answer; false if the connection must end.
    async fn answer(&mut self, outcome: Outcome) -> bool {
        let frame = match outcome {
            Outcome::Reply(frame) => frame,
            Outcome::Silent => return true,
            Outcome::Refuse(why) => {
                tracing::warn!(peer = %self.context.peer, listener = %self.context.listener, "connection closed: {why}");
                return false;
            }
        };
        self.handle.serving.set(false);
        self.handle.touch();
        let write = pin!(self.stream.write_all(&frame.segments));
        let idle = pin!(self.handle.idled_out());
        let written = match futures::future::select(write, idle).await {
            futures::future::Either::Left((written, _)) => written,
            futures::future::Either::Right(_) => {
                tracing::info!(peer = %self.context.peer, "connection closed: the client does not read its answers");
                return false;
            }
        };
        self.handle.touch();
        self.handle.serving.set(!self.in_flight.is_empty());
        self.context.core.shard.counters.replied(frame.len as u64);
        if let Err(error) = written {
            tracing::debug!(peer = %self.context.peer, %error, "write to the client");
            return false;
        }
        true
    }

    fn log_end(&self, error: &FrameError) {
        let peer = self.context.peer;
        match error {
            FrameError::Closed => tracing::trace!(%peer, "connection closed by the client"),
            FrameError::Torn | FrameError::Io(_) => tracing::debug!(%peer, "connection lost: {error}"),
            FrameError::NotKafka(_) | FrameError::BadLength(_) | FrameError::TooLarge { .. } => {
                self.context.core.shard.counters.refused();
                tracing::warn!(%peer, listener = %self.context.listener, "connection closed: {error}");
            }
        }
    }
}
