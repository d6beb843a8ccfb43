//! One log's part of a durability round: what was appended since the last one is written with one write per file and then
//! synced. Owns: that order, making new segment files, and taking index entries along. Leaves to others: when rounds
//! run, and running those of many logs at once (`shard/sync`).
//!
//! Order, and the failure each step prevents: write, *then* sync (a sync covers only writes that returned); the file a
//! roll closed *before* the one it opened (a crash leaves a torn tail only in the last file); a new file's name *before*
//! the bytes in it are promised (a crash would lose the file); index entries *after* the bytes they point to.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use protocol::Offset;

use super::format::{self, LOG};
use super::gate::Inside;
use super::handles::HandleCache;
use super::index::{Entry, FLUSH_AFTER, Index};
use super::segment::{Keys, Segment};
use super::tail::Chunk;
use super::{FlushPolicy, Log, LogOffsets};
use crate::rt::file::{Disk, OpenOptions};

/// How a round ended for the log, if not well.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// Nothing is lost and nothing was promised: what did not fit is in memory, appends are refused, and the next round
    /// tries again. The caller waits a little before that.
    #[error("no room to write: {0}")]
    DiskFull(io::Error),
    /// A write or sync failed: the log is poisoned. The caller takes the whole log directory offline.
    #[error("write or sync failed: {0}")]
    Failed(io::Error),
}

/// What a round has to do for one log. Owns all it needs: the log may be used, and even deleted, while it runs (the
/// directory keeps its name until the job is gone).
#[must_use = "a round that does not run leaves its log busy"]
pub struct WriteJob {
    parts: Vec<Part>,
    chunks: Vec<Chunk>,
    dir: Rc<Path>,
    handles: Rc<HandleCache>,
    _inside: Inside,
}

/// The share of one segment.
struct Part {
    segment: Offset,
    keys: Keys,
    /// Make the file first, with this producer snapshot beside it.
    create: Option<Option<Vec<u8>>>,
    position: u64,
    slices: Vec<Bytes>,
    /// Offset after the slices.
    end: Option<Offset>,
    sync: bool,
    index: Option<IndexFlush>,
}

/// Index entries for the files of one segment.
pub(super) struct IndexFlush {
    offsets: (u64, Vec<u8>, usize),
    times: (u64, Vec<u8>, usize),
    /// No more entries will follow.
    last: bool,
}

/// What a round did. Goes back to its log through [`Log::finish_round`].
pub struct WriteDone {
    progress: Vec<Progress>,
    chunks: Vec<Chunk>,
    outcome: Result<(), RoundError>,
}

struct Progress {
    segment: Offset,
    created: bool,
    written_to: u64,
    synced: bool,
    end: Option<Offset>,
    index: Option<(usize, usize, bool)>,
}

impl Log {
    /// Whether a round has something to do.
    pub fn is_dirty(&self) -> bool {
        let offsets = self.offsets.get();
        let owed = match self.config.flush {
            FlushPolicy::Sync => offsets.synced,
            FlushPolicy::Async => offsets.written,
        };
        owed < offsets.log_end || self.first_unfinished() + 1 < self.segments.len()
    }

    /// Takes out what is to be written and synced now: at most about a MiB (the rest waits for the next round, which may
    /// start at once). `None` when there is nothing, while another round of this log runs, or after a failure.
    pub fn begin_round(&mut self) -> Option<WriteJob> {
        if self.busy || self.failed.is_some() || !self.is_dirty() {
            return None;
        }
        let written = self.offsets.get().written;
        let chunks = {
            let mut tail = self.tail.borrow_mut();
            tail.seal();
            tail.for_round(written)
        };
        let first = self.first_unfinished();
        let mut parts: Vec<Part> = Vec::new();
        let last = self.segments.len() - 1;
        // Segments after the last chunk wait: rounds go strictly in order.
        let reached = chunks.last().map(|chunk| chunk.segment);
        for (at, segment) in self.segments.iter_mut().enumerate().skip(first) {
            if reached.is_some_and(|reached| segment.base > reached) {
                break;
            }
            let mine: Vec<&Chunk> = chunks
                .iter()
                .filter(|chunk| chunk.segment == segment.base)
                .collect();
            let bytes: u64 = mine.iter().map(|chunk| chunk.bytes.len() as u64).sum();
            let complete = at < last && segment.written + bytes == segment.size;
            let pending = segment.offsets.pending() >= FLUSH_AFTER || segment.times.pending() >= FLUSH_AFTER;
            segment.indexes_synced &= !(complete || pending);
            parts.push(Part {
                segment: segment.base,
                keys: segment.keys,
                create: (!segment.created).then(|| segment.snapshot.clone()),
                position: segment.written,
                slices: mine.iter().map(|chunk| chunk.bytes.clone()).collect(),
                end: mine.last().map(|chunk| chunk.end()),
                sync: segment.synced < segment.written + bytes
                    && (complete || self.config.flush == FlushPolicy::Sync),
                index: (complete || pending).then(|| IndexFlush::of(segment, complete)),
            });
        }
        self.busy = true;
        Some(WriteJob {
            parts,
            chunks,
            dir: self.dir.clone(),
            handles: self.handles.clone(),
            _inside: self.gate.enter(),
        })
    }

