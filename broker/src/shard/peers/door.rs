//! Where followers come in: accepting, the handshake, and handing the connection to the core that was asked for.
//!
//! Owns the table of served followers of a core; a follower's core has one connection to it, and a newer one ends the
//! older, which nobody may be left to close. Leaves serving to `serving.rs`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use protocol::ids::NodeId;

use super::frames::Ended;
use super::serving;
use crate::replication::handshake::{HELLO_PREFIX, Hello, VERSION, Verdict, Welcome};
use crate::rt::local::Notify;
use crate::rt::net::{RawStream, TcpListener, TcpStream};
use crate::rt::{self, ShardId, Task};
use crate::shard::Shard;
use crate::shard::mesh::Message;

/// A connection that has not said who it is after this time is closed.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Connections of one core that are at their handshake; further ones are closed.
const MOST_AT_DOOR: usize = 256;
/// Followers that one core serves: brokers times their cores.
const MOST_FOLLOWERS: usize = 8_192;
/// After a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A follower that has said who it is, on its way to the core it wants.
pub struct Arrival {
    raw: RawStream,
    hello: Hello,
}

/// The followers that one core serves, by their node and core.
#[derive(Default)]
pub struct Followers {
    served: RefCell<BTreeMap<(NodeId, u16), Entry>>,
    next: Cell<u64>,
    at_door: Cell<usize>,
}

struct Entry {
    number: u64,
    replaced: Notify,
    task: Option<Task<()>>,
}

impl Followers {
    /// Ends all sessions.
    pub(super) fn end(&self) {
        drop(self.served.take());
    }
}

/// Accepts until dropped.
pub(super) async fn accept(shard: Rc<Shard>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let followers = &shard.followers;
                if followers.at_door.get() >= MOST_AT_DOOR {
                    tracing::warn!(%peer, "connection closed: {MOST_AT_DOOR} others are at their handshake");
                    continue;
                }
                followers.at_door.set(followers.at_door.get() + 1);
                let shard = shard.clone();
                rt::spawn(async move {
                    let met = rt::timeout(HANDSHAKE, meet(&shard, stream)).await;
                    shard.followers.at_door.set(shard.followers.at_door.get() - 1);
                    match met.unwrap_or(Err(Ended::TooLong("the handshake"))) {
                        Ok(()) => {}
                        Err(Ended::Refused { verdict, .. }) => {
                            tracing::debug!(%peer, ?verdict, "a follower is sent away");
                        }
                        Err(error) => tracing::warn!(%peer, "replication connection closed: {error}"),
                    }
                })
                .detach();
            }
            Err(error) => {
                // Out of descriptors or memory: both pass, and spinning on accept would not help them pass.
                tracing::warn!(%error, "accept a follower");
                rt::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Reads who comes, and brings it to the core it wants.
async fn meet(shard: &Rc<Shard>, stream: TcpStream) -> Result<(), Ended> {
    let mut prefix = [0; HELLO_PREFIX];
    stream.read_exact(&mut prefix).await?;
    let prefix = Hello::prefix(prefix)?;
    if prefix.version != VERSION {
        return Err(send_away(shard, &stream, Verdict::Version).await);
    }
    // Not a byte more: what follows is for the core that takes over.
    let mut body = vec![0; prefix.len];
    stream.read_exact(&mut body).await?;
    let hello = Hello::decode(body.into())?;
    let cluster_id = shard.image().cluster_id.clone();
    let verdict = match hello.judge(&cluster_id, shard.options.node_id, shard.count) {
        Verdict::Welcome if shard.followers.is_full(&hello) => Verdict::Later,
        verdict => verdict,
    };
    if verdict != Verdict::Welcome {
        return Err(send_away(shard, &stream, verdict).await);
    }
    let wanted = ShardId(hello.wanted_core);
    let raw = stream.to_raw()?;
    // One handle to it is left, that which travels.
    drop(stream);
    let arrival = Message::Follower(Box::new(Arrival { raw, hello }));
    shard.ask(wanted, arrival).await;
    Ok(())
}

fn verdict_of(shard: &Shard, verdict: Verdict) -> Welcome {
    Welcome {
        version: VERSION,
        verdict,
        node: shard.options.node_id,
        cores: shard.count,
    }
}

async fn send_away(shard: &Shard, stream: &TcpStream, verdict: Verdict) -> Ended {
    let welcome = verdict_of(shard, verdict);
    if let Err(error) = stream.write_all(&[welcome.encode()]).await {
        return error.into();
    }
    Ended::Refused {
        verdict,
        version: VERSION,
        node: welcome.node.0,
        cores: welcome.cores,
    }
}

impl Followers {
    fn is_full(&self, hello: &Hello) -> bool {
        let served = self.served.borrow();
        served.len() >= MOST_FOLLOWERS && !served.contains_key(&(hello.node, hello.core))
    }
}

/// Serves a follower on the core it wants, which is this one.
pub fn welcome(shard: &Rc<Shard>, arrival: Arrival) {
    let Arrival { raw, hello } = arrival;
    let peer = raw.peer_addr();
    let stream = match TcpStream::from_raw(raw) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%peer, %error, "take over a follower's connection"),
    };
    let followers = &shard.followers;
    let (key, number) = ((hello.node, hello.core), followers.next.get());
    followers.next.set(number + 1);
    let replaced = Notify::default();
    let entry = Entry {
        number,
        replaced: replaced.clone(),
        task: None,
    };
    let older = followers.served.borrow_mut().insert(key, entry);
    if let Some(older) = older {
        older.replaced.notify_one();
        // It ends by itself, and says why.
        older.task.into_iter().for_each(Task::detach);
    }
    let welcome = verdict_of(shard, Verdict::Welcome);
    let task = {
        let shard = shard.clone();
        rt::spawn(async move {
            let (node, core) = key;
            shard.counters.replication_sessions_serving.fetch_add(1, Relaxed);
            let ended = serving::serve(&shard, stream, &hello, welcome, &replaced).await;
            shard.counters.replication_sessions_serving.fetch_sub(1, Relaxed);
            tracing::debug!(%peer, node = node.0, core, "a follower's session ended: {ended}");
            let mut served = shard.followers.served.borrow_mut();
            let is_this = served.get(&key).is_some_and(|entry| entry.number == number);
            let gone = is_this.then(|| served.remove(&key)).flatten();
            drop(served);
            // Its own task: it has come to its end anyway.
            gone.and_then(|entry| entry.task)
                .into_iter()
                .for_each(Task::detach);
        })
    };
    if let Some(entry) = followers.served.borrow_mut().get_mut(&key) {
        entry.task = Some(task);
    }
}
