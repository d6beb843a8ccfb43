//! How many bytes read from files the answers of one core may hold. Slices of the tail cache are bounded by the cache; what
//! comes from a file is memory of its own until a client has taken it, and clients may be slow and many.
//!
//! Owns the count and the waiting. Leaves reading to `log/reader`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

use bytes::Bytes;

use crate::rt;

/// A fetch that finds no room for so long gets [`LITTLE`]: slow clients must not starve the others.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes, or one batch, that are read without room.
pub(super) const LITTLE: usize = 64 * 1024;
/// One fetch holds at most this part of the room with all but its first partition: one client must not hold all of it.
const PART_FOR_ONE: usize = 8;
/// How often it looks for room. Answers are let go on other cores, which cannot wake a task of this one.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The bytes of one core.
pub(super) struct ColdReads {
    limit: usize,
    /// Shared with the answers, which end on any core.
    held: Arc<AtomicUsize>,
}

/// Room for one read; what was read keeps it.
pub(super) struct Room {
    /// There was room for all of the read. Otherwise for [`LITTLE`] that lets a reader get on.
    pub(super) whole: bool,
    share: Share,
}

/// Bytes counted until dropped.
struct Share {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

/// Records from a file and their share of the room.
struct Held {
    records: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

impl ColdReads {
    /// At most `limit` bytes, or one read if that is larger.
    pub(super) fn new(limit: usize) -> ColdReads {
        ColdReads {
            limit,
            held: Arc::default(),
        }
    }

    /// Room for `bytes` if there is any now, for a fetch that has `already` so many.
    pub(super) fn at_once(&self, bytes: usize, already: usize) -> Option<Room> {
        let fair = already == 0 || already + bytes <= self.limit / PART_FOR_ONE;
        (fair && self.fits(bytes)).then(|| self.take(bytes, true))
    }

    /// Waits for room for `bytes`, but not for ever.
    pub(super) async fn room(&self, bytes: usize) -> Room {
        let deadline = rt::now() + PATIENCE;
        while !self.fits(bytes) {
            if rt::now() >= deadline {
                return self.take(0, false);
            }
            rt::sleep(LOOK_AGAIN).await;
        }
        self.take(bytes, true)
    }

    fn fits(&self, bytes: usize) -> bool {
        let held = self.held.load(Acquire);
        held == 0 || held.saturating_add(bytes) <= self.limit
    }

    /// Only this core adds, so nothing comes between [`ColdReads::fits`] and this.
    fn take(&self, bytes: usize, whole: bool) -> Room {
        self.held.fetch_add(bytes, AcqRel);
        let held = self.held.clone();
        Room {
            whole,
            share: Share { held, bytes },
        }
    }
}

impl Room {
    /// The records, which keep the room until their last slice is dropped.
    pub(super) fn hold(mut self, records: Bytes) -> Bytes {
        if records.is_empty() {
            return records;
        }
        // A batch larger than was asked for comes whole.
        let more = records.len().saturating_sub(self.share.bytes);
        self.share.held.fetch_add(more, AcqRel);
        self.share.bytes += more;
        Bytes::from_owner(Held {
            records,
            _share: self.share,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(reads: &ColdReads) -> usize {
        reads.held.load(Acquire)
    }

    #[test]
    fn what_was_read_is_counted_until_its_last_slice_is_gone_on_whatever_thread() {
        let reads = ColdReads::new(100);
        let records = reads.take(60, true).hold(Bytes::from(vec![7; 40]));
        assert_eq!((held(&reads), reads.fits(41), reads.fits(40)), (60, false, true));
        let slice = records.slice(3..5);
        drop(records);
        assert_eq!(held(&reads), 60);
        let elsewhere = std::thread::spawn(move || slice.to_vec());
        assert_eq!(elsewhere.join().expect("it runs"), [7, 7]);
        assert_eq!(held(&reads), 0);
    }

    #[test]
    fn what_finds_no_room_is_told_at_once() {
        let reads = ColdReads::new(100);
        let first = reads.at_once(80, 0).expect("room");
        assert!(reads.at_once(21, 0).is_none());
        drop(first);
        assert!(reads.at_once(21, 0).is_some());
        assert!(
            reads.at_once(3, 10).is_none(),
            "more than one fetch's part of the room"
        );
        assert!(reads.at_once(2, 10).is_some());
    }

    #[test]
    fn a_read_larger_than_the_limit_goes_alone() {
        let reads = ColdReads::new(100);
        assert!(reads.fits(1000));
        let large = reads.take(1000, true);
        assert!(!reads.fits(1));
        drop(large);
        assert_eq!(held(&reads), 0);
    }

    #[test]
    fn a_batch_larger_than_asked_for_is_counted_whole_and_nothing_is_not() {
        let reads = ColdReads::new(100);
        let batch = reads.take(10, true).hold(Bytes::from(vec![0; 30]));
        assert_eq!(held(&reads), 30);
        let nothing = reads.take(50, true).hold(Bytes::new());
        assert_eq!((nothing.len(), held(&reads)), (0, 30));
        drop(batch);
        assert_eq!(held(&reads), 0);
    }
}
