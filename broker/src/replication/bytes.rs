//! Numbers off the wire: a reader that never looks beyond what is there.
//!
//! Owns the words for a frame that is wrong. Leaves layouts to `handshake.rs` and `wire.rs`.

use bytes::{Buf, Bytes};

/// Why bytes of a peer are no frame of this protocol. The connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Ends within a field.
    #[error("ends within {0}")]
    Short(&'static str),
    /// More bytes than its fields take.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A length over the limit; refused before memory is asked for.
    #[error("a frame of {len} bytes, the limit is {limit}")]
    TooLong {
        /// What the prefix says.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// More entries than its bytes can hold.
    #[error("{count} entries of {what} in {left} bytes")]
    Count {
        /// Of what.
        what: &'static str,
        /// As the frame says.
        count: usize,
        /// Bytes that are left of it.
        left: usize,
    },
    /// A number that this version does not know.
    #[error("{what} {found} is unknown")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u8,
    },
    /// A number below zero where none may be.
    #[error("{what} is {found}")]
    Negative {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: i64,
    },
    /// The first bytes are of another protocol.
    #[error("not the replication protocol")]
    OtherProtocol,
    /// Not UTF-8.
    #[error("{0} is no text")]
    NotText(&'static str),
}

/// Takes fields off the front of a frame.
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, Malformed> {
        match self.0.len() >= len {
            true => Ok(self.0.split_to(len)),
            false => Err(Malformed::Short(what)),
        }
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.take(1, what)?.get_u8())
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(self.take(2, what)?.get_u16())
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(self.take(4, what)?.get_u32())
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        Ok(self.take(4, what)?.get_i32())
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(self.take(8, what)?.get_i64())
    }

    /// An offset or a partition number: not below zero.
    pub(super) fn natural(&mut self, what: &'static str) -> Result<i64, Malformed> {
        match self.i64(what)? {
            found if found < 0 => Err(Malformed::Negative { what, found }),
            found => Ok(found),
        }
    }

    /// How many entries of `size` bytes follow; never more than there are bytes for.
    pub(super) fn count(&mut self, what: &'static str, size: usize) -> Result<usize, Malformed> {
        let count = self.u32(what)? as usize;
        let left = self.0.len();
        match count.checked_mul(size) {
            Some(needed) if needed <= left => Ok(count),
            _ => Err(Malformed::Count { what, count, left }),
        }
    }

    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(Malformed::Trailing(more)),
        }
    }
}
