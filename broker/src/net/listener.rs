//! Accepting: one loop per listener and core on the same port (SO_REUSEPORT), so that the kernel spreads connections.
//!
//! Owns the table of a core's open connections, closes the idle ones and drains all of them on the way down. Leaves what a
//! connection says to `connection.rs`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{self, Close};
use super::frames::FrameReader;
use super::quota::{Limits, Quota, Refused, Slot};
use crate::api;
use crate::rt::{self, Instant, local::Notify, net::TcpListener, net::TcpStream};

/// How often a client that waits for a place is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How this core treats connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`.
    pub max_idle: Duration,
    /// How many connections all cores together have.
    pub quota: Arc<Quota>,
}

/// One connection as its core's table sees it.
pub struct Handle {
    last_active: Cell<Instant>,
    /// A request is being served: waiting for it is not idleness.
    pub(super) serving: Cell<bool>,
    close: Cell<Option<Close>>,
    closed: Notify,
}

impl Handle {
    fn new() -> Handle {
        Handle {
            last_active: Cell::new(rt::now()),
            serving: Cell::new(false),
            close: Cell::new(None),
            closed: Notify::default(),
        }
    }

    /// Something came or went.
    pub(super) fn touch(&self) {
        self.last_active.set(rt::now());
    }

    fn ask_to_close(&self, why: Close) {
        self.close.set(Some(why));
        self.closed.notify_one();
    }

    /// Resolves when this side wants the connection to end.
    pub(super) async fn asked_to_close(&self) -> Close {
        loop {
            if let Some(why) = self.close.get() {
                return why;
            }
            self.closed.notified().await;
        }
    }

    /// Resolves when the connection was idle for too long; a stopping broker lets an answer that is on its way out finish.
    pub(super) async fn idled_out(&self) {
        while self.close.get() != Some(Close::Idle) {
            self.closed.notified().await;
        }
    }
}

/// The open connections of one core.
pub struct Connections {
    core: Rc<api::Core>,
    options: Options,
    open: RefCell<BTreeMap<u64, Rc<Handle>>>,
    next: Cell<u64>,
    emptied: Notify,
    /// A connection of this core ended.
    ended: Notify,
    /// The limits in force at an offset of the metadata.
    limits: RefCell<Option<(u64, Rc<Limits>)>>,
}

impl Connections {
    /// An empty table for `core`.
    pub fn new(core: Rc<api::Core>, options: Options) -> Rc<Connections> {
        Rc::new(Connections {
            core,
            options,
            open: RefCell::default(),
            next: Cell::new(0),
            emptied: Notify::default(),
            ended: Notify::default(),
            limits: RefCell::default(),
        })
    }

    /// Accepts on `listener` until the task is dropped.
    pub async fn accept(self: Rc<Self>, listener: TcpListener, name: Arc<str>) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(slot) = self.slot(peer, &name).await {
                        self.open(stream, peer, name.clone(), slot);
                    }
                }
                Err(error) => {
                    // Out of descriptors or memory: both pass, and spinning on accept would not help them pass.
                    tracing::warn!(listener = %name, %error, "accept a connection");
                    rt::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// A place for a connection from `peer`, waited for while the broker has as many as it may; none if the address has.
    async fn slot(&self, peer: SocketAddr, listener: &str) -> Option<Slot> {
        loop {
            match self.options.quota.admit(peer.ip(), &self.limits()) {
                Ok(slot) => return Some(slot),
                Err(Refused::Address { limit }) => {
                    self.core.shard.counters.refused();
                    tracing::info!(%peer, listener, "connection closed: its address has max.connections.per.ip = {limit} open");
                    return None;
                }
                Err(Refused::Broker { limit, news }) => {
                    if news {
                        tracing::warn!(
                            listener,
                            "max.connections = {limit} are open; further clients wait"
                        );
                    }
                    // A connection that ends on another core is seen by looking again.
                    let _ = rt::timeout(LOOK_AGAIN, self.ended.notified()).await;
                }
            }
        }
    }

    /// The limits in force, read again when the image has changed.
    fn limits(&self) -> Rc<Limits> {
        let shard = &self.core.shard;
        let offset = shard.image().offset;
        let mut cached = self.limits.borrow_mut();
        match &*cached {
            Some((at, limits)) if *at == offset => limits.clone(),
            _ => {
                let limits = Rc::new(Limits::read(|name| shard.broker_value(name)));
                *cached = Some((offset, limits.clone()));
                limits
            }
        }
    }

    fn open(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: Arc<str>, slot: Slot) {
        let number = self.next.get();
        self.next.set(number + 1);
        let handle = Rc::new(Handle::new());
        self.open.borrow_mut().insert(number, handle.clone());
        self.core.shard.counters.connection_opened();
        let context = Rc::new(api::Connection {
            core: self.core.clone(),
            listener,
            peer,
        });
        let stream = Rc::new(stream);
        let budget = self.core.shard.receive_budget.clone();
        let reader = FrameReader::new(stream.clone(), budget, self.options.request_max_bytes);
        let table = self.clone();
        rt::spawn(async move {
            connection::run(context, stream, handle, reader).await;
            drop(slot);
            table.closed(number);
        })
        .detach();
    }

    fn closed(&self, number: u64) {
        self.open.borrow_mut().remove(&number);
        self.core.shard.counters.connection_closed();
        self.ended.notify_one();
        if self.open.borrow().is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Closes connections on which nothing happened for too long, half-open ones among them. Runs until dropped.
    pub async fn sweep(self: Rc<Self>) {
        let period = (self.options.max_idle / 8).clamp(Duration::from_millis(20), Duration::from_secs(10));
        loop {
            rt::sleep(period).await;
            let now = rt::now();
            for handle in self.open.borrow().values() {
                if !handle.serving.get() && now - handle.last_active.get() >= self.options.max_idle {
                    handle.ask_to_close(Close::Idle);
                }
            }
        }
    }

    /// Answers what is in flight, reads nothing more, and resolves when every connection has ended.
    pub async fn drain(&self) {
        for handle in self.open.borrow().values() {
            handle.ask_to_close(Close::Stopping);
        }
        while !self.open.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }
}

/// Opens `address` for the name `listener`. `shared`: other cores of this process open the same port.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    TcpListener::bind(address, shared)
}
