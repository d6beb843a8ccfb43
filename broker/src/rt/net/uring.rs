//! Sockets of engine `uring`. glommio's TCP is readiness-based: a poll through the ring, then recv or send. Its stream
//! wants `&mut`, so it sits in a `RefCell` that is borrowed only inside a poll; its reader and writer sides keep their
//! own poll, so one task may wait to read while another waits to write. Its timeouts are never used: a read timeout
//! breaks the next read.
#![allow(unsafe_code)]

use super::send::send_now;
use crate::rt::slices::Unsent;
use futures::{AsyncRead, AsyncWrite};
use glommio::net as glommio_net;
use socket2::{SockRef, Socket};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

type Accepting = Pin<Box<dyn Future<Output = io::Result<glommio_net::TcpStream>>>>;

pub(super) struct Listener {
    socket: Rc<glommio_net::TcpListener>,
    /// The accept under way: it stays here when its caller is cancelled, or a connection it got would leak.
    accepting: RefCell<Option<Accepting>>,
}

impl Listener {
    pub(super) fn new(socket: Socket) -> Listener {
        // SAFETY: `socket` gives its descriptor up, so the listener is its only owner. It is in blocking mode, as an
        // accept through the ring wants it.
        let socket = unsafe { glommio_net::TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Listener {
            socket: Rc::new(socket),
            accepting: RefCell::new(None),
        }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr().map_err(io::Error::from)
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let stream = poll_fn(|cx| {
            let mut slot = self.accepting.borrow_mut();
            let accepting = slot.get_or_insert_with(|| {
                let socket = self.socket.clone();
                Box::pin(async move { socket.accept().await.map_err(io::Error::from) })
            });
            let outcome = ready!(accepting.as_mut().poll(cx));
            *slot = None;
            Poll::Ready(outcome)
        })
        .await?;
        let stream = Stream {
            stream: RefCell::new(stream),
        };
        let peer = SockRef::from(&stream.as_fd()).peer_addr()?;
        let peer = peer
            .as_socket()
            .ok_or_else(|| io::Error::other("not an IP socket"))?;
        Ok((stream, peer))
    }
}

pub(super) struct Stream {
    stream: RefCell<glommio_net::TcpStream>,
}

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> Stream {
        // SAFETY: `fd` gives its descriptor up, so the stream is its only owner.
        let stream = unsafe { glommio_net::TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Stream {
            stream: RefCell::new(stream),
        }
    }

    pub(super) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let stream = glommio_net::TcpStream::connect(address)
            .await
            .map_err(io::Error::from)?;
        Ok(Stream {
            stream: RefCell::new(stream),
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.stream.borrow().as_raw_fd();
        // SAFETY: the stream owns the descriptor and lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer)).await
    }

    /// Sends at least one byte. When the socket is full, glommio's own write waits for it: it tries the first slice
    /// again and registers the poll.
    pub(super) async fn send_some(&self, unsent: &mut Unsent<'_>) -> io::Result<()> {
        match send_now(self.as_fd(), unsent) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => return outcome,
        }
        let first = unsent.first();
        match poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, first)).await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => unsent.advance(sent?),
        }
        Ok(())
    }
}
