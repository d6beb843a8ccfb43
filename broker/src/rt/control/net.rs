//! Sockets of the control plane: TCP by tokio, or between the processes of a simulated world. The same code runs on both.
//!
//! Owns connecting by name and the two traits every HTTP/2 library asks for. Leaves what is said to [`super::http`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::rt::{now, sim};

/// A process that was killed a moment ago holds its ports until the kernel has torn it down; io_uring makes that take
/// longer. A restart should not fail for it.
const IN_USE_FOR: Duration = Duration::from_secs(2);

/// A listening socket.
pub struct Listener(Listening);

enum Listening {
    Tcp(tokio::net::TcpListener),
    Sim(sim::net::Listener),
}

impl Listener {
    /// Port 0 asks for a free one. On the control plane. An address that stays in use is an error after two seconds.
    pub async fn bind(address: SocketAddr) -> io::Result<Listener> {
        let deadline = now() + IN_USE_FOR;
        loop {
            let bound = match sim::active() {
                true => sim::net::Listener::bind(address, false).map(Listening::Sim),
                false => tokio::net::TcpListener::bind(address).await.map(Listening::Tcp),
            };
            match bound {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && now() < deadline => {
                    super::sleep(Duration::from_millis(20)).await;
                }
                bound => return bound.map(Listener),
            }
        }
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listening::Tcp(listener) => listener.local_addr(),
            Listening::Sim(listener) => Ok(listener.local_addr()),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.0 {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream(Flow::Tcp(stream)), peer))
            }
            Listening::Sim(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream(Flow::Sim(stream)), peer))
            }
        }
    }
}

/// One connection. `Send`; dropped, it is closed.
pub struct Stream(Flow);

enum Flow {
    Tcp(tokio::net::TcpStream),
    Sim(sim::net::Stream),
}

impl Stream {
    /// Connects to `host:port`. Unbounded: give it a deadline.
    pub async fn connect(address: &str) -> io::Result<Stream> {
        if sim::active() {
            // A simulated world has addresses and no names.
            let address = address
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
            return Ok(Stream(Flow::Sim(sim::net::Stream::connect(address).await?)));
        }
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(Flow::Tcp(stream)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Flow::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Flow::Sim(stream) => {
                let count = ready!(stream.poll_read(cx, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Flow::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Flow::Sim(_) if bytes.is_empty() => Poll::Ready(Ok(0)),
            Flow::Sim(stream) => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Flow::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Flow::Sim(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Flow::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Flow::Sim(stream) => {
                stream.shutdown();
                Poll::Ready(Ok(()))
            }
        }
    }
}
