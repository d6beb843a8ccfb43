//! The network of a simulated world: TCP between the addresses of its processes.
//!
//! Bytes of one direction arrive in order, each write after a latency drawn by seed. A cut direction holds what it is given
//! until it is healed, as TCP sends again; a machine without power answers nothing; a killed process's machine answers
//! with a reset. Owns listeners, connections and cuts. Latency and window are fixed: what matters is order and silence.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::{Due, ProcessId, Sleep, World, world};
use crate::rt::slices::Unsent;

/// One way, in microseconds.
const LATENCY_MICROS: (u64, u64) = (50, 500);
/// Bytes on their way and unread, per direction.
const WINDOW: usize = 256 << 10;
/// A connect that hears nothing asks again.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// Ports given for port 0 begin here.
const FIRST_PORT: u16 = 30_000;

#[derive(Default)]
pub(super) struct Network {
    connections: RefCell<BTreeMap<u64, [End; 2]>>,
    listeners: RefCell<BTreeMap<u64, ListenerState>>,
    cuts: RefCell<BTreeSet<(IpAddr, IpAddr)>>,
    /// Links on which writes take longer, by how many microseconds at most: loss, as TCP shows it.
    slow: RefCell<BTreeMap<(IpAddr, IpAddr), u64>>,
    /// Links over which a connection carries so many bytes a second at most.
    narrow: RefCell<BTreeMap<(IpAddr, IpAddr), u64>>,
    /// Machines without power.
    dark: RefCell<BTreeSet<IpAddr>>,
    ports: Cell<u16>,
}

struct ListenerState {
    address: SocketAddr,
    process: ProcessId,
    shared: bool,
    waiting: VecDeque<u64>,
    waker: Option<Waker>,
}

/// One end of a connection, and what is on its way to it.
struct End {
    process: ProcessId,
    address: SocketAddr,
    /// Handles to it; 0: closed.
    handles: usize,
    received: VecDeque<u8>,
    in_flight: usize,
    last_arrival: u64,
    /// Segments that were sent to it, and of these those that it has got: they count in the order in which they were sent.
    sent: u64,
    got: u64,
    /// What has arrived before its turn, and what a cut holds.
    held: BTreeMap<u64, Segment>,
    /// The peer sends no more.
    finished: bool,
    reset: bool,
    /// This end sends no more.
    shut: bool,
    reader: Option<Waker>,
    /// The other end's task that waits for room here.
    writer: Option<Waker>,
}

enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

/// How a process leaves its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    Reset,
    Silent,
}

