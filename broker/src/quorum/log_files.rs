//! The metadata log on disk: segments are recovered, appended to, cut, and removed. Blocking calls only; every one of
//! them returns after its effect is synced.
//!
//! Owns the files; leaves the bytes to `log_format.rs`, who calls when to `log_store.rs`. After a failed write or sync
//! nothing is known about the file any more, so the log takes no further writes until the process starts again.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log_format::{self as format, FormatError, Found, HEADER_LEN, SegmentHeader};
use super::types::{Entry, EntryId, SavedVote};
use crate::rt::file::{BlockingFile, Disk, OpenOptions};

/// A segment is closed when it is larger than this: what is purged is removed in steps of this size.
const SEGMENT_BYTES: u64 = 1 << 20;
/// A log smaller than this is not rolled for the sake of purging it.
const PURGE_BYTES: u64 = 64 << 10;
const SEGMENT_ENDING: &str = ".mlog";
const VOTE: &str = "vote";

/// Why the metadata log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("metadata log {path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Bytes that were synced once are not what they were. Cutting them off could lose what was acknowledged.
    #[error(
        "metadata log {path} is damaged at byte {at}: {what}. Nothing was changed. Restore the file from a backup; \
         entries from there on may have been acknowledged, so they are not cut off silently"
    )]
    Damaged { path: PathBuf, at: u64, what: String },
    #[error("metadata log {path}: {what}")]
    Inconsistent { path: PathBuf, what: String },
}

/// Turns an IO error into one that names the file.
pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> LogError + '_ {
    move |source| LogError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// What the directory held.
pub(super) struct Recovered {
    pub(super) files: LogFiles,
    pub(super) entries: Vec<Entry>,
    /// The entry before the first one: it and all before it are in a snapshot.
    pub(super) previous: Option<EntryId>,
    /// The last entry known to be committed; there may be later ones.
    pub(super) committed: Option<u64>,
    pub(super) vote: Option<SavedVote>,
    /// What recovery did, for the log.
    pub(super) notes: Vec<String>,
}

/// Where an entry ends: the promise that a metadata answer makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: Arc<Path>,
    pub(super) end: u64,
}

struct Segment {
    path: Arc<Path>,
    header: SegmentHeader,
    /// Ends of its entries, in order.
    ends: VecDeque<(EntryId, u64)>,
}

impl Segment {
    fn len(&self) -> u64 {
        self.ends.back().map_or(HEADER_LEN as u64, |(_, end)| *end)
    }

    fn last(&self) -> Option<EntryId> {
        self.ends.back().map(|(id, _)| *id).or(self.header.previous)
    }
}

/// The open log. Used by one blocking call at a time.
pub(super) struct LogFiles {
    disk: Disk,
    dir: PathBuf,
    /// Never empty; the last one is written to.
    segments: VecDeque<Segment>,
    active: BlockingFile,
    /// The active segment was just created: its name and header become durable with its first entry.
    name_unsynced: bool,
    vote: VoteFile,
    /// Most of the active segment is in a snapshot: the next entry begins a new one, so that this one can go.
    roll_next: bool,
    failed: Option<String>,
}

