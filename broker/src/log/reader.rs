//! Reads whole batches from an offset on: from the tail at once, or as a job from segment files. Owns: finding the place,
//! the limits, and refusing what is damaged. Leaves to others: which offset a reader may see up to (the caller passes
//! `upto`: the high watermark for consumers), and waiting for more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use protocol::Offset;
use protocol::record::batch::{Batch, HEADER};

use super::format::{self, LOG, OffsetEntry};
use super::gate::Inside;
use super::handles::{FileKey, HandleCache};
use super::index::{Floor, floor_in_file};
use super::segment::{Keys, Segment};
use super::tail::TailRead;
use super::{Log, LogOffsets};
use crate::rt::file::{File, is_unreadable};

/// How the bytes are to be had.
#[derive(Debug)]
pub enum ReadPlan {
    /// Here they are: whole batches, from memory.
    Cached(Bytes),
    /// They are in a file.
    Cold(ReadJob),
    /// Nothing to read there now: the offset is at or above `upto`, or the first batch is larger than asked for.
    Empty,
}

/// Why a range cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `OFFSET_OUT_OF_RANGE`.
    #[error("offset {asked} is not between {} and {}", .offsets.log_start, .offsets.log_end)]
    OutOfRange { asked: Offset, offsets: LogOffsets },
    /// `KAFKA_STORAGE_ERROR` / `CORRUPT_MESSAGE`: the disk does not hold what was written. Nothing is cut; other ranges
    /// can be read.
    #[error("the batch at offset {at} is damaged: {reason}")]
    Corrupt { at: Offset, reason: String },
    /// The segment went (retention, or the topic was deleted) between plan and read. Plan again.
    #[error("the segment is gone")]
    Vanished,
    #[error("read: {0}")]
    Io(io::Error),
}

impl Log {
    /// Plans a read of whole batches from the one that holds `from`, all below `upto`, at most `max_bytes` together; with
    /// `first_always` the first batch comes however large it is (KIP-74), so that a reader is never stuck.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
        first_always: bool,
    ) -> Result<ReadPlan, ReadError> {
        let offsets = self.offsets.get();
        if from < offsets.log_start || from > offsets.log_end {
            return Err(ReadError::OutOfRange { asked: from, offsets });
        }
        let upto = upto.min(offsets.log_end);
        if from >= upto {
            return Ok(ReadPlan::Empty);
        }
        if let Some(damage) = self.damage.iter().find(|damage| damage.contains(from)) {
            return Err(ReadError::Corrupt {
                at: from,
                reason: damage.reason.clone(),
            });
        }
        match self.tail.borrow_mut().read(from, max_bytes, upto, first_always) {
            TailRead::Found(bytes) => return Ok(ReadPlan::Cached(bytes)),
            TailRead::Nothing => return Ok(ReadPlan::Empty),
            TailRead::NotHere => {}
        }
        let places = self.places(from, |segment| self.place_of(segment, from));
        let files = self.files();
        Ok(ReadPlan::Cold(ReadJob {
            from,
            max_bytes,
            all_bytes: max_bytes,
            upto,
            first_always,
            gaps_allowed: self.config.compacted,
            places,
            files,
            hints: self.hints.clone(),
        }))
    }

    /// The segments a job over records from `from` on has to look at: the one that may hold it, and a few after it in case
    /// that one ends with a gap.
    pub(super) fn places(&self, from: Offset, start: impl Fn(&Segment) -> Start) -> Vec<Place> {
        let at = self
            .segments
            .partition_point(|segment| segment.base <= from)
            .saturating_sub(1);
        let segments = self
            .segments
            .range(at..)
            .filter(|segment| segment.written > 0)
            .take(8);
        segments
            .map(|segment| Place {
                base: segment.base,
                keys: segment.keys,
                limit: segment.written,
                start: start(segment),
            })
            .collect()
    }

    fn place_of(&self, segment: &Segment, from: Offset) -> Start {
        if from <= segment.base {
            return Start::At(0);
        }
        if let Some(position) = self.hints.borrow().get(segment.keys.log, from) {
            return Start::At(position);
        }
        Start::from_floor(segment.offsets.floor(from.0))
    }

    pub(super) fn files(&self) -> Files {
        Files {
            dir: self.dir.clone(),
            handles: self.handles.clone(),
            _inside: self.gate.enter(),
        }
    }
}

/// Where in a file to begin looking.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    At(u64),
    /// To be searched among the first so many entries of the offset index.
    Search(u32),
}

impl Start {
    pub(super) fn from_floor(floor: Floor<OffsetEntry>) -> Start {
        match floor {
            Floor::Found(entry) => Start::At(u64::from(entry.position)),
            Floor::InFile(entries) => Start::Search(entries),
            Floor::None => Start::At(0),
        }
    }
}

