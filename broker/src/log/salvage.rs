//! One segment after a start: its indexes are loaded or rebuilt, and as much of its file as may be torn or rotten is
//! read and judged. Owns: the judgement "torn write" or "damage". Leaves to others: the log around it (`recovery.rs`).
//!
//! # Torn or damaged?
//! A crash can leave the last round's write torn: nothing of it was promised, and it is cut away. Anything else that is
//! not a valid batch is damage: something there was promised once, and it is kept, reported and refused.
//! - Below the recovery point everything was synced: damage.
//! - Not in the last segment: damage. A segment is synced before the next one's file is made.
//! - No valid batch after it: torn.
//! - Valid batches after it: one round may leave that too, since the kernel writes its pages in any order. But a lost page
//!   reads as zeros (the file grew into fresh blocks), and one round writes at most [`ROUND_BYTES`]: torn if a whole
//!   sector of zeros lies in it and the file ends within that many bytes; else rot, hence damage.
//!   Under `flush.policy = async` many rounds may be unsynced, so the distance says nothing there.
//! - What the disk cannot read is damage wherever it is: a torn write can be read.
//!
//! # A batch with another offset
//! A batch's CRC leaves its base offset out (Kafka's record batch format, so that a leader may set it). Believing a turned
//! bit there would make every batch behind it invalid. Where no offset may be missing, its neighbours say what it was, and
//! it is put right; if they do not, the offsets between are missing and said to be.

use std::io;
use std::path::Path;

use protocol::Offset;

use super::batches::{FoundBatch, Step, Walk};
use super::epochs::Epochs;
use super::format::{OffsetEntry, TimeEntry, file_name};
use super::index::{Entry, Index};
use super::recovery::{Damage, RecoveryReport};
use super::segment::{BatchFacts, Segment};
use super::tail::ROUND_BYTES;
use super::{FlushPolicy, LogConfig};
use crate::rt::file::{BlockingFile, Disk, OpenOptions, is_unreadable};

/// What is known of a segment before it is looked at.
pub(super) struct Salvage<'a> {
    pub(super) disk: &'a Disk,
    pub(super) dir: &'a Path,
    pub(super) config: &'a LogConfig,
    pub(super) base: Offset,
    /// Base offset of the next segment; `None` for the last one.
    pub(super) next: Option<Offset>,
    /// The broker stopped cleanly: files are what they were.
    pub(super) clean: bool,
    /// Everything below was synced.
    pub(super) recovery_point: Offset,
    pub(super) now_ms: i64,
}

/// A segment that can be used.
pub(super) struct Salvaged {
    pub(super) segment: Segment,
    /// Offset after its last batch (or after what should have been it).
    pub(super) end: Offset,
    /// It ends in bytes that are no batches and must stay: nothing may be appended to it.
    pub(super) sealed: bool,
}

type Indexes = (Index<OffsetEntry>, Index<TimeEntry>);