    /// Takes note of what a round did: the only place where `synced` moves.
    pub fn finish_round(&mut self, done: WriteDone) -> Result<LogOffsets, RoundError> {
        self.busy = false;
        let mut end = None;
        for progress in &done.progress {
            let found = self
                .segments
                .iter_mut()
                .rev()
                .find(|segment| segment.base == progress.segment);
            let Some(segment) = found else { continue };
            segment.created |= progress.created;
            if progress.created {
                segment.snapshot = None;
            }
            segment.written = segment.written.max(progress.written_to);
            if progress.synced {
                segment.synced = segment.synced.max(progress.written_to);
            }
            if let Some((offsets, times, last)) = progress.index {
                segment.offsets.flushed(offsets);
                segment.times.flushed(times);
                segment.finished |= last;
            }
            if let Some(reached) = progress.end {
                self.offsets.wrote(reached, progress.synced);
                end = Some(reached);
            }
        }
        if let Some(end) = end {
            let written: Vec<Chunk> = done
                .chunks
                .into_iter()
                .filter(|chunk| chunk.end() <= end)
                .collect();
            self.tail.borrow_mut().written(end);
            self.budget.wrote(&self.tail, &written);
        }
        self.settle_sync();
        match done.outcome {
            Ok(()) => {
                self.disk_full = false;
                Ok(self.offsets.get())
            }
            Err(RoundError::DiskFull(error)) => {
                self.disk_full = true;
                Err(RoundError::DiskFull(error))
            }
            Err(RoundError::Failed(error)) => {
                self.fail(&error);
                Err(RoundError::Failed(error))
            }
        }
    }

    /// Poisons the log: also for the caller, when its directory has failed elsewhere.
    pub fn fail(&mut self, error: &io::Error) {
        self.failed.get_or_insert_with(|| Arc::from(error.to_string()));
    }

    /// Moves `synced` up to what the segments' syncs cover (under `async` they come later than the writes).
    pub(super) fn settle_sync(&mut self) {
        let offsets = self.offsets.get();
        let synced = match self.segments.iter().find(|segment| segment.synced < segment.size) {
            // All below the first segment with unsynced bytes; within it only rounds know the offset.
            Some(segment) => segment.base.max(offsets.synced),
            None => offsets.log_end,
        };
        if synced > offsets.synced {
            self.offsets.wrote(synced.min(offsets.written), true);
        }
    }

    /// Index of the first segment that a round may still have to touch.
    fn first_unfinished(&self) -> usize {
        let open = self
            .segments
            .iter()
            .rev()
            .skip(1)
            .take_while(|segment| !segment.finished)
            .count();
        self.segments.len() - 1 - open
    }
}

impl WriteJob {
    /// Tests: per file its position, the bytes of its one write, and whether a sync follows.
    #[cfg(test)]
    pub(super) fn plan(&self) -> Vec<(u64, usize, bool)> {
        let bytes = |part: &Part| part.slices.iter().map(Bytes::len).sum();
        self.parts
            .iter()
            .map(|part| (part.position, bytes(part), part.sync))
            .collect()
    }

