//! One fetch against the cores that own its partitions: cut per core, read what is there, wait for more, read again what
//! moved. Nothing is polled; one deadline on the asking core, one waiter per owning core.
//!
//! Owns how the answer's bytes are dealt out over cores. Leaves sessions to `session.rs`, the wire to `mod.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use protocol::error_code::ErrorCode;
use protocol::ids::{Offset, TopicPartition};

use super::session::Entry;
use crate::api::error::code_of;
use crate::rt::{self, Instant, ShardId};
use crate::shard::Shard;
use crate::shard::mesh::{Answer, Message};
use crate::shard::read::{Found, Read, ReadPart, WatchTicket, Watching};

/// What one partition of the fetch came to.
pub(super) type Got = Result<Found, ErrorCode>;

/// A fetch in progress.
pub(super) struct Poll<'a> {
    shard: &'a Rc<Shard>,
    entries: &'a [Entry],
    /// The partition behind each entry, or why there is none.
    targets: Vec<Result<TopicPartition, ErrorCode>>,
    got: Vec<Got>,
    max_bytes: usize,
    /// Entry that is first in line for bytes.
    start: usize,
    /// See [`Read::any_replica`].
    any_replica: bool,
    /// See [`Read::rack`].
    rack: Option<Arc<str>>,
}

impl<'a> Poll<'a> {
    /// A fetch of `entries` that returns at most `max_bytes` (or one batch), dealt out beginning with entry `start`.
    pub(super) fn new(
        shard: &'a Rc<Shard>,
        entries: &'a [Entry],
        targets: Vec<Result<TopicPartition, ErrorCode>>,
        max_bytes: usize,
        start: usize,
    ) -> Poll<'a> {
        let got = targets
            .iter()
            .map(|target| Err(target.err().unwrap_or(ErrorCode::None)))
            .collect();
        Poll {
            shard,
            entries,
            targets,
            got,
            max_bytes,
            start,
            any_replica: false,
            rack: None,
        }
    }

    /// From whom, and for whom.
    pub(super) fn from(mut self, any_replica: bool, rack: Option<Arc<str>>) -> Poll<'a> {
        (self.any_replica, self.rack) = (any_replica, rack);
        self
    }

    /// What every entry came to, in the order of the entries.
    pub(super) fn into_got(self) -> Vec<Got> {
        self.got
    }

    /// The last entry, in the order of dealing, that got records; the next fetch begins behind it.
    pub(super) fn last_served(&self) -> Option<usize> {
        let count = self.entries.len();
        let mut dealt = (0..count).rev().map(|i| (self.start + i) % count);
        dealt.find(|index| {
            self.got[*index]
                .as_ref()
                .is_ok_and(|found| found_bytes(found) > 0)
        })
    }

    /// Bytes of records found so far.
    pub(super) fn bytes(&self) -> usize {
        self.got
            .iter()
            .filter_map(|got| got.as_ref().ok())
            .map(found_bytes)
            .sum()
    }

    /// Whether the client should hear at once: an error or a divergence is news that no bytes will outweigh.
    pub(super) fn has_news(&self) -> bool {
        self.got
            .iter()
            .any(|got| got.as_ref().map_or(true, Found::is_news))
    }

    /// Reads every entry.
    pub(super) async fn read_all(&mut self) {
        let count = self.entries.len();
        let order = (0..count).map(|i| (self.start + i) % count).collect();
        self.read(order).await;
    }

    /// Reads the entries named, in that order.
    pub(super) async fn read(&mut self, order: Vec<usize>) {
        for index in &order {
            if let Ok(found) = &mut self.got[*index] {
                found.records.clear();
            }
        }
        let already = self.bytes();
        let by_core = self.cut(&order);
        // Each core gets an equal share of what is left; one core alone gets all of it.
        let shard = self.shard;
        let share = self.max_bytes.saturating_sub(already) / by_core.len().max(1);
        let asked = by_core.into_iter().map(|(core, indexes)| {
            let read = Read {
                parts: indexes.iter().filter_map(|index| self.part(*index)).collect(),
                max_bytes: share,
                first_batch_always: already == 0,
                any_replica: self.any_replica,
                rack: self.rack.clone(),
            };
            async move { (indexes, shard.ask(core, Message::Read(read)).await) }
        });
        let asked: Vec<_> = asked.collect();
        for (indexes, answer) in join_all(asked).await {
            let Answer::Read(replies) = answer else { continue };
            for (index, reply) in indexes.into_iter().zip(replies) {
                self.got[index] = reply.map_err(|error| code_of(&error));
            }
        }
    }

    fn cut(&self, order: &[usize]) -> BTreeMap<ShardId, Vec<usize>> {
        let mut by_core: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for index in order {
            if let Ok(target) = &self.targets[*index] {
                by_core.entry(self.shard.owner(target)).or_default().push(*index);
            }
        }
        by_core
    }

    fn part(&self, index: usize) -> Option<ReadPart> {
        let wanted = &self.entries[index].wanted;
        Some(ReadPart {
            partition: *self.targets[index].as_ref().ok()?,
            offset: Offset(wanted.offset),
            max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0),
            leader_epoch: wanted.leader_epoch,
            last_fetched_epoch: wanted.last_fetched_epoch,
        })
    }

    /// Waits until some partition has more than was seen of it. Empty when the deadline came first or the broker stops.
    pub(super) async fn moved(&self, deadline: Instant) -> Vec<usize> {
        let all: Vec<usize> = (0..self.entries.len()).collect();
        let mut waits = FuturesUnordered::new();
        for (core, indexes) in self.cut(&all) {
            let parts = indexes
                .into_iter()
                .filter_map(|index| {
                    let seen = self.got[index].as_ref().ok()?.high_watermark;
                    Some((index, *self.targets[index].as_ref().ok()?, seen))
                })
                .collect();
            let ticket = self.shard.next_watch_ticket();
            let waiting = Waiting {
                shard: self.shard.clone(),
                core,
                ticket,
                answered: Cell::new(false),
            };
            let watching = Watching { ticket, parts };
            waits.push(async move {
                let answer = waiting.shard.ask(core, Message::Watch(watching)).await;
                waiting.answered.set(true);
                match answer {
                    Answer::Moved(moved) => moved,
                    _ => Vec::new(),
                }
            });
        }
        let stopping = std::pin::pin!(self.shard.stopping());
        let first = futures::future::select(stopping, waits.next());
        match rt::timeout(deadline - rt::now(), first).await {
            Ok(futures::future::Either::Right((moved, _))) => moved.unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

fn found_bytes(found: &Found) -> usize {
    found.records.len()
}

/// A watch on another core that must be taken off there when nobody here waits any more, also when the client left.
struct Waiting {
    shard: Rc<Shard>,
    core: ShardId,
    ticket: WatchTicket,
    answered: Cell<bool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.answered.get() || self.core == self.shard.id {
            return;
        }
        let (shard, core, ticket) = (self.shard.clone(), self.core, self.ticket);
        rt::spawn(async move {
            shard.ask(core, Message::Unwatch(ticket)).await;
        })
        .detach();
    }
}
