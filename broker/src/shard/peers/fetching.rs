//! One core's session with one core of a leader: connecting for as long as something is wanted, asking, taking what comes,
//! and saying what is durable.
//!
//! Owns the connection and its time limits. Leaves what is asked to `replication/session.rs` and records to `follow.rs`.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use protocol::ids::{LeaderEpoch, NodeId, TopicPartition};

use super::frames::{Ended, Frames};
use super::pulse::Pulse;
use crate::replication::follower::Following;
use crate::replication::handshake::{Hello, Verdict, WELCOME, Welcome};
use crate::replication::session::{Again, Asking};
use crate::replication::wire::{Answered, FromFollower, FromLeader, LARGEST_FROM_LEADER, Outcome, Refusal};
use crate::rt;
use crate::rt::local::Notify;
use crate::rt::net::TcpStream;
use crate::shard::Shard;
use crate::shard::follow::FollowError;

/// Connecting may take so long, and so may the handshake.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two tries: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// A connection that held for so long was a good one.
const LASTED: Duration = Duration::from_secs(5);
/// A session may have so many bytes on their way or not yet durable: at least, and at most.
const WINDOW: (usize, usize) = (1 << 20, 8 << 20);
/// All sessions of a core should fit into its receive budget: one has this part of it.
const WINDOW_PART: usize = 16;

/// Whom a session is with.
pub(super) struct Target {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) node: NodeId,
    pub(super) core: u16,
    pub(super) cores: u16,
    /// This broker's epoch.
    pub(super) own_epoch: i64,
}

/// A session with one core of a leader. Outlives its connections.
pub(super) struct Session {
    shard: Rc<Shard>,
    target: Target,
    asking: RefCell<Asking>,
    wake: Notify,
}

impl Session {
    pub(super) fn new(shard: &Rc<Shard>, target: Target) -> Rc<Session> {
        let window = (shard.options.receive_budget_bytes / WINDOW_PART).clamp(WINDOW.0, WINDOW.1);
        Rc::new(Session {
            shard: shard.clone(),
            target,
            asking: RefCell::new(Asking::new(window as u32)),
            wake: Notify::default(),
        })
    }

    /// The partition is to be followed from there, or is otherwise than it was.
    pub(super) fn want(&self, partition: TopicPartition) {
        self.asking.borrow_mut().want(partition);
        self.wake.notify_one();
    }

    /// It is not followed from there any more.
    pub(super) fn leave(&self, partition: &TopicPartition) {
        self.asking.borrow_mut().drop(partition);
        self.wake.notify_one();
    }

    /// It has synced more.
    pub(super) fn synced(&self, partition: &TopicPartition) {
        self.asking.borrow_mut().synced(partition);
        self.wake.notify_one();
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.asking.borrow().partitions().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asking.borrow().is_empty()
    }

