//! One follower's session on the leader's core: what is appended goes out at once, while the follower takes it.
//!
//! One task: a reader that acts on what the follower says, a writer that reads partitions and sends, and a pulse. The reader
//! never waits for the writer, so that progress is heard however much is on its way out. Owns the connection; leaves whose
//! turn it is to `replication/session.rs` and reading to `lead.rs`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures::future::{Either, select};
use protocol::ids::{NodeId, TopicPartition};
use protocol::record::batch::{Batch, batches};

use super::frames::{Ended, Frames};
use super::pulse::Pulse;
use super::throttles::{Limits, sooner};
use crate::replication::handshake::{Hello, Welcome};
use crate::replication::session::{Given, Serving, Turn};
use crate::replication::wire::{
    Answered, Ask, Fetch, FromFollower, FromLeader, LARGEST_FROM_FOLLOWER, MOST_ENTRIES, Outcome, Progress,
    Refusal, Slot,
};
use crate::rt::local::Notify;
use crate::rt::net::TcpStream;
use crate::rt::{self, Task};
use crate::shard::Shard;
use crate::shard::error::PartitionError;
use crate::shard::lead::{FollowerRead, FollowerRecords};
use crate::shard::news::Feed;
use crate::shard::partitions::Partition;

/// So many bytes of records are sent at once, and a turn more at most: what is new meanwhile waits for no more than that.
const WRITE_BYTES: usize = 128 << 10;

/// Serves until the connection ends, and says how it did.
pub(super) async fn serve(
    shard: &Rc<Shard>,
    stream: TcpStream,
    hello: &Hello,
    welcome: Welcome,
    replaced: &Notify,
) -> Ended {
    let session = Rc::new(Session {
        shard: shard.clone(),
        stream: stream.clone(),
        node: hello.node,
        broker_epoch: hello.broker_epoch,
        state: RefCell::default(),
        partitions: RefCell::default(),
        feed: Feed::new(),
        cold: RefCell::default(),
        read: RefCell::default(),
        held_until: Cell::default(),
        wake: Notify::default(),
        pulse: Pulse::new(),
    });
    // Else records would queue behind megabytes in the kernel; where it cannot be had, they do.
    let _ = stream.keep_unsent_below(WRITE_BYTES as u32);
    if let Err(error) = session.pulse.write(&stream, &[welcome.encode()]).await {
        return error;
    }
    let ended = {
        let reader = std::pin::pin!(session.hear());
        let writer = std::pin::pin!(session.answer());
        let pulse = std::pin::pin!(session.pulse.watch(&session.wake, || false));
        let replaced = std::pin::pin!(replaced.notified());
        match select(select(reader, writer), select(pulse, replaced)).await {
            Either::Left((Either::Left((ended, _)) | Either::Right((ended, _)), _)) => ended,
            Either::Right((Either::Left((ended, _)), _)) => ended,
            Either::Right((Either::Right(_), _)) => Ended::Replaced,
        }
    };
    // Reads of files hold the session.
    session.cold.take();
    let _ = stream.shutdown();
    ended
}

struct Session {
    shard: Rc<Shard>,
    stream: TcpStream,
    node: NodeId,
    broker_epoch: i64,
    state: RefCell<Serving>,
    partitions: RefCell<BTreeMap<Slot, Rc<Partition>>>,
    feed: Rc<Feed>,
    /// Files that are being read.
    cold: RefCell<BTreeMap<Slot, Task<()>>>,
    /// What they gave.
    read: RefCell<VecDeque<ColdRead>>,
    /// When those that their throttle holds back are looked at again.
    held_until: Cell<Option<rt::Instant>>,
    wake: Notify,
    pulse: Pulse,
}

struct ColdRead {
    slot: Slot,
    round: u32,
    given: Result<(FollowerRead, Bytes), PartitionError>,
}

