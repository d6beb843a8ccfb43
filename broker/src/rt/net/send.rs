//! sendmsg of slices from where they lie.
#![allow(unsafe_code)]

use crate::rt::slices::Unsent;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends what the socket takes now. `WouldBlock` when it takes nothing.
pub(super) fn send_now(fd: BorrowedFd<'_>, unsent: &mut Unsent<'_>) -> io::Result<()> {
    let sent = unsent.with_parts(|parts| {
        // SAFETY: a zeroed msghdr is an empty message.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `message` points to parts that are laid out as iovecs and borrow their slices; the kernel only reads
        // them, and not after the call returns. `fd` is open for as long as it is borrowed.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    })?;
    unsent.advance(sent);
    Ok(())
}
