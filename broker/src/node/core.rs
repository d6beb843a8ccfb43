//! What runs on each core: recover its logs, become a shard, listen, and go down in order. Driven by commands of the
//! starting thread, answered by events.
//!
//! Leaves the order of the whole broker to `node.rs`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::api;
use crate::log::checkpoint::DirectoryCheckpoints;
use crate::net::listener::{self, Connections};
use crate::quorum;
use crate::rt::control::sync::mpsc;
use crate::rt::file::Disk;
use crate::rt::mesh::Port;
use crate::rt::net::TcpListener;
use crate::rt::{self, ShardId, doorbell};
use crate::shard::bridge::{Bridge, BridgeEnd};
use crate::shard::counters::ShardCounters;
use crate::shard::mesh::{Answer, Asked};
use crate::shard::peers;
use crate::shard::replicas::{self, FoundLog, Progress};
use crate::shard::{self, Seed, Shard};

/// How long a core waits for its connections on the way down before it leaves them.
const DRAIN: Duration = Duration::from_secs(10);

/// What the starting thread tells a core, in this order.
pub(super) enum Command {
    /// Become a shard and follow the quorum's images.
    Join,
    /// Open these listeners, and the one for followers. `shared`: other cores open the same ports.
    Bind {
        listeners: Vec<(Arc<str>, SocketAddr)>,
        followers: Option<SocketAddr>,
        shared: bool,
    },
    /// Serve them.
    Accept,
    /// Stop serving, answer what is in flight, write and sync what is left.
    Stop,
}

/// What a core reports.
pub(super) enum Event {
    /// Its logs are open, or why they are not.
    Recovered(Result<(), String>),
    /// It follows images.
    Joined,
    /// Its listeners are open, or why they are not.
    Bound(Result<(), String>),
    /// It has ended. `clean`: everything is on disk and every log was closed.
    Stopped { clean: bool },
}

/// What one core needs to begin with; made on the starting thread, consumed on the core.
pub(super) struct Beginning {
    pub(super) id: ShardId,
    pub(super) count: u16,
    pub(super) options: Arc<shard::Options>,
    pub(super) net: listener::Options,
    pub(super) fetch_sessions: usize,
    pub(super) disk: Disk,
    pub(super) checkpoints: Vec<Arc<DirectoryCheckpoints>>,
    pub(super) port: Port<Asked, Answer>,
    pub(super) bridge: Bridge,
    pub(super) bridge_end: BridgeEnd,
    pub(super) counters: Arc<ShardCounters>,
    pub(super) throttles: Arc<peers::Throttles>,
    pub(super) found: Vec<FoundLog>,
    pub(super) progress: Progress,
    pub(super) quorum: quorum::Handle,
    pub(super) commands: doorbell::Receiver<Command>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) fatal: shard::Fatal,
}

/// A core's whole life.
pub(super) async fn run(beginning: Beginning) {
    let Beginning {
        mut commands,
        events,
        found,
        progress,
        disk,
        quorum,
        options,
        ..
    } = beginning;
    let recovered = replicas::recover(&disk, found, &quorum.image(), &options, progress).await;
    let unclaimed = match recovered {
        Ok(unclaimed) => {
            tell(&events, Event::Recovered(Ok(())));
            unclaimed
        }
        Err(error) => return tell(&events, Event::Recovered(Err(error.to_string()))),
    };
    let Some(Command::Join) = commands.recv().await else {
        return;
    };
    let seed = Seed {
        id: beginning.id,
        count: beginning.count,
        options,
        disk,
        checkpoints: beginning.checkpoints,
        port: beginning.port,
        bridge: beginning.bridge,
        quorum,
        counters: beginning.counters,
        throttles: beginning.throttles,
        fatal: beginning.fatal,
    };
    let shard = Shard::start(seed, beginning.bridge_end, unclaimed);
    let core = api::Core::new(shard.clone(), beginning.fetch_sessions);
    let connections = Connections::new(core, beginning.net);
    tell(&events, Event::Joined);
    serve(&shard, &connections, &mut commands, &events).await;
}

async fn serve(
    shard: &Rc<Shard>,
    connections: &Rc<Connections>,
    commands: &mut doorbell::Receiver<Command>,
    events: &mpsc::UnboundedSender<Event>,
) {
    let mut bound: Vec<(Arc<str>, TcpListener)> = Vec::new();
    let mut followers: Option<TcpListener> = None;
    let mut replicating: Option<peers::Peers> = None;
    let mut accepting = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Join => {}
            Command::Bind {
                listeners,
                followers: address,
                shared,
            } => {
                let named = address.map(|address| (Arc::from("replication.listener"), address));
                let opened = bind(listeners, shared).and_then(|opened| {
                    bound = opened;
                    let opened = bind(named.into_iter().collect(), shared)?;
                    followers = opened.into_iter().next().map(|(_, listener)| listener);
                    Ok(())
                });
                tell(events, Event::Bound(opened));
            }
            Command::Accept => {
                let listeners = std::mem::take(&mut bound).into_iter();
                accepting.extend(
                    listeners.map(|(name, listener)| rt::spawn(connections.clone().accept(listener, name))),
                );
                accepting.push(rt::spawn(connections.clone().sweep()));
                replicating = followers.take().map(|listener| peers::start(shard, listener));
            }
            Command::Stop => break,
        }
    }
    // Dropping the accept loops closes the listening sockets: no client comes any more.
    drop(accepting);
    shard.begin_stop();
    if rt::timeout(DRAIN, connections.drain()).await.is_err() {
        tracing::warn!(shard = %shard.id, "some clients did not take their answers in time");
    }
    // Only now: what clients wait for may be what followers have not yet answered.
    drop(replicating);
    let clean = shard.finish().await;
    tell(events, Event::Stopped { clean });
}

fn bind(
    listeners: Vec<(Arc<str>, SocketAddr)>,
    shared: bool,
) -> Result<Vec<(Arc<str>, TcpListener)>, String> {
    let open = |(name, address): (Arc<str>, SocketAddr)| {
        listener::bind(address, shared)
            .map(|listener| (name.clone(), listener))
            .map_err(|error| format!("listener {name} on {address}: {error}"))
    };
    listeners.into_iter().map(open).collect()
}

/// The starting thread is gone only when the process ends.
fn tell(events: &mpsc::UnboundedSender<Event>, event: Event) {
    let _ = events.send(event);
}