impl Session {
    /// Acts on what the follower says.
    async fn hear(&self) -> Ended {
        let mut frames = Frames::new(self.stream.clone(), LARGEST_FROM_FOLLOWER, &self.pulse);
        loop {
            let heard = match frames.next().await {
                Ok(frame) => FromFollower::decode(frame).map_err(Ended::from),
                Err(ended) => Err(ended),
            };
            let acted = heard.and_then(|frame| match frame {
                FromFollower::Fetch(fetch) => self.fetch(&fetch),
                FromFollower::Progress(progress) => {
                    self.progress(&progress);
                    Ok(())
                }
                FromFollower::Alive => Ok(()),
            });
            if let Err(ended) = acted {
                return ended;
            }
        }
    }

    fn fetch(&self, fetch: &Fetch) -> Result<(), Ended> {
        for slot in &fetch.forget {
            self.forget(*slot);
        }
        for ask in &fetch.ask {
            self.ask(ask)?;
        }
        self.state.borrow_mut().grant(fetch.credit);
        self.wake.notify_one();
        Ok(())
    }

    fn ask(&self, ask: &Ask) -> Result<(), Ended> {
        self.forget(ask.slot);
        let partition = self.shard.partition(&ask.partition);
        let in_sync = partition.is_some_and(|partition| partition.is_in_sync(self.node));
        self.state.borrow_mut().ask(*ask, in_sync)?;
        if let Some(partition) = self.find(ask.slot, &ask.partition) {
            // Before it is read: a read tells how far the follower may be believed.
            partition.follower_synced(
                self.node,
                self.broker_epoch,
                ask.leader_epoch,
                ask.synced,
                rt::now(),
            );
        }
        Ok(())
    }

    fn forget(&self, slot: Slot) {
        self.state.borrow_mut().forget(slot);
        drop(self.cold.borrow_mut().remove(&slot));
        if let Some(partition) = self.partitions.borrow_mut().remove(&slot) {
            partition.append_watchers.unsubscribe(&self.feed);
        }
    }

    /// The partition of a slot, listened to from the first look on.
    fn find(&self, slot: Slot, id: &TopicPartition) -> Option<Rc<Partition>> {
        if let Some(known) = self.partitions.borrow().get(&slot) {
            return Some(known.clone());
        }
        let partition = self.shard.partition(id)?;
        partition.append_watchers.subscribe(&self.feed, slot as usize);
        self.partitions.borrow_mut().insert(slot, partition.clone());
        Some(partition)
    }

    fn progress(&self, progress: &Progress) {
        if progress.credit > 0 {
            self.state.borrow_mut().grant(progress.credit);
            self.wake.notify_one();
        }
        let now = rt::now();
        for synced in &progress.synced {
            let known = self.state.borrow_mut().progress(synced);
            let partition = known.and_then(|_| self.partitions.borrow().get(&synced.slot).cloned());
            if let Some(partition) = partition {
                let (node, epoch) = (self.node, self.broker_epoch);
                partition.follower_synced(node, epoch, synced.leader_epoch, synced.synced, now);
            }
        }
    }

    /// Sends what there is, as it comes.
    async fn answer(self: &Rc<Self>) -> Ended {
        let mut seen = 0;
        loop {
            let woken = self.wake.notified();
            let moved = self.feed.wait();
            let newer_image = self.shard.image_changed.wait();
            let image = self.shard.image().offset;
            if std::mem::replace(&mut seen, image) != image {
                self.state.borrow_mut().image_changed();
            }
            if self.held_until.get().is_some_and(|at| at <= rt::now()) {
                self.held_until.set(None);
                self.state.borrow_mut().release();
            }
            let answers = self.collect();
            let released = released_at(self.held_until.get());
            let frames = match answers.is_empty() {
                false => FromLeader::in_frames(answers),
                true if self.pulse.take_due() => vec![FromLeader::Alive],
                true => {
                    let released = std::pin::pin!(released);
                    select(select(woken, moved), select(newer_image, released)).await;
                    continue;
                }
            };
            let slices: Vec<Bytes> = frames.iter().flat_map(FromLeader::encode).collect();
            let bytes: usize = slices.iter().map(Bytes::len).sum();
            if let Err(ended) = self.pulse.write(&self.stream, &slices).await {
                return ended;
            }
            self.shard
                .counters
                .replication_out_bytes
                .fetch_add(bytes as u64, Relaxed);
        }
    }