impl LogFiles {
    /// Opens the log in `dir`, creating it where there is none, cutting what a crash tore, and refusing damage.
    pub(super) fn recover(disk: &Disk, dir: &Path) -> Result<Recovered, LogError> {
        disk.create_dir_all(dir).map_err(io_at(dir))?;
        let mut notes = Vec::new();
        let names = disk.read_dir(dir).map_err(io_at(dir))?;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            let path = dir.join(name);
            disk.remove_file(&path).map_err(io_at(&path))?;
        }
        let vote = VoteFile::open(disk, dir)?;
        let mut scan = Scan::default();
        let segment_names: Vec<&String> = names
            .iter()
            .filter(|name| name.ends_with(SEGMENT_ENDING))
            .collect();
        for (index, name) in segment_names.iter().enumerate() {
            let last = index + 1 == segment_names.len();
            scan.segment(disk, &dir.join(name.as_str()), last, &mut notes)?;
        }
        for path in &scan.superseded {
            disk.remove_file(path).map_err(io_at(path))?;
        }
        let fresh = scan.segments.is_empty();
        if fresh {
            let header = SegmentHeader {
                first_index: 0,
                previous: None,
                log_begins_here: false,
            };
            let (segment, _) = start_segment(disk, dir, header)?;
            scan.segments.push_back(segment);
        }
        let active_path = scan
            .segments
            .back()
            .expect("there is at least one segment")
            .path
            .clone();
        let active = open(disk, &active_path)?;
        if !fresh {
            // What a crash left in the page cache is served from now on, so it must be on disk from now on.
            active.sync_all().map_err(io_at(&active_path))?;
            disk.sync_dir(dir).map_err(io_at(dir))?;
        }
        Ok(Recovered {
            previous: scan.segments[0].header.previous,
            entries: scan.entries,
            committed: scan.committed,
            vote: vote.latest,
            notes,
            files: LogFiles {
                disk: disk.clone(),
                dir: dir.to_path_buf(),
                segments: scan.segments,
                active,
                name_unsynced: fresh,
                vote,
                roll_next: false,
                failed: None,
            },
        })
    }

    /// Writes frames of consecutive entries (their ends relative to the first byte) and syncs them: one write and one
    /// sync, however many entries.
    pub(super) fn append(&mut self, frames: &[u8], ends: &[(EntryId, u64)]) -> Result<(), LogError> {
        self.guarded(|log| {
            let Some((first, _)) = ends.first() else {
                return Ok(());
            };
            if log.roll_next || log.active_segment().len() >= SEGMENT_BYTES {
                log.roll(SegmentHeader {
                    first_index: first.index,
                    previous: log.active_segment().last(),
                    log_begins_here: false,
                })?;
            }
            let segment = log.segments.back_mut().expect("there is at least one segment");
            let at = segment.len();
            let path = segment.path.clone();
            log.active.write_all_at(frames, at).map_err(io_at(&path))?;
            log.active.sync_data().map_err(io_at(&path))?;
            if log.name_unsynced {
                log.disk.sync_dir(&log.dir).map_err(io_at(&log.dir))?;
                log.name_unsynced = false;
            }
            segment.ends.extend(ends.iter().map(|(id, end)| (*id, at + end)));
            Ok(())
        })
    }

    /// Removes all entries after `keep` (all entries, for none), newest first, so that a crash on the way leaves no hole.
    pub(super) fn truncate_after(&mut self, keep: Option<EntryId>) -> Result<(), LogError> {
        self.guarded(|log| {
            let stays = |id: EntryId| keep.is_some_and(|keep| id.index <= keep.index);
            while log.segments.len() > 1
                && !stays(EntryId {
                    term: 0,
                    index: log.active_segment().header.first_index,
                })
            {
                let segment = log.segments.pop_back().expect("there is more than one");
                log.disk
                    .remove_file(&segment.path)
                    .map_err(io_at(&segment.path))?;
                log.disk.sync_dir(&log.dir).map_err(io_at(&log.dir))?;
            }
            let segment = log.segments.back_mut().expect("there is at least one segment");
            while segment.ends.back().is_some_and(|(id, _)| !stays(*id)) {
                segment.ends.pop_back();
            }
            let (path, len) = (segment.path.clone(), segment.len());
            log.active = open(&log.disk, &path)?;
            log.active.set_len(len).map_err(io_at(&path))?;
            log.active.sync_all().map_err(io_at(&path))
        })
    }

    /// Entries up to `upto` are in a snapshot: removes the segments that hold nothing else. Entries that share a segment
    /// with later ones stay until that segment goes.
    pub(super) fn purge(&mut self, upto: EntryId) -> Result<(), LogError> {
        self.guarded(|log| {
            let last = log.active_segment().last();
            let beyond = last.is_none_or(|last| last.index < upto.index);
            if beyond || last == Some(upto) && log.active_segment().len() > PURGE_BYTES {
                log.roll(SegmentHeader {
                    first_index: upto.index + 1,
                    previous: Some(upto),
                    log_begins_here: beyond,
                })?;
                // On disk before the older segments go.
                let path = log.active_path();
                log.active.sync_all().map_err(io_at(&path))?;
                log.disk.sync_dir(&log.dir).map_err(io_at(&log.dir))?;
                log.name_unsynced = false;
            }
            log.roll_next = log.active_segment().len() > PURGE_BYTES;
            let gone = |log: &LogFiles| {
                log.segments.len() > 1 && log.segments[0].last().is_none_or(|last| last <= upto)
            };
            while gone(log) {
                let segment = log.segments.pop_front().expect("there is more than one");
                log.disk
                    .remove_file(&segment.path)
                    .map_err(io_at(&segment.path))?;
            }
            log.disk.sync_dir(&log.dir).map_err(io_at(&log.dir))
        })
    }

    /// Replaces the vote, durably.
    pub(super) fn save_vote(&mut self, vote: &SavedVote) -> Result<(), LogError> {
        self.guarded(|log| log.vote.save(&log.disk, &log.dir, vote))
    }

    /// Where an entry ends on disk; none for one that is purged (it is in a snapshot) or unknown.
    pub(super) fn place(&self, index: u64) -> Option<Place> {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.header.first_index <= index)?;
        let offset = usize::try_from(index - segment.header.first_index).ok()?;
        let (_, end) = segment.ends.get(offset)?;
        Some(Place {
            path: segment.path.clone(),
            end: *end,
        })
    }

    /// The segment that is written to.
    pub(super) fn active_path(&self) -> Arc<Path> {
        self.active_segment().path.clone()
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    fn active_segment(&self) -> &Segment {
        self.segments.back().expect("there is at least one segment")
    }

    fn roll(&mut self, header: SegmentHeader) -> Result<(), LogError> {
        let (segment, file) = start_segment(&self.disk, &self.dir, header)?;
        self.segments.push_back(segment);
        self.active = file;
        self.name_unsynced = true;
        self.roll_next = false;
        Ok(())
    }

    /// Runs a change; after one that failed, refuses all further ones.
    fn guarded(
        &mut self,
        change: impl FnOnce(&mut LogFiles) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if let Some(what) = &self.failed {
            return Err(LogError::Inconsistent {
                path: self.dir.clone(),
                what: format!(
                    "an earlier write failed ({what}); it takes no writes until the broker starts again"
                ),
            });
        }
        let result = change(self);
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
        }
        result
    }
}

