//! Waiting for an eventfd with the shard's own engine. Owns the system calls and the rule that a bell stays on the
//! thread that made it.
#![allow(unsafe_code)]

use glommio::io::BufferedFile;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A new eventfd, in blocking mode: io_uring answers a non-blocking one with an error instead of waiting.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers; a non-negative result is a descriptor that nobody else owns.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// Adds one to the eventfd: whoever waits for it wakes.
pub(super) fn ring(eventfd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: the kernel reads 8 bytes from `one`, which outlives the call. A full counter cannot be: every ring
    // follows a wait that emptied it.
    unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
}

enum Source {
    Uring(BufferedFile),
    Posix(AsyncFd<Arc<OwnedFd>>),
}

/// The waiting side of one eventfd.
pub(super) struct Bell {
    owner: ThreadId,
    source: ManuallyDrop<Source>,
}

// SAFETY: `source` is not `Send` (it holds an `Rc` into the executor). It is touched only in `wait` and `drop`, and
// both first compare the thread with the one that made it: `wait` panics elsewhere, `drop` leaks it elsewhere.
unsafe impl Send for Bell {}

impl Bell {
    pub(super) fn ring(eventfd: &Arc<OwnedFd>) -> Bell {
        let own = eventfd
            .try_clone()
            .expect("out of file descriptors for a doorbell");
        // SAFETY: `own` gives its descriptor up, so the handle is its only owner.
        Bell::with(Source::Uring(unsafe {
            BufferedFile::from_raw_fd(own.into_raw_fd())
        }))
    }

    pub(super) fn epoll(eventfd: &Arc<OwnedFd>) -> Bell {
        // SAFETY: fcntl takes a descriptor that `eventfd` keeps open, and no pointers.
        unsafe { libc::fcntl(eventfd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        // SAFETY: the `Arc` keeps the descriptor open for as long as the `AsyncFd` has it, and always gives the same.
        let source = unsafe { AsyncFd::register_with_interest(eventfd.clone(), Interest::READABLE) };
        Bell::with(Source::Posix(source.expect("epoll takes an eventfd")))
    }

    fn with(source: Source) -> Bell {
        Bell {
            owner: thread::current().id(),
            source: ManuallyDrop::new(source),
        }
    }

    /// Waits until the eventfd was rung, and empties it. May also return without: the caller looks again.
    pub(super) async fn wait(&mut self) {
        assert_eq!(
            self.owner,
            thread::current().id(),
            "a doorbell belongs to the shard that first waited on it"
        );
        match &*self.source {
            Source::Uring(file) => {
                // The position does not matter for an eventfd.
                if let Err(error) = file.read_at(0, 8).await {
                    tracing::debug!(%error, "reading a doorbell failed");
                }
            }
            Source::Posix(fd) => {
                let Ok(mut guard) = fd.readable().await else {
                    return;
                };
                let _ = guard.try_io(|fd| {
                    let mut count = 0u64;
                    // SAFETY: the kernel writes 8 bytes into `count`, which outlives the call.
                    let got = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
                    if got < 0 {
                        Err(io::Error::last_os_error())
                    } else {
                        Ok(())
                    }
                });
            }
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if self.owner == thread::current().id() {
            // SAFETY: dropped once, here, on the thread that made it.
            unsafe { ManuallyDrop::drop(&mut self.source) };
        }
    }
}
