//! TCP of one shard. Owns sockets: listening with SO_REUSEPORT, accepting, reading, and sending slices without copying.
//! Leaves framing, timeouts ([`super::timeout`]) and limits to `crate::net`.

mod posix;
mod send;
mod uring;

use super::sim::net as sim;
use super::slices::Unsent;
use super::{Engine, engine};
use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Connections the kernel queues for a listener before it turns clients away.
const BACKLOG: i32 = 1024;
/// An idle peer is asked after this time, then every tenth of it; a dead one is noticed after about two minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A listening socket of one shard.
pub struct TcpListener(Listener);

enum Listener {
    Uring(uring::Listener),
    Posix(posix::Listener),
    Sim(sim::Listener),
}

/// A socket on its way to another shard. `Send`.
pub struct RawStream {
    socket: RawSocket,
    peer: SocketAddr,
}

enum RawSocket {
    Fd(OwnedFd),
    Sim(sim::Stream),
}

impl RawStream {
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

/// An established connection of one shard. Clones share the socket (`Rc`): one task may read while another writes.
/// Two tasks must not read at once, nor two write. Closed when the last clone is dropped.
#[derive(Clone)]
pub struct TcpStream(Rc<Stream>);

struct Stream {
    kind: StreamKind,
    peer: SocketAddr,
}

enum StreamKind {
    Uring(uring::Stream),
    Posix(posix::Stream),
    Sim(sim::Stream),
}

/// Opens `address` for a moment without SO_REUSEPORT: an error if anybody listens there, also somebody who would share the
/// port. Returns the address, with the port the kernel picked for port 0. On any thread.
pub fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    if super::sim::active() {
        return sim::claim(address);
    }
    std::net::TcpListener::bind(address)?.local_addr()
}

impl TcpListener {
    /// Binds and listens. With `reuse_port` every shard may bind the same address and the kernel spreads connections;
    /// the caller binds it once without to learn that the port is free from others. Port 0 picks a free one.
    pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
        let engine = engine::current().engine;
        if engine == Engine::Sim {
            return Ok(TcpListener(Listener::Sim(sim::Listener::bind(
                address, reuse_port,
            )?)));
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // `[::]` and `0.0.0.0` are then two listeners, on every distribution alike.
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener(match engine {
            Engine::Uring => Listener::Uring(uring::Listener::new(socket)),
            Engine::Posix | Engine::Sim => Listener::Posix(posix::Listener::new(socket)?),
        }))
    }

    /// The bound address, with the port the kernel picked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Listener::Uring(listener) => listener.local_addr(),
            Listener::Posix(listener) => listener.local_addr(),
            Listener::Sim(listener) => Ok(listener.local_addr()),
        }
    }

    /// The next connection. Errors concern one connection or a passing shortage (`EMFILE`): the caller waits a little
    /// and goes on. Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        engine::yield_if_needed().await;
        let (kind, peer) = match &self.0 {
            Listener::Uring(listener) => {
                let (stream, peer) = listener.accept().await?;
                (StreamKind::Uring(stream), peer)
            }
            Listener::Posix(listener) => {
                let (stream, peer) = listener.accept().await?;
                (StreamKind::Posix(stream), peer)
            }
            Listener::Sim(listener) => {
                let (stream, peer) = listener.accept().await?;
                (StreamKind::Sim(stream), peer)
            }
        };
        let stream = TcpStream(Rc::new(Stream { kind, peer }));
        let Some(fd) = stream.fd() else {
            return Ok((stream, peer));
        };
        let socket = SockRef::from(&fd);
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 10);
        socket.set_tcp_keepalive(&keepalive)?;
        Ok((stream, peer))
    }
}

