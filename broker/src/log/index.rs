//! Sparse indexes of one segment: from an offset to a place in its file, and from a timestamp to an offset. Owns: which
//! entries exist, which of them are in the index file already, and lookups. Leaves to others: the entries' bytes
//! (`format.rs`), when entries are made (`segment.rs`) and flushed (`round.rs`), and checking files at start (`recovery.rs`).
//!
//! Entries wait in memory until a good number of them is worth a write, and are then only in the file: memory does not
//! grow with the log, and 10,000 idle partitions hold nothing. A round syncs no index: recovery rebuilds what is missing, but
//! only above the recovery point, so a checkpoint syncs those of closed segments before the point passes them.

use std::io;

use protocol::Offset;

use super::format::{self, OffsetEntry, TimeEntry};
use crate::rt::file::File;

/// Entries that wait before a round takes them along: half a page of the offset index, 2 MiB of log.
pub(super) const FLUSH_AFTER: usize = 512;

/// What the two indexes share.
pub(super) trait Entry: Copy + PartialEq {
    const SIZE: usize;
    const ENDING: &'static str;
    fn encode(self, base: Offset, out: &mut Vec<u8>);
    fn decode(base: Offset, bytes: &[u8]) -> Self;
    /// What lookups compare: an offset or a timestamp.
    fn key(&self) -> i64;
}

impl Entry for OffsetEntry {
    const SIZE: usize = format::OFFSET_ENTRY;
    const ENDING: &'static str = format::INDEX;
    fn encode(self, base: Offset, out: &mut Vec<u8>) {
        OffsetEntry::encode(self, base, out);
    }
    fn decode(base: Offset, bytes: &[u8]) -> OffsetEntry {
        OffsetEntry::decode(base, bytes)
    }
    fn key(&self) -> i64 {
        self.offset.0
    }
}

impl Entry for TimeEntry {
    const SIZE: usize = format::TIME_ENTRY;
    const ENDING: &'static str = format::TIME_INDEX;
    fn encode(self, base: Offset, out: &mut Vec<u8>) {
        TimeEntry::encode(self, base, out);
    }
    fn decode(base: Offset, bytes: &[u8]) -> TimeEntry {
        TimeEntry::decode(base, bytes)
    }
    fn key(&self) -> i64 {
        self.timestamp
    }
}

/// One index of one segment.
#[derive(Clone, Debug)]
pub(super) struct Index<E> {
    base: Offset,
    /// Entries in the file.
    flushed: u32,
    last: Option<E>,
    /// Entries after those in the file.
    pending: Vec<E>,
}

/// Where a lookup ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Floor<E> {
    /// The largest entry at or below the target.
    Found(E),
    /// It is among the first so many entries of the file.
    InFile(u32),
    /// There is none: begin at the segment's start.
    None,
}

impl<E: Entry> Index<E> {
    /// The index of a new segment.
    pub(super) fn new(base: Offset) -> Index<E> {
        Index {
            base,
            flushed: 0,
            last: None,
            pending: Vec::new(),
        }
    }

    /// An index whose file holds `flushed` entries, the last of them `last`.
    pub(super) fn loaded(base: Offset, flushed: u32, last: Option<E>) -> Index<E> {
        Index {
            base,
            flushed,
            last,
            pending: Vec::new(),
        }
    }

    /// Adds an entry unless its key is not above the last one's (entries strictly increase). Says whether it did.
    pub(super) fn append(&mut self, entry: E) -> bool {
        if self.last.is_some_and(|last| entry.key() <= last.key()) {
            return false;
        }
        self.last = Some(entry);
        self.pending.push(entry);
        true
    }

    /// Entries in all.
    pub(super) fn len(&self) -> usize {
        self.flushed as usize + self.pending.len()
    }

    pub(super) fn last(&self) -> Option<E> {
        self.last
    }

    /// Entries not in the file yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What is to be written, and where in the file.
    pub(super) fn unflushed(&self) -> (u64, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.encode(self.base, &mut bytes);
        }
        (u64::from(self.flushed) * E::SIZE as u64, bytes)
    }

    /// The first `count` pending entries are in the file now.
    pub(super) fn flushed(&mut self, count: usize) {
        self.pending.drain(..count);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        self.flushed += count as u32;
    }

    /// Largest entry at or below `target`, as far as memory knows.
    pub(super) fn floor(&self, target: i64) -> Floor<E> {
        let below = self.pending.partition_point(|entry| entry.key() <= target);
        match below.checked_sub(1) {
            Some(at) => Floor::Found(self.pending[at]),
            None if self.flushed > 0 => Floor::InFile(self.flushed),
            None => Floor::None,
        }
    }
}

/// How many entries the last step of a search reads at once.
const BLOCK: u32 = 512;

/// Largest entry at or below `target` among the first `entries` of an index file.
pub(super) async fn floor_in_file<E: Entry>(
    file: &File,
    base: Offset,
    entries: u32,
    target: i64,
) -> io::Result<Option<E>> {
    let read = async |first: u32, count: u32| -> io::Result<Vec<E>> {
        let bytes = file
            .read_at(u64::from(first) * E::SIZE as u64, count as usize * E::SIZE)
            .await?;
        if bytes.len() < count as usize * E::SIZE {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the index file is shorter than its entries",
            ));
        }
        Ok(bytes
            .chunks_exact(E::SIZE)
            .map(|bytes| E::decode(base, bytes))
            .collect())
    };
    // The answer is before `high`, and at or after `low` unless it is before the first entry.
    let (mut low, mut high) = (0, entries);
    while high - low > BLOCK {
        let middle = low + (high - low) / 2;
        if read(middle, 1).await?[0].key() <= target {
            low = middle;
        } else {
            high = middle;
        }
    }
    let block = read(low, high - low).await?;
    let below = block.partition_point(|entry| entry.key() <= target);
    Ok(below.checked_sub(1).map(|at| block[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: i64) -> OffsetEntry {
        OffsetEntry {
            offset: Offset(offset),
            position: offset as u32 * 10,
        }
    }

    #[test]
    fn floors_of_what_is_pending() {
        let mut index: Index<OffsetEntry> = Index::new(Offset(100));
        assert_eq!(index.floor(150), Floor::None);
        assert!(index.append(entry(110)));
        assert!(!index.append(entry(110)), "keys increase");
        assert!(index.append(entry(120)));
        assert_eq!(index.floor(109), Floor::None);
        assert_eq!(index.floor(110), Floor::Found(entry(110)));
        assert_eq!(index.floor(119), Floor::Found(entry(110)));
        assert_eq!(index.floor(1000), Floor::Found(entry(120)));
        let (position, bytes) = index.unflushed();
        assert_eq!((position, bytes.len()), (0, 16));
        index.append(entry(130));
        index.flushed(2);
        assert_eq!(index.floor(125), Floor::InFile(2));
        assert_eq!(index.floor(130), Floor::Found(entry(130)));
        assert_eq!((index.len(), index.pending()), (3, 1));
        let (position, bytes) = index.unflushed();
        assert_eq!((position, bytes), (16, vec![0, 0, 0, 30, 0, 0, 5, 20]));
    }
}