/// A segment as a job sees it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) base: Offset,
    pub(super) keys: Keys,
    /// Bytes of the file that were written when the job was planned.
    pub(super) limit: u64,
    pub(super) start: Start,
}

/// What a job opens files with.
pub(super) struct Files {
    pub(super) dir: Rc<Path>,
    pub(super) handles: Rc<HandleCache>,
    pub(super) _inside: Inside,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dir.fmt(out)
    }
}

impl Files {
    pub(super) fn path(&self, base: Offset, ending: &str) -> PathBuf {
        self.dir.join(format::file_name(base, ending))
    }

    /// Byte of the segment's file from which on `target` is to be looked for.
    pub(super) async fn locate(&self, place: &Place, target: Offset) -> Result<u64, ReadError> {
        let entries = match place.start {
            Start::At(position) => return Ok(position),
            Start::Search(entries) => entries,
        };
        let path = self.path(place.base, format::INDEX);
        let file = self
            .handles
            .get(place.keys.offsets, &path, false)
            .await
            .map_err(|error| ReadError::of(target, error))?;
        match floor_in_file::<OffsetEntry>(&file, place.base, entries, target.0).await {
            Ok(entry) => Ok(entry.map_or(0, |entry| u64::from(entry.position))),
            // An index is a hint: without it the segment is read from its start, slowly and rightly.
            Err(error) => {
                tracing::warn!(index = %path.display(), %error, "cannot search the offset index");
                Ok(0)
            }
        }
    }
}

impl ReadError {
    /// Of an operation that was to find the batch at offset `at`.
    pub(super) fn of(at: Offset, error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::NotFound => ReadError::Vanished,
            _ if is_unreadable(&error) => ReadError::Corrupt {
                at,
                reason: format!("the disk cannot read it: {error}"),
            },
            _ => ReadError::Io(error),
        }
    }
}

/// Reads `len` bytes, or fewer where the disk cannot read all of them, but not fewer than `least`: what lies before a lost
/// sector is well.
pub(super) async fn read_well(file: &File, position: u64, len: usize, least: usize) -> io::Result<Bytes> {
    let mut len = len;
    loop {
        match file.read_at(position, len).await {
            Err(error) if is_unreadable(&error) && len > least => len = (len / 2).max(least),
            read => return read,
        }
    }
}

/// A read from files. Owns all it needs; the log may go on, or go away, meanwhile.
#[derive(Debug)]
#[must_use = "a job reads nothing until it runs"]
pub struct ReadJob {
    from: Offset,
    /// Largest first batch.
    max_bytes: usize,
    /// Largest sum of all of them.
    all_bytes: usize,
    upto: Offset,
    first_always: bool,
    gaps_allowed: bool,
    places: Vec<Place>,
    files: Files,
    hints: Rc<RefCell<Hints>>,
}

/// Bytes read beside those asked for: the way from an index entry to the batch.
const SLACK: usize = 8 * 1024;
/// No single read of a file is larger, unless one batch is.
const LARGEST_READ: usize = 8 << 20;

impl ReadJob {
    /// Bytes it holds at most, unless its first batch is larger.
    pub fn largest_read(&self) -> usize {
        let in_files = self.places.iter().map(|place| place.limit).max().unwrap_or(0);
        self.want().min(usize::try_from(in_files).unwrap_or(usize::MAX))
    }

    /// The same read, for its first batch and those that fit into `bytes` with it.
    pub fn up_to(self, bytes: usize) -> ReadJob {
        ReadJob {
            all_bytes: self.all_bytes.min(bytes),
            ..self
        }
    }

    fn want(&self) -> usize {
        self.all_bytes.clamp(HEADER, LARGEST_READ) + SLACK
    }

    /// Reads. Whole, CRC-checked batches; none if the first one is larger than asked for or not below `upto`.
    pub async fn run(self) -> Result<Bytes, ReadError> {
        for place in &self.places {
            if !self.gaps_allowed && place.base > self.from {
                return Err(self.corrupt(format!("offsets below {} are missing", place.base)));
            }
            if let Some(bytes) = self.read_segment(place).await? {
                return Ok(bytes);
            }
        }
        match self.gaps_allowed {
            true => Ok(Bytes::new()),
            false => Err(self.corrupt("the file ends before it".to_owned())),
        }
    }