impl TcpStream {
    /// Connects to `address` from this shard.
    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        let kind = match engine::current().engine {
            Engine::Uring => StreamKind::Uring(uring::Stream::connect(address).await?),
            Engine::Posix => StreamKind::Posix(posix::Stream::connect(address).await?),
            Engine::Sim => StreamKind::Sim(sim::Stream::connect(address).await?),
        };
        let stream = TcpStream(Rc::new(Stream { kind, peer: address }));
        if let Some(fd) = stream.fd() {
            SockRef::from(&fd).set_tcp_nodelay(true)?;
        }
        Ok(stream)
    }

    /// The socket itself, to be moved to another shard; this handle is dropped after it.
    pub fn to_raw(&self) -> io::Result<RawStream> {
        let socket = match &self.0.kind {
            StreamKind::Uring(stream) => RawSocket::Fd(stream.as_fd().try_clone_to_owned()?),
            StreamKind::Posix(stream) => RawSocket::Fd(stream.as_fd().try_clone_to_owned()?),
            StreamKind::Sim(stream) => RawSocket::Sim(stream.again()?),
        };
        Ok(RawStream {
            socket,
            peer: self.0.peer,
        })
    }

    /// Binds a socket to this shard.
    pub fn from_raw(raw: RawStream) -> io::Result<TcpStream> {
        let kind = match (engine::current().engine, raw.socket) {
            (_, RawSocket::Sim(stream)) => StreamKind::Sim(stream),
            (Engine::Uring, RawSocket::Fd(fd)) => StreamKind::Uring(uring::Stream::new(fd)),
            (Engine::Posix | Engine::Sim, RawSocket::Fd(fd)) => StreamKind::Posix(posix::Stream::new(fd)?),
        };
        Ok(TcpStream(Rc::new(Stream { kind, peer: raw.peer })))
    }

    /// The kernel's socket, where there is a kernel.
    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        match &self.0.kind {
            StreamKind::Uring(stream) => Some(stream.as_fd()),
            StreamKind::Posix(stream) => Some(stream.as_fd()),
            StreamKind::Sim(_) => None,
        }
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = match &self.0.kind {
            StreamKind::Uring(stream) => SockRef::from(&stream.as_fd()).local_addr()?,
            StreamKind::Posix(stream) => SockRef::from(&stream.as_fd()).local_addr()?,
            StreamKind::Sim(stream) => return stream.local_addr(),
        };
        address
            .as_socket()
            .ok_or_else(|| io::Error::other("not an IP socket"))
    }

    /// Reads what is there, at least one byte; 0 when the peer has finished sending. Dropping it loses nothing.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            engine::yield_if_needed().await;
            let outcome = match &self.0.kind {
                StreamKind::Uring(stream) => stream.read(buffer).await,
                StreamKind::Posix(stream) => stream.read(buffer).await,
                StreamKind::Sim(stream) => stream.read(buffer).await,
            };
            // The kernel interrupts a thread for its ring's work, too: nothing is wrong with the connection.
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// Fills `buffer`; `UnexpectedEof` when the peer finishes before. Dropping it loses what was read.
    pub async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => filled += got,
            }
        }
        Ok(())
    }

    /// Sends all slices in order, straight from where they lie. After a dropped or failed call an unknown part was
    /// sent: the connection is of no further use.
    pub async fn write_all(&self, slices: &[Bytes]) -> io::Result<()> {
        self.write_all_telling(slices, || ()).await
    }

    /// The same; `sent` is called whenever the kernel has taken some.
    pub async fn write_all_telling(&self, slices: &[Bytes], sent: impl Fn()) -> io::Result<()> {
        let mut unsent = Unsent::new(slices);
        while !unsent.is_done() {
            engine::yield_if_needed().await;
            match &self.0.kind {
                StreamKind::Uring(stream) => stream.send_some(&mut unsent).await?,
                StreamKind::Posix(stream) => stream.send_some(&mut unsent).await?,
                StreamKind::Sim(stream) => stream.send_some(&mut unsent).await?,
            }
            sent();
        }
        Ok(())
    }

    /// Has the kernel take no more while it holds so many bytes that it has not sent: what is written later does not queue
    /// behind megabytes on a slow link. Bytes on their way do not count, so a long link stays full.
    pub fn keep_unsent_below(&self, bytes: u32) -> io::Result<()> {
        match self.fd() {
            Some(fd) => SockRef::from(&fd).set_tcp_notsent_lowat(bytes),
            None => Ok(()),
        }
    }

    /// Says that nothing more will be sent; the peer reads 0. Reading goes on.
    pub fn shutdown(&self) -> io::Result<()> {
        match &self.0.kind {
            StreamKind::Uring(stream) => SockRef::from(&stream.as_fd()).shutdown(Shutdown::Write),
            StreamKind::Posix(stream) => SockRef::from(&stream.as_fd()).shutdown(Shutdown::Write),
            StreamKind::Sim(stream) => {
                stream.shutdown();
                Ok(())
            }
        }
    }

    /// Ends both directions now: a task that reads this socket sees the end, a writer an error.
    pub fn abort(&self) -> io::Result<()> {
        match &self.0.kind {
            StreamKind::Uring(stream) => SockRef::from(&stream.as_fd()).shutdown(Shutdown::Both),
            StreamKind::Posix(stream) => SockRef::from(&stream.as_fd()).shutdown(Shutdown::Both),
            StreamKind::Sim(stream) => {
                stream.abort();
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpStream({})", self.0.peer)
    }
}
