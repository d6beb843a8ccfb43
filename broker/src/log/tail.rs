//! The newest records of each log in memory. Owns: what is not written yet (it is nowhere else), what was written lately,
//! and the byte budget that all logs of a shard share. Leaves to others: files.
//!
//! Batches are copied once, when they are appended, into a growing chunk; a durability round (or a read) seals the chunk,
//! and from then on everybody shares its bytes: the ring write, and every consumer at the tail, who usually reads exactly
//! one chunk and so needs no further copy. A chunk never spans two segments.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::{Bytes, BytesMut};
use protocol::Offset;

/// No durability round writes more of one log at once, except a single batch that is larger. Recovery relies on it to
/// tell a torn write from rot: damage further than this from the end of the file was synced once (see `recovery.rs`).
pub(super) const ROUND_BYTES: usize = 1024 * 1024;

/// What the bookkeeping of a chunk costs beside its bytes; counted, so that tiny batches cannot outgrow the budget.
const CHUNK_COST: usize = 192;

/// One batch within a chunk. It begins where the batch before it ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    first: Offset,
    last: Offset,
    /// Byte of the chunk after the batch.
    end: usize,
}

/// Consecutive batches of one segment.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Base offset of the segment.
    pub segment: Offset,
    /// Byte of the segment's file at which the chunk begins.
    pub position: u64,
    pub bytes: Bytes,
    batches: Box<[Place]>,
}

impl Chunk {
    pub(super) fn first(&self) -> Offset {
        self.batches[0].first
    }

    /// Offset after the chunk.
    pub(super) fn end(&self) -> Offset {
        self.batches[self.batches.len() - 1].last + 1
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.batches.len() * size_of::<Place>() + CHUNK_COST
    }

    fn start_of(&self, batch: usize) -> usize {
        batch.checked_sub(1).map_or(0, |before| self.batches[before].end)
    }
}

#[derive(Default)]
struct Growing {
    segment: Offset0,
    position: u64,
    bytes: Vec<u8>,
    batches: Vec<Place>,
}

/// An offset that defaults to zero.
#[derive(Clone, Copy)]
struct Offset0(Offset);

impl Default for Offset0 {
    fn default() -> Offset0 {
        Offset0(Offset::ZERO)
    }
}

/// The tail of one log.
#[derive(Default)]
pub(super) struct Tail {
    chunks: VecDeque<Chunk>,
    growing: Growing,
    /// Offsets from here on are only here: never evicted.
    kept_from: Offset0,
}

/// What a read of the tail found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TailRead {
    Found(Bytes),
    /// The batch is here, and may not be returned: above the bound, or larger than asked for.
    Nothing,
    /// The offset is before what is kept here.
    NotHere,
}

impl Tail {
    /// Copies a batch behind the others and gives the copy to be stamped. `position` is its place in the segment's file.
    pub(super) fn push(
        &mut self,
        segment: Offset,
        position: u64,
        first: Offset,
        last: Offset,
        batch: &[u8],
    ) -> &mut [u8] {
        let grown = self.growing.bytes.len();
        if grown > 0 && (self.growing.segment.0 != segment || grown + batch.len() > ROUND_BYTES) {
            self.seal();
        }
        let growing = &mut self.growing;
        if growing.bytes.is_empty() {
            growing.segment = Offset0(segment);
            growing.position = position;
            growing.bytes.reserve_exact(batch.len());
        }
        let start = growing.bytes.len();
        growing.bytes.extend_from_slice(batch);
        growing.batches.push(Place {
            first,
            last,
            end: growing.bytes.len(),
        });
        &mut growing.bytes[start..]
    }

    /// Makes what grew since the last call shareable.
    pub(super) fn seal(&mut self) {
        let growing = std::mem::take(&mut self.growing);
        if growing.batches.is_empty() {
            return;
        }
        let mut bytes = growing.bytes;
        // Growing doubles; a chunk may stay for long, so what is unused beyond a quarter goes back.
        if bytes.capacity() - bytes.len() > bytes.len() / 4 {
            bytes.shrink_to_fit();
        }
        let chunk = Chunk {
            segment: growing.segment.0,
            position: growing.position,
            bytes: Bytes::from(bytes),
            batches: growing.batches.into_boxed_slice(),
        };
        self.chunks.push_back(chunk);
    }

    /// Sealed chunks from `from` on, as many as one round may write.
    pub(super) fn for_round(&self, from: Offset) -> Vec<Chunk> {
        let mut taken = 0;
        let start = self.chunks.partition_point(|chunk| chunk.first() < from);
        let mut chunks: Vec<Chunk> = Vec::new();
        for chunk in self.chunks.range(start..) {
            if !chunks.is_empty() && taken + chunk.bytes.len() > ROUND_BYTES {
                break;
            }
            taken += chunk.bytes.len();
            chunks.push(chunk.clone());
        }
        chunks
    }

