//! sendmsg of many slices with a cursor over what is left.
#![allow(unsafe_code)]

use bytes::Bytes;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Slices per system call. The kernel's limit is 1,024; a stack array of this size is plenty.
const BATCH: usize = 64;

/// What is left to send of a list of slices.
pub(super) struct Cursor<'a> {
    slices: &'a [Bytes],
    /// Bytes of the first slice already sent.
    sent: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(slices: &'a [Bytes]) -> Cursor<'a> {
        let mut cursor = Cursor { slices, sent: 0 };
        cursor.advance(0);
        cursor
    }

    pub(super) fn is_done(&self) -> bool {
        self.slices.is_empty()
    }

    /// The unsent part of the first slice.
    pub(super) fn first(&self) -> &'a [u8] {
        self.slices.first().map_or(&[], |first| &first[self.sent..])
    }

    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.slices.first() {
            let left = first.len() - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            self.slices = &self.slices[1..];
        }
    }

    /// Sends what the socket takes now. `WouldBlock` when it takes nothing.
    pub(super) fn send_now(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut parts = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        let mut count = 0;
        for (index, slice) in self.slices.iter().take(BATCH).enumerate() {
            let slice = if index == 0 {
                &slice[self.sent..]
            } else {
                &slice[..]
            };
            parts[count] = libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            };
            count += 1;
        }
        // SAFETY: a zeroed msghdr is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = count as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `message` points to `count` parts that point into slices borrowed by `self`; the kernel only reads
        // them, and not after the call returns. `fd` is open for as long as it is borrowed.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        self.advance(sent);
        Ok(())
    }
}
