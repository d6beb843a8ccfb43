//! Bytes of one connection -> frames. Checks the length prefix before any allocation, recognises what is not Kafka, and
//! takes every frame out of the core's receive budget until its answer has left.
//!
//! One reader per connection, on the connection's core. Leaves the meaning of a frame to `api/`.

use std::io;
use std::rc::Rc;

use bytes::Bytes;

use crate::rt::local::{Budget, Permit};
use crate::rt::net::TcpStream;

/// First buffer of a connection; most requests fit, and an idle client pins no more than this.
const FIRST_BUFFER: usize = 4 * 1024;
/// The buffer of a connection that keeps sending larger frames.
const LARGE_BUFFER: usize = 64 * 1024;
/// Smallest frame that can hold a request header: key, version, correlation id.
const SMALLEST_FRAME: i32 = 8;

/// One request as it came off the socket.
pub struct InFrame {
    /// Everything behind the length prefix.
    pub bytes: Bytes,
    /// The frame's share of the receive budget, given back when dropped.
    pub permit: Permit,
}

/// Why no further frame comes from a connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed between two frames.
    #[error("closed by the client")]
    Closed,
    /// The peer closed in the middle of a frame.
    #[error("closed by the client in the middle of a request")]
    Torn,
    /// The socket failed.
    #[error("read from the client: {0}")]
    Io(#[from] io::Error),
    /// The bytes are of another protocol.
    #[error("the client does not speak the Kafka protocol, this looks like {0}")]
    NotKafka(&'static str),
    /// A negative or tiny length prefix.
    #[error("the client does not speak the Kafka protocol: a request of {0} bytes")]
    BadLength(i32),
    /// A length prefix over the limit; refused before anything is allocated.
    #[error("a request of {size} bytes is over the limit socket.request.max.bytes = {limit}")]
    TooLarge {
        /// What the prefix says.
        size: i32,
        /// The limit.
        limit: usize,
    },
}

/// Cuts a connection's bytes into frames.
pub struct FrameReader {
    stream: Rc<TcpStream>,
    budget: Budget,
    limit: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameReader {
    /// A reader that refuses frames over `limit` bytes and waits for `budget` before it holds one.
    pub fn new(stream: Rc<TcpStream>, budget: Budget, limit: usize) -> FrameReader {
        FrameReader {
            stream,
            budget,
            limit,
            buffer: vec![0; FIRST_BUFFER],
            start: 0,
            end: 0,
        }
    }

    /// The next frame. Not cancel-safe: keep the future and poll it again.
    pub async fn next(&mut self) -> Result<InFrame, FrameError> {
        while self.end - self.start < 4 {
            self.fill().await?;
        }
        let prefix: [u8; 4] = self.buffer[self.start..self.start + 4]
            .try_into()
            .expect("four bytes are there");
        let len = self.check_length(prefix)?;
        self.start += 4;
        // Waiting here is the back-pressure: a core at its limit reads no further sockets.
        let permit = self.budget.acquire(len).await;
        let bytes = self.take(len).await?;
        Ok(InFrame { bytes, permit })
    }

    fn check_length(&self, prefix: [u8; 4]) -> Result<usize, FrameError> {
        if let Some(other) = other_protocol(prefix) {
            return Err(FrameError::NotKafka(other));
        }
        let size = i32::from_be_bytes(prefix);
        if size < SMALLEST_FRAME {
            return Err(FrameError::BadLength(size));
        }
        let len = size as usize;
        if len > self.limit {
            return Err(FrameError::TooLarge {
                size,
                limit: self.limit,
            });
        }
        Ok(len)
    }

    /// Reads more into the buffer, behind what is there.
    async fn fill(&mut self) -> Result<(), FrameError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        if read == 0 {
            return Err(if self.start == self.end {
                FrameError::Closed
            } else {
                FrameError::Torn
            });
        }
        self.end += read;
        Ok(())
    }

    /// Takes a whole frame: out of the buffer if it is there, else the rest is read straight into the frame.
    async fn take(&mut self, len: usize) -> Result<Bytes, FrameError> {
        let mut frame = vec![0; len];
        let have = len.min(self.end - self.start);
        frame[..have].copy_from_slice(&self.buffer[self.start..self.start + have]);
        self.start += have;
        let mut at = have;
        while at < len {
            let read = self.stream.read(&mut frame[at..]).await?;
            if read == 0 {
                return Err(FrameError::Torn);
            }
            at += read;
        }
        if len > self.buffer.len() && self.buffer.len() < LARGE_BUFFER && self.start == self.end {
            self.buffer = vec![0; LARGE_BUFFER];
            (self.start, self.end) = (0, 0);
        }
        Ok(Bytes::from(frame))
    }
}

/// Names the protocol behind first bytes that no Kafka client sends: as a length they would be 300 MB and more.
fn other_protocol(prefix: [u8; 4]) -> Option<&'static str> {
    match &prefix {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" => {
            Some("HTTP")
        }
        b"PRI " => Some("HTTP/2"),
        b"SSH-" => Some("SSH"),
        [0x16, 0x03, 0..=4, _] => Some("TLS, and this listener is PLAINTEXT"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(other_protocol(*b"GET "), Some("HTTP"));
        assert!(other_protocol([0x16, 0x03, 0x01, 0x02]).is_some());
        assert_eq!(other_protocol([0, 0, 0, 35]), None);
        assert_eq!(
            other_protocol([0x06, 0x40, 0, 0]),
            None,
            "100 MiB, the default limit"
        );
    }
}