    /// Writes, syncs, and says how far it came. Never returns early: what it could not finish is in the answer.
    pub async fn run(self) -> WriteDone {
        let mut progress = Vec::with_capacity(self.parts.len());
        let mut outcome = Ok(());
        for part in &self.parts {
            let mut step = Progress {
                segment: part.segment,
                created: false,
                written_to: part.position,
                synced: false,
                end: None,
                index: None,
            };
            let result = self.run_part(part, &mut step).await;
            progress.push(step);
            if result.is_err() {
                outcome = result;
                break;
            }
        }
        WriteDone {
            progress,
            chunks: self.chunks,
            outcome,
        }
    }

    async fn run_part(&self, part: &Part, step: &mut Progress) -> Result<(), RoundError> {
        let path = self.dir.join(format::file_name(part.segment, LOG));
        if let Some(snapshot) = &part.create {
            let disk = self.handles.disk().clone();
            let (path, snapshot) = (path.clone(), snapshot.clone());
            crate::rt::blocking(move || make_files(&disk, &path, snapshot))
                .await
                .map_err(RoundError::from_write)?;
            step.created = true;
        }
        let bytes: u64 = part.slices.iter().map(|slice| slice.len() as u64).sum();
        if bytes > 0 || part.sync {
            let file = self
                .handles
                .get(part.keys.log, &path, false)
                .await
                .map_err(RoundError::Failed)?;
            if bytes > 0 {
                file.write_slices_at(&part.slices, part.position)
                    .await
                    .map_err(RoundError::from_write)?;
            }
            if part.sync {
                file.sync_data().await.map_err(RoundError::Failed)?;
            }
        }
        step.written_to = part.position + bytes;
        step.synced = part.sync;
        step.end = part.end;
        if let Some(index) = &part.index {
            index
                .write(&self.handles, &self.dir, part.segment, part.keys)
                .await
                .map_err(RoundError::from_write)?;
            step.index = Some((index.offsets.2, index.times.2, index.last));
        }
        Ok(())
    }
}

impl RoundError {
    /// A write that found no room changed nothing that was promised; any other failure is final. (A *sync* that finds no
    /// room is final too: the kernel has dropped pages it could not place.)
    pub(super) fn from_write(error: io::Error) -> RoundError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RoundError::DiskFull(error),
            _ => RoundError::Failed(error),
        }
    }
}

impl IndexFlush {
    /// Entries of `segment` that its index files lack.
    pub(super) fn of(segment: &Segment, last: bool) -> IndexFlush {
        fn take<E: Entry>(index: &Index<E>) -> (u64, Vec<u8>, usize) {
            let (position, bytes) = index.unflushed();
            (position, bytes, index.pending())
        }
        IndexFlush {
            offsets: take(&segment.offsets),
            times: take(&segment.times),
            last,
        }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.offsets.2, self.times.2)
    }

    /// Writes them; a file is made when it is missing, even to stay empty, once no more will come.
    pub(super) async fn write(
        &self,
        handles: &Rc<HandleCache>,
        dir: &Path,
        segment: Offset,
        keys: Keys,
    ) -> io::Result<()> {
        for (key, ending, (position, bytes, _)) in [
            (keys.offsets, format::INDEX, &self.offsets),
            (keys.times, format::TIME_INDEX, &self.times),
        ] {
            if bytes.is_empty() && !self.last {
                continue;
            }
            let file = handles
                .get(key, &dir.join(format::file_name(segment, ending)), true)
                .await?;
            if !bytes.is_empty() {
                file.write_at(bytes.clone(), *position).await?;
            }
        }
        Ok(())
    }
}

/// Makes a segment's file and the producer snapshot at its base, and their names durable.
fn make_files(disk: &Disk, path: &Path, snapshot: Option<Vec<u8>>) -> io::Result<()> {
    disk.open_blocking(
        path,
        OpenOptions {
            create: true,
            write: true,
        },
    )?;
    if let Some(bytes) = snapshot {
        let path: PathBuf = path.with_extension(format::SNAPSHOT);
        let file = disk.open_blocking(
            &path,
            OpenOptions {
                create: true,
                write: true,
            },
        )?;
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
    }
    disk.sync_dir(path.parent().expect("a segment file is in a directory"))
}