impl Salvage<'_> {
    pub(super) fn run(&self, epochs: &mut Epochs, report: &mut RecoveryReport) -> io::Result<Salvaged> {
        let log = self.disk.open_blocking(
            self.path(super::format::LOG),
            OpenOptions {
                create: false,
                write: true,
            },
        )?;
        let len = log.len()?;
        let suspect = !self.clean && self.next.is_none_or(|next| next > self.recovery_point);
        let mut segment = Segment::new(self.base, self.now_ms);
        let mut start = 0;
        let mut due = self.base;
        let mut rebuild = true;
        if let Some((offsets, times)) = self.load_indexes(len, suspect)?
            && let Some((position, base)) = self.starting_point(&log, len, offsets.last())?
        {
            (segment.offsets, segment.times) = (offsets, times);
            (start, due, rebuild) = (position, base, false);
        }
        report.rebuilt_indexes += u64::from(rebuild && len > 0);
        segment.newest = segment.times.last();
        segment.first_ms = self.first_timestamp(&log, len)?;
        segment.size = start;
        let mut end = self.next.unwrap_or(self.base);
        let mut sealed = false;
        let trusted = self.next.is_some() && !suspect && !rebuild;
        if trusted {
            segment.size = len;
        } else {
            let mut walk = Walk::new(&log, len, start, due);
            walk.exact = !self.config.compacted;
            self.scan(&log, &mut walk, &mut segment, suspect, epochs, report)?;
            report.scanned_bytes += walk.bytes_read;
            end = walk.expected;
            sealed = segment.size > walk.position;
        }
        if self.next.is_some() && !trusted {
            segment.index_newest();
        }
        let touched = self.put_index(&mut segment)?;
        if suspect {
            // What the kernel had is not yet what the disk has: nobody reads it before this returns.
            log.sync_data()?;
        }
        (segment.written, segment.synced, segment.created) = (segment.size, segment.size, true);
        segment.finished = self.next.is_some();
        // A checkpoint syncs them before the recovery point passes their segment.
        segment.indexes_synced = !suspect && !rebuild && !touched && len > 0;
        Ok(Salvaged { segment, end, sealed })
    }

    fn path(&self, ending: &str) -> std::path::PathBuf {
        self.dir.join(file_name(self.base, ending))
    }

    /// Both indexes as far as they can be trusted: all of them normally, below the recovery point after a crash. `None`
    /// when they must be rebuilt.
    fn load_indexes(&self, len: u64, suspect: bool) -> io::Result<Option<Indexes>> {
        if len == 0 {
            return Ok(Some((Index::new(self.base), Index::new(self.base))));
        }
        if !suspect {
            let Some(offsets) = self.last_of_index::<OffsetEntry>()? else {
                return Ok(None);
            };
            let Some(times) = self.last_of_index::<TimeEntry>()? else {
                return Ok(None);
            };
            // Every closed segment has a time entry, unless its records have no timestamps: then its headers are read.
            let told = times.len() > 0 || self.next.is_none();
            return Ok(told.then_some((offsets, times)));
        }
        let Some(mut offsets) = self.read_index::<OffsetEntry>()? else {
            return Ok(None);
        };
        let Some(mut times) = self.read_index::<TimeEntry>()? else {
            return Ok(None);
        };
        // After a crash an index may hold holes, and entries of what is about to be cut.
        let rising =
            |pair: &[OffsetEntry]| pair[0].offset < pair[1].offset && pair[0].position < pair[1].position;
        let trusted = offsets.windows(2).take_while(|pair| rising(pair)).count() + 1;
        offsets.truncate(trusted);
        offsets.retain(|entry| entry.offset < self.recovery_point && u64::from(entry.position) < len);
        let before = offsets.last().map_or(self.base, |entry| entry.offset);
        let rising =
            |pair: &[TimeEntry]| pair[0].timestamp < pair[1].timestamp && pair[0].offset < pair[1].offset;
        let trusted = times.windows(2).take_while(|pair| rising(pair)).count() + 1;
        times.truncate(trusted);
        times.retain(|entry| entry.offset >= self.base && entry.offset < before);
        if times.is_empty() {
            // The largest timestamp before the place would be unknown: read the segment from its start.
            offsets.clear();
        }
        let count = |entries: usize| u32::try_from(entries).expect("index files are bounded");
        Ok(Some((
            Index::loaded(self.base, count(offsets.len()), offsets.last().copied()),
            Index::loaded(self.base, count(times.len()), times.last().copied()),
        )))
    }

    /// An index file by its size and last entry only: what a clean start can afford for every segment.
    fn last_of_index<E: Entry>(&self) -> io::Result<Option<Index<E>>> {
        let file = match self
            .disk
            .open_blocking(self.path(E::ENDING), OpenOptions::default())
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        let Some(position) = len.checked_sub(E::SIZE as u64) else {
            return Ok((len == 0).then(|| Index::new(self.base)));
        };
        let mut entry = vec![0; E::SIZE];
        match file.read_exact_at(&mut entry, position) {
            Err(error) if is_unreadable(&error) => return Ok(None),
            read => read?,
        }
        let sound = len.is_multiple_of(E::SIZE as u64) && entry.iter().any(|byte| *byte != 0);
        let count = u32::try_from(len / E::SIZE as u64).ok();
        Ok(count
            .filter(|_| sound)
            .map(|count| Index::loaded(self.base, count, Some(E::decode(self.base, &entry)))))
    }

    fn read_index<E: Entry>(&self) -> io::Result<Option<Vec<E>>> {
        match self.disk.read(self.path(E::ENDING)) {
            // Kafka preallocates the active segment's index; after a crash the rest is zeros.
            Ok(bytes) if bytes.len() % E::SIZE == 0 => {
                let entries = bytes.chunks_exact(E::SIZE);
                let used = entries.take_while(|entry| entry.iter().any(|byte| *byte != 0));
                Ok(Some(used.map(|entry| E::decode(self.base, entry)).collect()))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_unreadable(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the scan begins, and the base offset of the batch there: the one that the index's last entry names, or the
    /// first when it has none. `None` if that batch is not there.
    fn starting_point(
        &self,
        log: &BlockingFile,
        len: u64,
        last: Option<OffsetEntry>,
    ) -> io::Result<Option<(u64, Offset)>> {
        let Some(entry) = last else {
            return Ok(Some((0, self.base)));
        };
        let position = u64::from(entry.position);
        if position >= len {
            return Ok(None);
        }
        let found = Walk::peek(log, len, position, self.base)?;
        let named = found.filter(|found| found.last == entry.offset);
        Ok(named.map(|found| (position, found.base)))
    }

    fn first_timestamp(&self, log: &BlockingFile, len: u64) -> io::Result<Option<i64>> {
        let first = Walk::peek(log, len, 0, self.base)?.map(|found| found.max_timestamp);
        Ok(first.filter(|timestamp| *timestamp >= 0))
    }

    /// Reads the file to its end, rebuilding what `segment` knows.
    fn scan(
        &self,
        log: &BlockingFile,
        walk: &mut Walk<'_>,
        segment: &mut Segment,
        suspect: bool,
        epochs: &mut Epochs,
        report: &mut RecoveryReport,
    ) -> io::Result<()> {
        // A closed segment that only lost its index is not doubted: headers suffice.
        let whole = suspect || self.next.is_none();
        loop {
            match walk.next(whole)? {
                Step::Batch(found) => self.note(segment, &found, epochs),
                Step::End => return Ok(()),
                Step::Misplaced(found) => {
                    if !self.put_right(log, walk, &found, report)? {
                        let due = walk.expected;
                        let reason = format!("offset {} where {due} is due", found.base);
                        if !self.judge(log, walk, reason, found.base < due, segment, report)? {
                            return Ok(());
                        }
                    }
                }
                Step::Bad(reason) => {
                    if !self.judge(log, walk, reason, true, segment, report)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn note(&self, segment: &mut Segment, found: &FoundBatch, epochs: &mut Epochs) {
        let facts = BatchFacts {
            last: found.last,
            size: found.size,
            max_timestamp: found.max_timestamp,
        };
        if segment.size != found.position {
            // Behind damage: readers must get here without walking through it.
            segment.size = found.position;
            segment.index_batch(found.last);
        }
        segment.note(facts, self.config.index_interval_bytes);
        epochs.begin(found.leader_epoch, found.base);
    }

    /// Deals with a whole batch that says another base offset than the one due. Where the batch after it begins right
    /// behind what it would be, or there is none and a single bit differs, the offset is written again; where that one goes
    /// on from what it says, offsets are missing. False if neither fits: then it is no valid batch. The walk looks at the
    /// place again.
    fn put_right(
        &self,
        log: &BlockingFile,
        walk: &mut Walk<'_>,
        found: &FoundBatch,
        report: &mut RecoveryReport,
    ) -> io::Result<bool> {
        let due = walk.expected;
        let mut ahead = Walk::new(log, walk.len, found.position + found.size, Offset::ZERO);
        let after = match ahead.next(true)? {
            Step::Batch(next) => Some(next.base),
            _ => None,
        };
        let fits = match after {
            Some(after) => after == due + (found.last.0 - found.base.0 + 1),
            // An old batch that stands here again must not get new offsets.
            None => (found.base.0 ^ due.0).count_ones() == 1,
        };
        if fits {
            log.write_all_at(&due.0.to_be_bytes(), found.position)?;
            log.sync_data()?;
            walk.forget();
            report.warnings.push(format!(
                "the batch at byte {} of segment {} said offset {}, and its neighbours that it is {due}: put right",
                found.position, self.base, found.base
            ));
            return Ok(true);
        }
        let missing = found.base > due && after == Some(found.last + 1);
        if missing {
            report.damage.push(Damage {
                from: due,
                to: found.base,
                segment: self.base,
                position: found.position,
                reason: format!("offsets {due} to {} are missing", found.base.0 - 1),
            });
            walk.expected = found.base;
        }
        Ok(missing)
    }

    /// Deals with a place that holds no valid batch: cuts it away if it is a torn write, as far as it `may_be_torn`, else
    /// notes the damage. True if there is more to read behind it.
    fn judge(
        &self,
        log: &BlockingFile,
        walk: &mut Walk<'_>,
        reason: String,
        may_be_torn: bool,
        segment: &mut Segment,
        report: &mut RecoveryReport,
    ) -> io::Result<bool> {
        let (position, from, len) = (walk.position, walk.expected, walk.len);
        let resumed = walk.resynchronize()?;
        let promised = !may_be_torn || self.next.is_some() || from < self.recovery_point;
        let near = len - position <= ROUND_BYTES as u64 || self.config.flush == FlushPolicy::Async;
        let readable = walk.unreadable_to <= position;
        let torn = match &resumed {
            None => !promised && readable,
            Some(found) => !promised && readable && near && walk.has_zero_sector(position, found.position)?,
        };
        let reason = match readable {
            true => reason,
            false => format!("the disk cannot read it ({reason})"),
        };
        if torn {
            log.set_len(position)?;
            log.sync_data()?;
            (walk.position, walk.expected) = (position, from);
            report.cut_bytes += len - position;
            return Ok(false);
        }
        let to = match &resumed {
            Some(found) => found.base,
            None => self.next.unwrap_or(self.recovery_point.max(from)),
        };
        report.damage.push(Damage {
            from,
            to,
            segment: self.base,
            position,
            reason,
        });
        if resumed.is_none() {
            // Kept as it is: what is left of it may still be worth something to somebody.
            segment.size = len;
            walk.expected = to;
        }
        Ok(resumed.is_some())
    }

    /// Puts what the scan found into the index files, behind the entries that were trusted.
    /// Makes the index files what `segment` knows; says whether they were not.
    fn put_index(&self, segment: &mut Segment) -> io::Result<bool> {
        fn put<E: Entry>(salvage: &Salvage<'_>, index: &mut Index<E>, is_empty: bool) -> io::Result<bool> {
            let (position, bytes) = index.unflushed();
            let path = salvage.path(E::ENDING);
            let as_it_should_be = match salvage.disk.len(&path) {
                Ok(len) => len == position,
                Err(error) => is_empty && error.kind() == io::ErrorKind::NotFound,
            };
            if bytes.is_empty() && as_it_should_be {
                return Ok(false);
            }
            let file = salvage.disk.open_blocking(
                &path,
                OpenOptions {
                    create: true,
                    write: true,
                },
            )?;
            file.set_len(position)?;
            file.write_all_at(&bytes, position)?;
            index.flushed(index.pending());
            Ok(true)
        }
        let is_empty = segment.size == 0;
        let offsets = put(self, &mut segment.offsets, is_empty)?;
        let times = put(self, &mut segment.times, is_empty)?;
        Ok(offsets || times)
    }
}