    /// One write's worth of answers; none if there is nothing to say.
    fn collect(self: &Rc<Self>) -> Vec<Answered> {
        let mut answers = Vec::new();
        let mut bytes = 0;
        for index in self.feed.take() {
            self.state.borrow_mut().moved(index as Slot);
        }
        while bytes < WRITE_BYTES && answers.len() < MOST_ENTRIES {
            let is_news_next = self.state.borrow().is_news_next();
            let read = match is_news_next {
                true => None,
                false => self.read.borrow_mut().pop_front(),
            };
            if let Some(read) = read {
                let is_current = self.state.borrow_mut().end_cold(read.slot, read.round);
                // What a later ask of the slot reads by now is in its place otherwise, and dropping a task cancels it.
                if is_current {
                    self.cold.borrow_mut().remove(&read.slot);
                    bytes += self.settle(read, &mut answers);
                }
                continue;
            }
            let turn = self.state.borrow_mut().next_turn();
            let Some(turn) = turn else { break };
            bytes += self.take_turn(turn, &mut answers);
        }
        answers
    }

    /// Reads one partition; returns the bytes of records.
    fn take_turn(self: &Rc<Self>, turn: Turn, answers: &mut Vec<Answered>) -> usize {
        let Turn { slot, round, .. } = turn;
        let read = match self.find(slot, &turn.partition) {
            Some(partition) => {
                if self.held_back(&partition) {
                    self.state.borrow_mut().hold(slot, round);
                    return 0;
                }
                let (node, life, now) = (self.node, self.broker_epoch, rt::now());
                // Again with every read: when the follower said it first, this broker may not have known yet that it
                // leads, and a follower that has everything has nothing more to report.
                partition.follower_synced(node, life, turn.position.leader_epoch, turn.synced, now);
                partition.read_for_follower(node, life, turn.position, now)
            }
            None => Err(PartitionError::Unknown),
        };
        match read {
            Ok(mut read) => match std::mem::replace(&mut read.records, FollowerRecords::Now(Bytes::new())) {
                FollowerRecords::Now(records) => {
                    let given = Ok((read, records));
                    self.settle(ColdRead { slot, round, given }, answers)
                }
                FollowerRecords::Cold(job) => {
                    let most = job.largest_read();
                    if self.state.borrow_mut().begin_cold(slot, round, most) {
                        self.begin_cold(turn, read, job);
                    }
                    0
                }
            },
            Err(error) => {
                self.refuse(&turn, &error, answers);
                0
            }
        }
    }

    fn limits(&self, partition: &Partition) -> Limits {
        let (image, me) = (self.shard.image(), self.shard.options.node_id);
        self.shard.throttles.limits(partition, &image, me, self.node)
    }

    /// Whether as much was sent of throttled replicas as is allowed now.
    fn held_back(&self, partition: &Partition) -> bool {
        let limits = self.limits(partition);
        if !limits.any() {
            return false;
        }
        let wait = self.shard.throttles.wait(limits, self.node, rt::now());
        if let Some(wait) = wait {
            self.held_until.set(sooner(self.held_until.get(), wait));
        }
        wait.is_some()
    }