    /// Everything below `offset` is in a file now.
    pub(super) fn written(&mut self, offset: Offset) {
        self.kept_from = Offset0(offset);
    }

    /// Whole batches from the one that holds `from`, below `upto`, at most `max_bytes` (the first one regardless, if so
    /// asked). Seals what grew, so that nobody ever reads bytes that may still move.
    pub(super) fn read(
        &mut self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
        first_always: bool,
    ) -> TailRead {
        if self
            .growing
            .batches
            .first()
            .is_some_and(|batch| batch.first < upto)
        {
            self.seal();
        }
        let at = self.chunks.partition_point(|chunk| chunk.end() <= from);
        let Some(chunk) = self.chunks.get(at).filter(|chunk| chunk.first() <= from) else {
            return TailRead::NotHere;
        };
        let mut parts: Vec<Bytes> = Vec::new();
        let mut left = max_bytes;
        let mut skip = chunk.batches.partition_point(|batch| batch.last < from);
        for chunk in self.chunks.range(at..) {
            let mut taken = skip;
            for (index, batch) in chunk.batches.iter().enumerate().skip(skip) {
                let size = batch.end - chunk.start_of(index);
                let is_first = parts.is_empty() && index == skip;
                if batch.last >= upto || size > left && !(is_first && first_always) {
                    break;
                }
                left = left.saturating_sub(size);
                taken = index + 1;
            }
            if taken > skip {
                parts.push(
                    chunk
                        .bytes
                        .slice(chunk.start_of(skip)..chunk.batches[taken - 1].end),
                );
            }
            if taken < chunk.batches.len() {
                break;
            }
            skip = 0;
        }
        match parts.len() {
            0 => TailRead::Nothing,
            1 => TailRead::Found(parts.swap_remove(0)),
            _ => {
                let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
                parts.iter().for_each(|part| whole.extend_from_slice(part));
                TailRead::Found(whole.freeze())
            }
        }
    }

    /// Segment and file position after the batch whose last offset is `last`, if it is here.
    pub(super) fn place_after(&self, last: Offset) -> Option<(Offset, u64)> {
        let growing = &self.growing;
        if let Some(batch) = growing.batches.iter().find(|batch| batch.last == last) {
            return Some((growing.segment.0, growing.position + batch.end as u64));
        }
        let chunk = self
            .chunks
            .get(self.chunks.partition_point(|chunk| chunk.end() <= last))?;
        let batch = chunk.batches.iter().find(|batch| batch.last == last)?;
        Some((chunk.segment, chunk.position + batch.end as u64))
    }

    /// Drops everything; what the written part of it cost.
    pub(super) fn clear(&mut self) -> usize {
        let kept_from = self.kept_from;
        let written = self
            .chunks
            .iter()
            .filter(|chunk| chunk.end() <= kept_from.0)
            .map(Chunk::cost)
            .sum();
        *self = Tail {
            kept_from,
            ..Tail::default()
        };
        written
    }

    /// Drops the oldest chunk if it is in a file; its cost, or 0.
    fn evict_one(&mut self) -> usize {
        match self.chunks.front() {
            Some(chunk) if chunk.end() <= self.kept_from.0 => {
                let cost = chunk.cost();
                self.chunks.pop_front();
                cost
            }
            _ => 0,
        }
    }
}

/// The bytes all tails of one shard may keep. `!Send`. Unwritten bytes are always kept, even beyond the limit: refusing
/// producers is for who hands out receive memory. The oldest written chunk of the shard goes first.
pub struct TailBudget {
    limit: usize,
    used: Cell<usize>,
    /// One entry per chunk, in the order in which rounds wrote them.
    queue: RefCell<VecDeque<Weak<RefCell<Tail>>>>,
}

impl TailBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Rc<TailBudget> {
        Rc::new(TailBudget {
            limit,
            used: Cell::new(0),
            queue: RefCell::default(),
        })
    }

    /// Bytes of written chunks kept now.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Counts chunks of `tail` that a round has just written, and makes room for them.
    pub(super) fn wrote(&self, tail: &Rc<RefCell<Tail>>, chunks: &[Chunk]) {
        let mut queue = self.queue.borrow_mut();
        for chunk in chunks {
            self.used.set(self.used.get() + chunk.cost());
            queue.push_back(Rc::downgrade(tail));
        }
        while self.used.get() > self.limit {
            let Some(oldest) = queue.pop_front() else { return };
            // A tail that is gone gave its bytes back itself.
            if let Some(tail) = oldest.upgrade() {
                let freed = tail.borrow_mut().evict_one();
                self.used.set(self.used.get().saturating_sub(freed));
            }
        }
    }

    /// A tail was emptied to be dropped: its written bytes no longer count.
    pub(super) fn released(&self, cost: usize) {
        self.used.set(self.used.get().saturating_sub(cost));
        self.queue.borrow_mut().retain(|tail| tail.strong_count() > 0);
    }
}