fn open(disk: &Disk, path: &Path) -> Result<BlockingFile, LogError> {
    let options = OpenOptions {
        create: false,
        write: true,
    };
    disk.open_blocking(path, options).map_err(io_at(path))
}

/// Creates a segment with its header. Neither it nor its name is durable yet.
fn start_segment(
    disk: &Disk,
    dir: &Path,
    header: SegmentHeader,
) -> Result<(Segment, BlockingFile), LogError> {
    let path: Arc<Path> = dir
        .join(format!("{:020}{SEGMENT_ENDING}", header.first_index))
        .into();
    let options = OpenOptions {
        create: true,
        write: true,
    };
    let file = disk.open_blocking(&*path, options).map_err(io_at(&path))?;
    file.set_len(0).map_err(io_at(&path))?;
    file.write_all_at(&header.encode(), 0).map_err(io_at(&path))?;
    let segment = Segment {
        path,
        header,
        ends: VecDeque::new(),
    };
    Ok((segment, file))
}

/// The vote file, open once there was a vote.
struct VoteFile {
    file: Option<BlockingFile>,
    latest: Option<SavedVote>,
    /// Of the latest save.
    sequence: u64,
}

impl VoteFile {
    fn open(disk: &Disk, dir: &Path) -> Result<VoteFile, LogError> {
        let path = dir.join(VOTE);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(VoteFile {
                    file: None,
                    latest: None,
                    sequence: 0,
                });
            }
            Err(error) => return Err(io_at(&path)(error)),
        };
        let found = format::vote(&bytes).map_err(|error| damaged(&path, 0, &error))?;
        let file = open(disk, &path)?;
        // It may have been read from the page cache of a process that was killed before its sync.
        file.sync_all().map_err(io_at(&path))?;
        Ok(VoteFile {
            file: Some(file),
            latest: found.map(|(vote, _)| vote),
            sequence: found.map_or(0, |(_, sequence)| sequence),
        })
    }

    fn save(&mut self, disk: &Disk, dir: &Path, vote: &SavedVote) -> Result<(), LogError> {
        let path = dir.join(VOTE);
        let created = self.file.is_none();
        if created {
            let options = OpenOptions {
                create: true,
                write: true,
            };
            self.file = Some(disk.open_blocking(&path, options).map_err(io_at(&path))?);
        }
        let file = self.file.as_ref().expect("opened above");
        let sequence = self.sequence + 1;
        let slot = format::VOTE_SLOTS[(sequence % 2) as usize];
        file.write_all_at(&format::vote_slot(vote, sequence), slot)
            .map_err(io_at(&path))?;
        file.sync_data().map_err(io_at(&path))?;
        if created {
            disk.sync_dir(dir).map_err(io_at(dir))?;
        }
        self.sequence = sequence;
        self.latest = Some(*vote);
        Ok(())
    }
}

fn damaged(path: &Path, at: usize, error: &FormatError) -> LogError {
    LogError::Damaged {
        path: path.to_path_buf(),
        at: at as u64,
        what: error.to_string(),
    }
}

