//! Signs of life on a connection, both ways: one is sent when nothing else was for a while, and a peer that is silent, or
//! takes nothing, is given up. That finds connections whose other end is gone without a word.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;

use super::frames::Ended;
use crate::rt::local::Notify;
use crate::rt::net::TcpStream;
use crate::rt::{self, Instant};

/// How often it is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Nothing sent for so long: a sign of life is due.
const QUIET: Duration = Duration::from_secs(2);
/// Nothing heard for so long: the peer is gone.
const SILENCE: Duration = Duration::from_secs(8);
/// Nothing of a write was taken for so long: the peer does not read.
const STUCK: Duration = Duration::from_secs(30);

/// When something went over one connection.
pub(super) struct Pulse {
    heard: Cell<Instant>,
    sent: Cell<Instant>,
    writing: Cell<Option<Instant>>,
    due: Cell<bool>,
}

impl Pulse {
    pub(super) fn new() -> Pulse {
        let now = rt::now();
        Pulse {
            heard: Cell::new(now),
            sent: Cell::new(now),
            writing: Cell::new(None),
            due: Cell::new(false),
        }
    }

    /// Something came.
    pub(super) fn heard(&self) {
        self.heard.set(rt::now());
    }

    /// Whether a sign of life is to be sent, if nothing else is.
    pub(super) fn take_due(&self) -> bool {
        self.due.take()
    }

    /// Sends slices, and notes how that goes on.
    pub(super) async fn write(&self, stream: &TcpStream, slices: &[Bytes]) -> Result<(), Ended> {
        let goes_on = || self.writing.set(Some(rt::now()));
        goes_on();
        stream.write_all_telling(slices, goes_on).await?;
        self.writing.set(None);
        self.sent.set(rt::now());
        Ok(())
    }

    /// Wakes the writer when a sign of life is due, or when `tick`, which is asked now and then, has something for it. Ends
    /// when the peer must be given up.
    pub(super) async fn watch(&self, writer: &Notify, mut tick: impl FnMut() -> bool) -> Ended {
        loop {
            rt::sleep(TICK).await;
            if tick() {
                writer.notify_one();
            }
            if self.heard.get().elapsed() >= SILENCE {
                return Ended::Silent(SILENCE);
            }
            match self.writing.get() {
                Some(since) if since.elapsed() >= STUCK => return Ended::Stuck(STUCK),
                Some(_) => {}
                None if self.sent.get().elapsed() >= QUIET => {
                    self.due.set(true);
                    writer.notify_one();
                }
                None => {}
            }
        }
    }
}