fn other(side: usize) -> usize {
    1 - side
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Network {
    /// Every write from here to there takes up to `most` longer; zero: no longer.
    pub(super) fn slow(&self, from: IpAddr, to: IpAddr, most: Duration) {
        let mut slow = self.slow.borrow_mut();
        match u64::try_from(most.as_micros()).unwrap_or(u64::MAX) {
            0 => slow.remove(&(from, to)),
            micros => slow.insert((from, to), micros),
        };
    }

    /// A connection carries at most so many bytes a second from here to there; zero: as many as there are.
    pub(super) fn narrow(&self, from: IpAddr, to: IpAddr, bytes_per_s: u64) {
        let mut narrow = self.narrow.borrow_mut();
        match bytes_per_s {
            0 => narrow.remove(&(from, to)),
            bytes_per_s => narrow.insert((from, to), bytes_per_s),
        };
    }

    pub(super) fn cut(&self, from: IpAddr, to: IpAddr) {
        self.cuts.borrow_mut().insert((from, to));
    }

    pub(super) fn heal(&self, world: &World, from: IpAddr, to: IpAddr) {
        self.cuts.borrow_mut().remove(&(from, to));
        let mut again = Vec::new();
        for (id, ends) in self.connections.borrow_mut().iter_mut() {
            for side in 0..2 {
                if ends[other(side)].address.ip() == from && ends[side].address.ip() == to {
                    let held = std::mem::take(&mut ends[side].held).into_iter();
                    again.extend(held.map(|(number, segment)| (*id, side, number, segment)));
                }
            }
        }
        for (id, side, number, segment) in again {
            self.travel(world, id, side, number, segment);
        }
    }

    pub(super) fn power(&self, ip: IpAddr) {
        self.dark.borrow_mut().remove(&ip);
    }

    pub(super) fn close_all(&self, world: &World, process: ProcessId, closing: Closing) {
        self.listeners
            .borrow_mut()
            .retain(|_, listener| listener.process != process);
        let mut resets = Vec::new();
        for (id, ends) in self.connections.borrow_mut().iter_mut() {
            for (side, end) in ends.iter_mut().enumerate() {
                if end.process == process && end.handles > 0 {
                    end.handles = 0;
                    end.reset = true;
                    resets.push((*id, other(side)));
                }
            }
        }
        match closing {
            Closing::Reset => {
                for (id, side) in resets {
                    self.launch(world, id, side, Segment::Reset);
                }
            }
            Closing::Silent => {
                if let Some(state) = world.processes.borrow().get(&process) {
                    self.dark.borrow_mut().insert(state.ip);
                }
            }
        }
    }

    /// Sends a segment to end `side` of a connection.
    fn launch(&self, world: &World, id: u64, side: usize, segment: Segment) {
        let number = match self.connections.borrow_mut().get_mut(&id) {
            Some(ends) => {
                ends[side].sent += 1;
                ends[side].sent - 1
            }
            None => return,
        };
        self.travel(world, id, side, number, segment);
    }

    /// Lets a segment arrive after a while.
    fn travel(&self, world: &World, id: u64, side: usize, number: u64, segment: Segment) {
        let mut latency = world.between(LATENCY_MICROS) * 1_000;
        let mut connections = self.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&id) else {
            return;
        };
        let link = (ends[other(side)].address.ip(), ends[side].address.ip());
        if let Some(most) = self.slow.borrow().get(&link) {
            latency += world.between((0, *most)) * 1_000;
        }
        let bytes = match &segment {
            Segment::Data(bytes) => bytes.len() as u64,
            Segment::Fin | Segment::Reset => 0,
        };
        let rate = self.narrow.borrow().get(&link).copied();
        let takes = rate.map_or(0, |rate| bytes * 1_000_000_000 / rate);
        let end = &mut ends[side];
        end.last_arrival = end.last_arrival.max(world.now.get() + latency) + takes;
        let when = end.last_arrival;
        drop(connections);
        let arrive = move || {
            let world = super::world();
            world.network.arrive(&world, id, side, number, segment);
        };
        world.at(when, Due::Call(Box::new(arrive)));
    }

    fn arrive(&self, world: &World, id: u64, side: usize, number: u64, segment: Segment) {
        let mut connections = self.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&id) else {
            return;
        };
        let (from, to) = (ends[other(side)].address.ip(), ends[side].address.ip());
        ends[side].held.insert(number, segment);
        if self.cuts.borrow().contains(&(from, to)) {
            return;
        }
        drop(connections);
        while let Some(segment) = self.next_in_order(id, side) {
            self.deliver(world, id, side, segment);
        }
    }

    fn next_in_order(&self, id: u64, side: usize) -> Option<Segment> {
        let mut connections = self.connections.borrow_mut();
        let end = &mut connections.get_mut(&id)?[side];
        let segment = end.held.remove(&end.got)?;
        end.got += 1;
        Some(segment)
    }

    fn deliver(&self, world: &World, id: u64, side: usize, segment: Segment) {
        let mut connections = self.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&id) else {
            return;
        };
        let to = ends[side].address.ip();
        let end = &mut ends[side];
        if end.handles == 0 {
            // Nobody is there: the machine says so, if it has power.
            let answer = matches!(segment, Segment::Data(_)) && !self.dark.borrow().contains(&to);
            drop(connections);
            if answer {
                self.launch(world, id, other(side), Segment::Reset);
            }
            return;
        }
        match segment {
            Segment::Data(bytes) => {
                end.in_flight -= bytes.len();
                end.received.extend(bytes);
            }
            Segment::Fin => end.finished = true,
            Segment::Reset => {
                end.reset = true;
                let peer = &mut ends[other(side)];
                wake(&mut peer.writer);
                wake(&mut ends[side].writer);
            }
        }
        wake(&mut ends[side].reader);
    }

    fn drop_if_over(connections: &mut BTreeMap<u64, [End; 2]>, id: u64) {
        if connections
            .get(&id)
            .is_some_and(|ends| ends.iter().all(|end| end.handles == 0))
        {
            connections.remove(&id);
        }
    }
}