    /// `None` when the segment ends before `from`.
    async fn read_segment(&self, place: &Place) -> Result<Option<Bytes>, ReadError> {
        let mut position = self.files.locate(place, self.from).await?;
        let path = self.files.path(place.base, LOG);
        let file = self
            .files
            .handles
            .get(place.keys.log, &path, false)
            .await
            .map_err(|error| ReadError::of(self.from, error))?;
        let (mut want, mut least) = (self.want(), HEADER);
        while position < place.limit {
            let len = (want as u64).min(place.limit - position) as usize;
            let read = read_well(&file, position, len, least.min(len)).await;
            let bytes = read.map_err(|error| ReadError::of(self.from, error))?;
            match self.scan(&bytes, place.limit - position)? {
                Scan::Found { start, end } => {
                    self.hints
                        .borrow_mut()
                        .put(place.keys.log, &bytes[start..end], position + end as u64);
                    return Ok(Some(bytes.slice(start..end)));
                }
                Scan::Nothing => return Ok(Some(Bytes::new())),
                Scan::Further { skip, whole } => {
                    position += skip;
                    want = whole.unwrap_or(want);
                    least = whole.unwrap_or(HEADER);
                }
            }
        }
        Ok(None)
    }

    /// Looks through `bytes`, of which the file goes on for `left` from their start.
    fn scan(&self, bytes: &Bytes, left: u64) -> Result<Scan, ReadError> {
        let mut start = None;
        let mut at: usize = 0;
        // The CRC leaves the base offset out: where none may be missing, each batch must go on where the last one ended.
        let mut due = self.from;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let taken = start.map(|start| at - start).unwrap_or(0);
            let header = match Batch::header_only(rest) {
                Ok(header) if header.size() as u64 <= left - at as u64 => header,
                // Fewer bytes than a header: the end of what was read, or of what is readable.
                _ if rest.len() < HEADER && taken > 0 => break,
                _ if rest.len() < HEADER && at > 0 => {
                    return Ok(Scan::Further {
                        skip: at as u64,
                        whole: None,
                    });
                }
                Err(_) | Ok(_) if taken > 0 => break,
                Err(error) => return Err(self.corrupt(error.to_string())),
                Ok(header) => return Err(self.corrupt(format!("a batch of {} bytes", header.size()))),
            };
            let size = header.size();
            if header.last_offset() < self.from {
                at += size;
                if at >= bytes.len() {
                    return Ok(Scan::Further {
                        skip: at as u64,
                        whole: None,
                    });
                }
                continue;
            }
            let misplaced = match taken {
                0 => header.base_offset() > due,
                _ => header.base_offset() != due,
            };
            if misplaced && !self.gaps_allowed {
                if taken > 0 {
                    break;
                }
                return Err(self.corrupt(format!("offset {} where {due} is due", header.base_offset())));
            }
            let fits = match taken {
                0 => size <= self.max_bytes || self.first_always,
                _ => taken + size <= self.all_bytes,
            };
            if header.last_offset() >= self.upto || !fits {
                break;
            }
            if rest.len() < size {
                if taken > 0 {
                    break;
                }
                return Ok(Scan::Further {
                    skip: at as u64,
                    whole: Some(size),
                });
            }
            if let Err(error) = Batch::at_start(rest).and_then(|batch| batch.check_crc()) {
                if taken > 0 {
                    break;
                }
                return Err(self.corrupt(error.to_string()));
            }
            start.get_or_insert(at);
            at += size;
            due = header.next_offset();
        }
        Ok(start.map_or(Scan::Nothing, |start| Scan::Found { start, end: at }))
    }

    fn corrupt(&self, reason: String) -> ReadError {
        ReadError::Corrupt {
            at: self.from,
            reason,
        }
    }
}

enum Scan {
    /// The batches in this range of the bytes.
    Found { start: usize, end: usize },
    /// The batch is there and may not be returned.
    Nothing,
    /// Nothing yet: go on `skip` bytes further, reading `whole` bytes if a batch needs so many.
    Further { skip: u64, whole: Option<usize> },
}

/// Where the last few sequential readers of a log stopped: their next read needs no index.
#[derive(Debug, Default)]
pub(super) struct Hints(VecDeque<(FileKey, Offset, u64)>);

const HINTS: usize = 8;

impl Hints {
    fn get(&self, file: FileKey, next: Offset) -> Option<u64> {
        self.0
            .iter()
            .find(|hint| hint.0 == file && hint.1 == next)
            .map(|hint| hint.2)
    }

    /// A reader got `batches`, which end at `position` of the file.
    fn put(&mut self, file: FileKey, batches: &[u8], position: u64) {
        let last = protocol::record::batch::batches(batches)
            .filter_map(Result::ok)
            .last();
        if let Some((_, batch)) = last {
            if self.0.len() == HINTS {
                self.0.pop_front();
            }
            self.0.push_back((file, batch.next_offset(), position));
        }
    }
}