    /// Counts what a throttled replica was sent.
    fn count(&self, slot: Slot, bytes: usize) {
        let limits = match self.partitions.borrow().get(&slot) {
            Some(partition) if bytes > 0 => self.limits(partition),
            _ => return,
        };
        if limits.any() {
            self.shard.throttles.sent(limits, self.node, bytes);
            let throttled = &self.shard.counters.replication_throttled_bytes;
            throttled.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// Takes in what was read of a partition.
    fn settle(&self, read: ColdRead, answers: &mut Vec<Answered>) -> usize {
        let ColdRead { slot, round, given } = read;
        let (found, records) = match given {
            Ok(given) => given,
            Err(error) => {
                let outcome = outcome_of(&error);
                self.state.borrow_mut().ended(slot, round);
                answers.push(Answered { slot, round, outcome });
                return 0;
            }
        };
        if let Some(end) = found.diverging {
            self.state.borrow_mut().ended(slot, round);
            let outcome = Outcome::Diverging(end);
            answers.push(Answered { slot, round, outcome });
            return 0;
        }
        let bytes = records.len();
        self.count(slot, bytes);
        let given = Given {
            bytes,
            end: last_batch(&records).map(|batch| (batch.next_offset(), batch.leader_epoch())),
            high_watermark: found.high_watermark,
            log_start: found.log_start,
            log_end: found.log_end,
        };
        if self.state.borrow_mut().read(slot, round, given) {
            let outcome = Outcome::Records {
                high_watermark: found.high_watermark,
                log_start: found.log_start,
                records,
            };
            answers.push(Answered { slot, round, outcome });
        }
        bytes
    }

    fn begin_cold(self: &Rc<Self>, turn: Turn, read: FollowerRead, job: crate::log::ReadJob) {
        let Turn { slot, round, .. } = turn;
        let session = self.clone();
        let task = rt::spawn(async move {
            let room = session.shard.cold_reads.room(job.largest_read()).await;
            let job = match room.whole {
                true => job,
                false => job.up_to(crate::shard::cold::LITTLE),
            };
            let given = match session.shard.partition(&turn.partition) {
                Some(partition) => partition.noticed(job.run().await),
                None => Err(PartitionError::Unknown),
            };
            let given = given.map(|records| (read, room.hold(records)));
            let read = ColdRead { slot, round, given };
            session.read.borrow_mut().push_back(read);
            session.wake.notify_one();
        });
        self.cold.borrow_mut().insert(slot, task);
    }

    /// Says why nothing comes, or waits where this broker is the one that is behind.
    fn refuse(&self, turn: &Turn, error: &PartitionError, answers: &mut Vec<Answered>) {
        let Turn { slot, round, .. } = *turn;
        let behind = matches!(
            error,
            PartitionError::NotLeader | PartitionError::UnknownEpoch | PartitionError::Unknown
        );
        if behind {
            let image = self.shard.image();
            let known = image.partition(turn.partition.topic_id, turn.partition.partition);
            if known.is_none_or(|known| known.leader_epoch < turn.position.leader_epoch) {
                return self.state.borrow_mut().until_newer_image(slot, round);
            }
        }
        self.state.borrow_mut().ended(slot, round);
        let outcome = outcome_of(error);
        answers.push(Answered { slot, round, outcome });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for partition in self.partitions.take().into_values() {
            partition.append_watchers.unsubscribe(&self.feed);
        }
    }
}

async fn released_at(at: Option<rt::Instant>) {
    match at {
        Some(at) => rt::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn last_batch(records: &Bytes) -> Option<Batch<'_>> {
    batches(records)
        .filter_map(Result::ok)
        .last()
        .map(|(_, batch)| batch)
}

fn outcome_of(error: &PartitionError) -> Outcome {
    Outcome::Refused(match error {
        PartitionError::OutOfRange { start, end } => {
            return Outcome::OutOfRange {
                start: *start,
                end: *end,
            };
        }
        PartitionError::NotLeader => Refusal::NotLeader,
        PartitionError::NotReplica => Refusal::NotReplica,
        PartitionError::FencedEpoch => Refusal::FencedEpoch,
        PartitionError::UnknownEpoch => Refusal::UnknownEpoch,
        PartitionError::Unknown => Refusal::Unknown,
        PartitionError::Corrupt(_) => Refusal::Corrupt,
        _ => Refusal::Failed,
    })
}