/// An address of the current process: `0.0.0.0` is its own.
fn own_address(world: &World, address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() {
        world.processes.borrow()[&world.current.get()].ip
    } else {
        address.ip()
    };
    let port = match address.port() {
        0 => {
            let next = world.network.ports.get();
            // They come round, as a kernel's do.
            world.network.ports.set((next + 1) % (u16::MAX - FIRST_PORT));
            FIRST_PORT + next
        }
        given => given,
    };
    SocketAddr::new(ip, port)
}

fn taken(world: &World, address: SocketAddr, shared: bool) -> bool {
    let listeners = world.network.listeners.borrow();
    listeners
        .values()
        .any(|listener| listener.address == address && !(shared && listener.shared))
}

/// See [`crate::rt::net::claim`].
pub(in crate::rt) fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    let world = world();
    let address = own_address(&world, address);
    if taken(&world, address, false) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    Ok(address)
}

/// A listening socket; closed when dropped.
pub(in crate::rt) struct Listener {
    id: u64,
    address: SocketAddr,
}

impl Listener {
    pub(in crate::rt) fn bind(address: SocketAddr, shared: bool) -> io::Result<Listener> {
        let world = world();
        let address = own_address(&world, address);
        if taken(&world, address, shared) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = world.id();
        let state = ListenerState {
            address,
            process: world.current.get(),
            shared,
            waiting: VecDeque::new(),
            waker: None,
        };
        world.network.listeners.borrow_mut().insert(id, state);
        Ok(Listener { id, address })
    }

    pub(in crate::rt) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::rt) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|cx| {
            let world = world();
            let mut listeners = world.network.listeners.borrow_mut();
            let Some(listener) = listeners.get_mut(&self.id) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let Some(connection) = listener.waiting.pop_front() else {
                listener.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let connections = world.network.connections.borrow();
            let Some(ends) = connections.get(&connection) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            };
            let stream = Stream { connection, side: 1 };
            Poll::Ready(Ok((stream, ends[0].address)))
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !super::active() {
            return;
        }
        let world = world();
        let gone = world.network.listeners.borrow_mut().remove(&self.id);
        // Those nobody accepted are reset.
        for connection in gone.into_iter().flat_map(|listener| listener.waiting) {
            drop(Stream { connection, side: 1 });
        }
    }
}

/// One end of a connection. `Send`: it is a number, and the state stays in the world.
pub(in crate::rt) struct Stream {
    connection: u64,
    side: usize,
}