    /// Keeps a connection until dropped.
    pub(super) async fn run(self: Rc<Self>) {
        let mut pause = PAUSE.0;
        let mut told = false;
        loop {
            let began = rt::now();
            let ended = self.connect_and_run().await;
            // One that ends at once, again and again, is no reason for haste.
            if began.elapsed() > LASTED {
                (pause, told) = (PAUSE.0, false);
            }
            let Target { node, core, .. } = self.target;
            match std::mem::replace(&mut told, true) {
                false => tracing::info!(
                    leader = node.0,
                    core,
                    "replication connection: {ended}; connecting anew"
                ),
                true => tracing::debug!(leader = node.0, core, "replication connection: {ended}"),
            }
            // Not all followers at the same moment.
            let jitter = rt::random_u64() % (pause.as_micros() as u64 / 2).max(1);
            rt::sleep(pause + Duration::from_micros(jitter)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn connect_and_run(&self) -> Ended {
        self.shard.counters.replication_connects.fetch_add(1, Relaxed);
        let connected = match rt::timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => return Ended::TooLong("connecting"),
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(ended) => return ended,
        };
        match rt::timeout(CONNECT, self.greet(&stream)).await {
            Ok(Ok(())) => {}
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::TooLong("the handshake"),
        }
        self.asking.borrow_mut().connected();
        let counted = Counted::new(&self.shard);
        let pulse = Pulse::new();
        let ended = {
            let reader = std::pin::pin!(self.hear(&stream, &pulse));
            let writer = std::pin::pin!(self.say(&stream, &pulse));
            let pulse = std::pin::pin!(pulse.watch(&self.wake, || self.asking.borrow_mut().try_again()));
            match select(select(reader, writer), pulse).await {
                Either::Left((Either::Left((ended, _)) | Either::Right((ended, _)), _)) => ended,
                Either::Right((ended, _)) => ended,
            }
        };
        drop(counted);
        ended
    }

    async fn connect(&self) -> Result<TcpStream, Ended> {
        let address = resolve(self.target.host.clone(), self.target.port).await?;
        Ok(TcpStream::connect(address).await?)
    }

    async fn greet(&self, stream: &TcpStream) -> Result<(), Ended> {
        let hello = Hello {
            cluster_id: self.shard.image().cluster_id.to_string(),
            node: self.shard.options.node_id,
            broker_epoch: self.target.own_epoch,
            core: self.shard.id.0,
            wanted_node: self.target.node,
            wanted_core: self.target.core,
            cores_known: self.target.cores,
        };
        stream.write_all(&[hello.encode()]).await?;
        let mut bytes = [0; WELCOME];
        stream.read_exact(&mut bytes).await?;
        let welcome = Welcome::decode(bytes)?;
        match welcome.verdict {
            Verdict::Welcome => Ok(()),
            // What is wrong is the image here or there; the newer one ends this session, or lets it in.
            verdict => Err(Ended::Refused {
                verdict,
                version: welcome.version,
                node: welcome.node.0,
                cores: welcome.cores,
            }),
        }
    }

    /// Says what is wanted and what is durable, as it changes.
    async fn say(&self, stream: &TcpStream, pulse: &Pulse) -> Ended {
        loop {
            let woken = self.wake.notified();
            let mut frames = self.collect();
            if frames.is_empty() && pulse.take_due() {
                frames.push(FromFollower::Alive.encode());
            }
            if frames.is_empty() {
                woken.await;
                continue;
            }
            if let Err(ended) = pulse.write(stream, &frames).await {
                return ended;
            }
        }
    }

    fn collect(&self) -> Vec<Bytes> {
        let following = |id: &TopicPartition| -> Option<Following> {
            let following = self.shard.partition(id)?.following()?;
            (following.leader == self.target.node).then_some(following)
        };
        let mut asking = self.asking.borrow_mut();
        let mut frames = Vec::new();
        // What is asked comes first: progress names partitions by the numbers they get there.
        while let Some(fetch) = asking.next_fetch(following) {
            frames.push(FromFollower::Fetch(fetch).encode());
        }
        while let Some(progress) = asking.next_progress(following) {
            frames.push(FromFollower::Progress(progress).encode());
        }
        frames
    }

    /// Takes what the leader sends.
    async fn hear(&self, stream: &TcpStream, pulse: &Pulse) -> Ended {
        let mut frames = Frames::new(stream.clone(), LARGEST_FROM_LEADER, pulse);
        loop {
            let frame = match frames.next().await {
                Ok(frame) => frame,
                Err(ended) => return ended,
            };
            let bytes = &self.shard.counters.replication_in_bytes;
            bytes.fetch_add(frame.len() as u64, Relaxed);
            match FromLeader::decode(frame) {
                Ok(FromLeader::Answer(answers)) => {
                    for answered in answers {
                        self.take(answered);
                    }
                    self.wake.notify_one();
                }
                Ok(FromLeader::Alive) => {}
                Err(malformed) => return malformed.into(),
            }
        }
    }

    fn take(&self, answered: Answered) {
        let Answered { slot, round, outcome } = answered;
        let bytes = outcome.records().len();
        let whose = self.asking.borrow().answered(slot, round);
        let Some((id, epoch)) = whose else {
            return self.asking.borrow_mut().discarded(bytes);
        };
        let partition = self.shard.partition(&id);
        let Some(partition) = partition else {
            let mut asking = self.asking.borrow_mut();
            asking.discarded(bytes);
            return asking.refused(slot, Again::Later);
        };
        let acted = match outcome {
            Outcome::Records {
                high_watermark,
                log_start,
                records,
            } => {
                let taken = self
                    .shard
                    .follow_append(&partition, epoch, records, high_watermark, log_start);
                let mut asking = self.asking.borrow_mut();
                if let Err(error) = taken {
                    asking.discarded(bytes);
                    asking.refused(slot, again_after(&error));
                    drop(asking);
                    return said(&partition.topic, &id, epoch, &error);
                }
                match partition.following() {
                    Some(now) if bytes > 0 => asking.appended(slot, now.fetch_offset, bytes),
                    _ => asking.discarded(bytes),
                }
                return;
            }
            Outcome::Diverging(end) => {
                self.asking.borrow_mut().ended(slot, Again::Later);
                self.shard.follow_truncate(&partition, epoch, end)
            }
            Outcome::OutOfRange { start, end } => {
                self.asking.borrow_mut().ended(slot, Again::Later);
                self.shard.follow_out_of_range(&partition, epoch, start, end)
            }
            Outcome::Refused(refusal) => {
                if matches!(refusal, Refusal::Corrupt | Refusal::Failed) {
                    tracing::warn!(topic = %partition.topic, partition = id.partition, ?refusal, "the leader has nothing to follow");
                }
                return self.asking.borrow_mut().ended(slot, Again::Later);
            }
        };
        if let Err(error) = acted {
            said(&partition.topic, &id, epoch, &error);
        }
    }
}

/// When a partition that did not take its records is asked for anew.
fn again_after(error: &FollowError) -> Again {
    match error {
        // It was cut, or appended to by an earlier connection: where it goes on is known.
        FollowError::Elsewhere { .. } => Again::Now,
        // Mostly told sooner.
        FollowError::NotFollowing
        | FollowError::OtherEpoch { .. }
        | FollowError::Storage(_)
        | FollowError::Damaged(_)
        | FollowError::DiskFull => Again::Later,
    }
}

fn said(topic: &str, id: &TopicPartition, epoch: LeaderEpoch, error: &FollowError) {
    let partition = id.partition;
    match error {
        FollowError::Damaged(_) | FollowError::Storage(_) => {
            tracing::error!(topic, partition, epoch = epoch.0, "follow: {error}");
        }
        error => tracing::debug!(topic, partition, epoch = epoch.0, "follow: {error}"),
    }
}

/// The first address of a host. Names are looked up beside the core.
async fn resolve(host: Arc<str>, port: u16) -> io::Result<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let first = rt::blocking(move || Ok::<_, io::Error>((&*host, port).to_socket_addrs()?.next())).await?;
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
}

/// A session that has a connection, as the metrics page counts it.
struct Counted<'a>(&'a Shard);

impl Counted<'_> {
    fn new(shard: &Shard) -> Counted<'_> {
        shard.counters.replication_sessions_fetching.fetch_add(1, Relaxed);
        Counted(shard)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0
            .counters
            .replication_sessions_fetching
            .fetch_sub(1, Relaxed);
    }
}