/// Recovery's walk over the segments, oldest first.
#[derive(Default)]
struct Scan {
    segments: VecDeque<Segment>,
    entries: Vec<Entry>,
    committed: Option<u64>,
    /// Segments before one that says the log begins there.
    superseded: Vec<Arc<Path>>,
}

impl Scan {
    fn segment(
        &mut self,
        disk: &Disk,
        path: &Path,
        last: bool,
        notes: &mut Vec<String>,
    ) -> Result<(), LogError> {
        let file = disk.read(path).map_err(io_at(path))?;
        let Some(header) = self.header(disk, path, &file, last, notes)? else {
            return Ok(());
        };
        let mut segment = Segment {
            path: path.into(),
            header,
            ends: VecDeque::new(),
        };
        let mut at = HEADER_LEN;
        loop {
            match format::frame_at(&file, at) {
                Found::End => break,
                Found::Frame { body, next } => {
                    let (entry, committed) =
                        format::entry(body).map_err(|error| damaged(path, at, &error))?;
                    self.check_order(path, at, &segment, entry.id)?;
                    self.committed = self.committed.max(committed);
                    segment.ends.push_back((entry.id, next as u64));
                    self.entries.push(entry);
                    at = next;
                }
                Found::Torn if last => {
                    let next_index = segment.last().map_or(0, |id| id.index + 1);
                    refuse_if_committed(path, &file, at, next_index)?;
                    notes.push(format!(
                        "{}: cut {} bytes of a write that a crash interrupted",
                        path.display(),
                        file.len() - at
                    ));
                    let open = open(disk, path)?;
                    open.set_len(at as u64).map_err(io_at(path))?;
                    open.sync_all().map_err(io_at(path))?;
                    break;
                }
                Found::Torn => {
                    let what = FormatError::Damaged("a segment that is not the last one ends early");
                    return Err(damaged(path, at, &what));
                }
                Found::Damaged(what) => return Err(damaged(path, at, &FormatError::Damaged(what))),
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// The header, checked against the segment before; none for a last segment whose creation a crash interrupted.
    fn header(
        &mut self,
        disk: &Disk,
        path: &Path,
        file: &[u8],
        last: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<SegmentHeader>, LogError> {
        // The header becomes durable with the first entry: where it is missing, none was synced.
        let torn = file.len() < HEADER_LEN || file[..HEADER_LEN].iter().all(|&byte| byte == 0);
        if torn && last {
            notes.push(format!(
                "{}: removed a segment that a crash left without a header",
                path.display()
            ));
            disk.remove_file(path).map_err(io_at(path))?;
            return Ok(None);
        }
        let header = SegmentHeader::decode(file).map_err(|error| damaged(path, 0, &error))?;
        if header.log_begins_here {
            self.superseded
                .extend(self.segments.drain(..).map(|segment| segment.path));
            self.entries.clear();
        }
        if let Some(before) = self.segments.back()
            && before.last() != header.previous
        {
            return Err(LogError::Inconsistent {
                path: path.to_path_buf(),
                what: format!(
                    "it continues after entry {:?}, but the segment before it ends with {:?}: a segment is missing",
                    header.previous.map(|id| id.index),
                    before.last().map(|id| id.index)
                ),
            });
        }
        Ok(Some(header))
    }

    fn check_order(&self, path: &Path, at: usize, segment: &Segment, id: EntryId) -> Result<(), LogError> {
        let expected = segment
            .last()
            .map_or(segment.header.first_index, |last| last.index + 1);
        let term_ok = segment.last().is_none_or(|last| last.term <= id.term);
        if id.index == expected && term_ok {
            return Ok(());
        }
        let what = FormatError::Damaged("an entry is out of order");
        Err(damaged(path, at, &what))
    }
}

/// A hole at `at` may be a torn write of several frames at once, the later of which made it to disk. But a frame after it
/// that was written when entry `lost` was committed already says that `lost` was whole once.
fn refuse_if_committed(path: &Path, file: &[u8], at: usize, lost: u64) -> Result<(), LogError> {
    for start in at + 1..file.len() {
        if let Found::Frame { body, .. } = format::frame_at(file, start)
            && let Ok((entry, committed)) = format::entry(body)
            && entry.id.index > lost
            && committed.is_some_and(|committed| committed >= lost)
        {
            return Err(damaged(
                path,
                at,
                &FormatError::Damaged("entries before the last ones are gone"),
            ));
        }
    }
    Ok(())
}