impl Stream {
    pub(in crate::rt) async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let here = {
            let world = world();
            let ip = world.processes.borrow()[&world.current.get()].ip;
            own_address(&world, SocketAddr::new(ip, 0))
        };
        loop {
            let latency = world().between(LATENCY_MICROS);
            Sleep::lasting(Duration::from_micros(latency)).await;
            if let Some(answered) = Stream::ask(here, address) {
                Sleep::lasting(Duration::from_micros(latency)).await;
                return answered;
            }
            Sleep::lasting(SYN_AGAIN).await;
        }
    }

    /// A SYN arrives; `None` where nothing answers it.
    fn ask(here: SocketAddr, there: SocketAddr) -> Option<io::Result<Stream>> {
        let world = world();
        let network = &world.network;
        let cuts = network.cuts.borrow();
        let silent = cuts.contains(&(here.ip(), there.ip()))
            || cuts.contains(&(there.ip(), here.ip()))
            || network.dark.borrow().contains(&there.ip());
        if silent {
            return None;
        }
        let known = world
            .processes
            .borrow()
            .values()
            .any(|state| state.ip == there.ip());
        if !known {
            return None;
        }
        let candidates: Vec<u64> = network
            .listeners
            .borrow()
            .iter()
            .filter(|(_, listener)| listener.address == there)
            .map(|(id, _)| *id)
            .collect();
        if candidates.is_empty() {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let picked = candidates[(world.draw() % candidates.len() as u64) as usize];
        let connection = world.id();
        let mut listeners = network.listeners.borrow_mut();
        let listener = listeners.get_mut(&picked).expect("picked from the table");
        let end = |process, address| End {
            process,
            address,
            handles: 1,
            received: VecDeque::new(),
            in_flight: 0,
            last_arrival: 0,
            sent: 0,
            got: 0,
            held: BTreeMap::new(),
            finished: false,
            reset: false,
            shut: false,
            reader: None,
            writer: None,
        };
        let ends = [end(world.current.get(), here), end(listener.process, there)];
        network.connections.borrow_mut().insert(connection, ends);
        listener.waiting.push_back(connection);
        wake(&mut listener.waker);
        Some(Ok(Stream { connection, side: 0 }))
    }

    pub(in crate::rt) fn local_addr(&self) -> io::Result<SocketAddr> {
        let world = world();
        let connections = world.network.connections.borrow();
        let ends = connections
            .get(&self.connection)
            .ok_or(io::ErrorKind::NotConnected)?;
        Ok(ends[self.side].address)
    }

    /// Another handle to the same end, for whichever shard takes it over.
    pub(in crate::rt) fn again(&self) -> io::Result<Stream> {
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        let ends = connections
            .get_mut(&self.connection)
            .ok_or(io::ErrorKind::NotConnected)?;
        ends[self.side].handles += 1;
        Ok(Stream {
            connection: self.connection,
            side: self.side,
        })
    }

    pub(in crate::rt) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// What has arrived, at most a buffer full; 0 at the end. One task reads an end at a time.
    pub(in crate::rt) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&self.connection) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let end = &mut ends[self.side];
        if !end.received.is_empty() {
            let count = buffer.len().min(end.received.len());
            for (to, from) in buffer.iter_mut().zip(end.received.drain(..count)) {
                *to = from;
            }
            wake(&mut end.writer);
            return Poll::Ready(Ok(count));
        }
        if end.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if end.finished {
            return Poll::Ready(Ok(0));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends at least one byte.
    pub(in crate::rt) async fn send_some(&self, unsent: &mut Unsent<'_>) -> io::Result<()> {
        let first = unsent.first();
        let sent = poll_fn(|cx| self.poll_write(cx, first)).await;
        unsent.advance(sent?);
        Ok(())
    }

    /// Takes at least one byte of `first`, or waits for room. One task writes an end at a time.
    pub(in crate::rt) fn poll_write(&self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<usize>> {
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&self.connection) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if ends[self.side].reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if ends[self.side].shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let peer = &mut ends[other(self.side)];
        let room = WINDOW.saturating_sub(peer.in_flight + peer.received.len());
        if room == 0 {
            peer.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(first.len());
        peer.in_flight += count;
        drop(connections);
        let bytes = Bytes::copy_from_slice(&first[..count]);
        world
            .network
            .launch(&world, self.connection, other(self.side), Segment::Data(bytes));
        Poll::Ready(Ok(count))
    }

    /// No more bytes from here; the peer reads what was sent, then the end.
    pub(in crate::rt) fn shutdown(&self) {
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&self.connection) else {
            return;
        };
        if ends[self.side].shut {
            return;
        }
        ends[self.side].shut = true;
        wake(&mut ends[other(self.side)].writer);
        drop(connections);
        world
            .network
            .launch(&world, self.connection, other(self.side), Segment::Fin);
    }

    /// Both directions end now.
    pub(in crate::rt) fn abort(&self) {
        self.shutdown();
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        if let Some(ends) = connections.get_mut(&self.connection) {
            ends[self.side].finished = true;
            wake(&mut ends[self.side].reader);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !super::active() {
            return;
        }
        let world = world();
        let mut connections = world.network.connections.borrow_mut();
        let Some(ends) = connections.get_mut(&self.connection) else {
            return;
        };
        let end = &mut ends[self.side];
        let last = end.handles == 1;
        end.handles = end.handles.saturating_sub(1);
        let tell = last && !end.shut && !end.reset;
        if last && !tell {
            Network::drop_if_over(&mut connections, self.connection);
        }
        drop(connections);
        if tell {
            world
                .network
                .launch(&world, self.connection, other(self.side), Segment::Fin);
        }
    }
}
