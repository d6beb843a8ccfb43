//! Sockets of engine `posix`: tokio's, through epoll.

use super::send::send_now;
use crate::rt::slices::Unsent;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;

pub(super) struct Listener(tokio::net::TcpListener);

impl Listener {
    pub(super) fn new(socket: Socket) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener(tokio::net::TcpListener::from_std(socket.into())?))
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Stream(stream), peer))
    }
}

pub(super) struct Stream(tokio::net::TcpStream);

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Stream> {
        let stream = std::net::TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        Ok(Stream(tokio::net::TcpStream::from_std(stream)?))
    }

    pub(super) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        Ok(Stream(tokio::net::TcpStream::connect(address).await?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    /// Sends at least one byte.
    pub(super) async fn send_some(&self, unsent: &mut Unsent<'_>) -> io::Result<()> {
        loop {
            self.0.writable().await?;
            match self
                .0
                .try_io(Interest::WRITABLE, || send_now(self.0.as_fd(), unsent))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                outcome => return outcome,
            }
        }
    }
}
