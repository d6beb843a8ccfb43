//! Frames off a replication connection. Memory for a large one is asked for as its bytes arrive.
//!
//! Also the words for how a connection ends. Leaves what a frame says to `replication/wire.rs`.

use std::io;

use bytes::Bytes;

use super::pulse::Pulse;
use crate::replication::bytes::Malformed;
use crate::replication::handshake::Verdict;
use crate::replication::session::Violation;
use crate::replication::wire::{self, PREFIX};
use crate::rt::net::TcpStream;

/// Small frames are read together.
const BUFFER: usize = 64 << 10;
/// A large frame's memory begins with this, and doubles as it fills.
const FIRST_PIECE: usize = 1 << 20;

/// How a session's connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error("the peer does not speak this protocol: {0}")]
    Malformed(#[from] Malformed),
    /// What came is not allowed.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// No sign of life.
    #[error("no sign of life from the peer for {0:?}")]
    Silent(std::time::Duration),
    /// The peer does not read.
    #[error("the peer took nothing for {0:?}")]
    Stuck(std::time::Duration),
    /// A newer connection of the same follower is there.
    #[error("the follower came again")]
    Replaced,
    /// The leader's answer to the handshake.
    #[error("the leader (version {version}, node {node}, {cores} cores) refuses: {verdict:?}")]
    Refused {
        /// What it says.
        verdict: Verdict,
        /// Its version.
        version: u16,
        /// Who it is.
        node: i32,
        /// Its cores.
        cores: u16,
    },
    /// A step before the first frame took too long.
    #[error("{0} took too long")]
    TooLong(&'static str),
}

/// Cuts a connection's bytes into frames of at most `limit` bytes.
pub(super) struct Frames<'a> {
    stream: TcpStream,
    pulse: &'a Pulse,
    limit: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'a> Frames<'a> {
    /// Notes on `pulse` whatever comes: a large frame over a slow link is no silence.
    pub(super) fn new(stream: TcpStream, limit: usize, pulse: &'a Pulse) -> Frames<'a> {
        Frames {
            stream,
            pulse,
            limit,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
        }
    }

    /// The next frame without its prefix. Not cancel-safe: keep the future and poll it again.
    pub(super) async fn next(&mut self) -> Result<Bytes, Ended> {
        while self.end - self.start < PREFIX {
            self.fill().await?;
        }
        let prefix = self.buffer[self.start..self.start + PREFIX].try_into();
        let len = wire::length(prefix.expect("four bytes are there"), self.limit)?;
        self.start += PREFIX;
        if self.end - self.start >= len {
            let frame = Bytes::copy_from_slice(&self.buffer[self.start..self.start + len]);
            self.start += len;
            return Ok(frame);
        }
        self.large(len).await
    }

    async fn large(&mut self, len: usize) -> Result<Bytes, Ended> {
        let mut frame = vec![0; len.min(FIRST_PIECE)];
        let mut filled = self.end - self.start;
        frame[..filled].copy_from_slice(&self.buffer[self.start..self.end]);
        (self.start, self.end) = (0, 0);
        while filled < len {
            if filled == frame.len() {
                frame.resize(len.min(filled * 2), 0);
            }
            match self.stream.read(&mut frame[filled..]).await? {
                0 => return Err(Ended::Closed),
                got => filled += got,
            }
            self.pulse.heard();
        }
        Ok(frame.into())
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(Ended::Closed),
            got => {
                self.end += got;
                self.pulse.heard();
                Ok(())
            }
        }
    }
}
