//! What a log does beside its rounds: checkpoints now and then, closing at shutdown, and truncation. Owns: what of a log
//! is put down so that the next start is short. Leaves to others: the files of the log directory (`checkpoint.rs`).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::Offset;

use super::checkpoint::{Checkpoint, LEADER_EPOCHS, encode_epochs};
use super::epochs::Epochs;
use super::format::{self, SNAPSHOT};
use super::gate::{Gate, Inside};
use super::handles::{FileKey, HandleCache};
use super::reader::Files;
use super::round::IndexFlush;
use super::segment::{Keys, Segment};
use super::tail::Tail;
use super::{Log, LogConfig, LogError, LogName, RecoverFrom, Recovered, recovery};
use crate::rt::file::{Disk, OpenOptions};

/// Another job of this log has to end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is busy")]
pub struct Busy;

/// Puts down what makes the next start short.
#[must_use = "nothing is put down until the job runs"]
pub struct CheckpointJob {
    files: Files,
    /// Segments with bytes that were written and not synced (`flush.policy = async`).
    syncs: Vec<(Offset, FileKey, u64)>,
    /// Offsets below it were written when the job was made.
    end: Offset,
    snapshot: Option<(Offset, Vec<u8>)>,
    stale_snapshots: Vec<Offset>,
    epochs: Option<String>,
    /// Segments whose index files are to be synced, and what these lack.
    indexes: Vec<(Offset, Keys, IndexFlush)>,
    /// The last one: everything is to be durable.
    closing: bool,
}

/// What a checkpoint did. Goes back through [`Log::finish_checkpoint`].
pub struct Checkpointed {
    syncs: Vec<(Offset, FileKey, u64)>,
    end: Offset,
    snapshot: Option<Offset>,
    /// By segment, how many entries went into each index.
    indexes: Vec<(Offset, (usize, usize))>,
    closing: bool,
}

impl Log {
    /// What goes into the directory's checkpoint files for this log.
    pub fn checkpoint_data(&self) -> Checkpoint {
        let offsets = self.offsets.get();
        let epochs = [self.epochs_owed, self.epochs_in_flight];
        let indexes = self.closed_segments().find(|segment| segment.owes_indexes());
        let owed = epochs
            .into_iter()
            .flatten()
            .chain(indexes.map(|segment| segment.base));
        Checkpoint {
            recovery_point: owed.fold(offsets.synced, Offset::min),
            high_watermark: offsets.high_watermark,
            log_start: offsets.log_start,
        }
    }

    /// All but the active one.
    fn closed_segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().take(self.segments.len() - 1)
    }

    /// A checkpoint: producer snapshot, leader epochs, the indexes of closed segments, and under `async` the sync that moves
    /// the recovery point. Rounds go on meanwhile. `None` when nothing happened since the last one.
    pub fn checkpoint(&mut self) -> Option<CheckpointJob> {
        let offsets = self.offsets.get();
        let changed = self.checkpointed < offsets.log_end
            || self.epochs_owed.is_some()
            || self
                .closed_segments()
                .any(|segment| segment.finished && segment.owes_indexes())
            || offsets.synced < offsets.written;
        let may = self.failed.is_none() && !self.truncating && !self.checkpointing;
        (changed && may).then(|| self.checkpoint_job())
    }

    /// The last checkpoint before a clean shutdown: also completes and syncs the indexes. Everything has to be synced
    /// (no round owed) when it is made. Only when every log's has succeeded may the clean-shutdown mark be written. What
    /// did not change since a clean start costs nothing: ten thousand partitions are closed in the time of those in use.
    pub fn close(&mut self) -> Result<CheckpointJob, Busy> {
        if self.busy || self.checkpointing || self.is_dirty() || self.failed.is_some() {
            return Err(Busy);
        }
        (self.busy, self.closing) = (true, true);
        let mut job = self.checkpoint_job();
        let active = self.active();
        active.index_newest();
        if active.owes_indexes() {
            job.indexes
                .push((active.base, active.keys, IndexFlush::of(active, true)));
        }
        job.closing = true;
        Ok(job)
    }

    fn checkpoint_job(&mut self) -> CheckpointJob {
        self.checkpointing = true;
        let offsets = self.offsets.get();
        // Of everything in memory, synced or not: should a crash cost the tail, the one before it serves.
        let snapshot = (self.checkpointed < offsets.log_end).then(|| {
            (
                offsets.log_end,
                format::encode_snapshot(&self.producers.snapshot()),
            )
        });
        let keep = self.loose_snapshots.len().saturating_sub(1);
        let stale_snapshots = if snapshot.is_some() {
            self.loose_snapshots.drain(..keep).collect()
        } else {
            vec![]
        };
        self.epochs_in_flight = self.epochs_owed.take();
        let epochs = self
            .epochs_in_flight
            .map(|_| encode_epochs(self.epochs.with_records(offsets.log_end)));
        let owing = self
            .closed_segments()
            .filter(|segment| segment.finished && segment.owes_indexes());
        // Their files were made by the round that finished them; retention may have taken them since.
        let indexes = owing.map(|segment| (segment.base, segment.keys, IndexFlush::of(segment, false)));
        CheckpointJob {
            indexes: indexes.collect(),
            files: self.files(),
            syncs: self
                .segments
                .iter()
                .filter(|segment| segment.synced < segment.written)
                .map(|segment| (segment.base, segment.keys.log, segment.written))
                .collect(),
            end: offsets.written,
            snapshot,
            stale_snapshots,
            epochs,
            closing: false,
        }
    }

    /// Takes note of a checkpoint; its outcome is [`Log::checkpoint_data`]. A failed one poisons the log, as a failed
    /// round does.
    pub fn finish_checkpoint(&mut self, done: io::Result<Checkpointed>) -> io::Result<Checkpoint> {
        self.checkpointing = false;
        let in_flight = self.epochs_in_flight.take();
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                if std::mem::take(&mut self.closing) {
                    self.busy = false;
                }
                // No room for a checkpoint: the one before still holds.
                if error.kind() != io::ErrorKind::StorageFull {
                    self.fail(&error);
                }
                in_flight.into_iter().for_each(|from| self.epochs_owed(from));
                return Err(error);
            }
        };
        for (base, _, written) in &done.syncs {
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == *base) {
                segment.synced = segment.synced.max(*written);
            }
        }
        if !done.syncs.is_empty() {
            self.offsets.wrote(done.end, true);
        }
        if let Some(offset) = done.snapshot {
            self.checkpointed = offset;
            if self.segments.iter().all(|segment| segment.base != offset) {
                self.loose_snapshots.push(offset);
            }
        }
        for (base, (offsets, times)) in done.indexes {
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == base) {
                segment.offsets.flushed(offsets);
                segment.times.flushed(times);
                segment.indexes_synced = true;
            }
        }
        if done.closing {
            (self.busy, self.closing) = (false, false);
        }
        Ok(self.checkpoint_data())
    }

    /// Plans to cut the log so that it ends at or before `to` (a follower that diverged, by leader epoch: KIP-101). The
    /// log must owe no round; appends are refused until [`Log::finish_truncation`].
    pub fn truncate_to(&mut self, to: Offset, now_ms: i64) -> Result<TruncateJob, Busy> {
        let offsets = self.offsets.get();
        let to = to.clamp(offsets.log_start, offsets.log_end);
        self.truncation(to, offsets.log_start, false, now_ms)
    }

    /// Plans to give up everything and to begin again, empty, at `at` (a follower whose leader no longer has what would
    /// come next). As [`Log::truncate_to`] otherwise.
    pub fn start_anew(&mut self, at: Offset, now_ms: i64) -> Result<TruncateJob, Busy> {
        self.truncation(at, at, true, now_ms)
    }

    fn truncation(
        &mut self,
        to: Offset,
        log_start: Offset,
        anew: bool,
        now_ms: i64,
    ) -> Result<TruncateJob, Busy> {
        if self.busy || self.checkpointing || self.is_dirty() || self.failed.is_some() {
            return Err(Busy);
        }
        self.busy = true;
        self.truncating = true;
        let offsets = self.offsets.get();
        let checkpoint = |recovery_point| Checkpoint {
            recovery_point,
            high_watermark: offsets.high_watermark.min(to),
            log_start,
        };
        // The cut ends on a batch boundary at or below `to`, in the segment that holds it.
        let floor = self.segments.iter().rev().map(|segment| segment.base);
        let floor = floor.filter(|base| !anew && *base <= to).max();
        let told = self.checkpoint_data().recovery_point;
        let before = checkpoint(floor.unwrap_or(Offset::ZERO).min(told));
        Ok(TruncateJob {
            _inside: self.gate.enter(),
            disk: self.handles.disk().clone(),
            dir: self.dir.to_path_buf(),
            name: self.name.clone(),
            config: self.config.clone(),
            bases: self.segments.iter().map(|segment| segment.base).collect(),
            epochs: if anew {
                Epochs::default()
            } else {
                self.epochs.clone()
            },
            renames: self.renames.clone(),
            to,
            anew,
            before,
            from: RecoverFrom {
                clean: true,
                checkpoint: Some(checkpoint(Offset::ZERO)),
                now_ms,
            },
        })
    }

    /// Takes over what truncation left. The high watermark may have moved back with the log end.
    pub fn finish_truncation(&mut self, truncated: Truncated) -> Result<(), LogError> {
        self.busy = false;
        self.truncating = false;
        let recovered = match truncated.0 {
            Ok(recovered) => recovered,
            Err(error) => {
                self.fail(&io::Error::other(error.to_string()));
                return Err(error);
            }
        };
        for segment in &self.segments {
            segment
                .keys
                .all()
                .into_iter()
                .for_each(|key| self.handles.forget(key));
        }
        let written = self.tail.borrow_mut().clear();
        self.budget.released(written);
        let mut tail = Tail::default();
        tail.written(recovered.offsets.get().written);
        self.tail.replace(tail);
        self.hints = Rc::default();
        let synced = self.segments.iter().filter(|segment| segment.indexes_synced);
        let synced: BTreeSet<Offset> = synced.map(|segment| segment.base).collect();
        self.segments = recovered.segments.into();
        for segment in &mut self.segments {
            segment.keys = Keys::assign(&self.handles);
            // They were looked at while the broker runs, as its rounds have written them.
            segment.indexes_synced &= synced.contains(&segment.base);
        }
        self.active().indexes_synced = false;
        self.offsets = recovered.offsets;
        self.producers = recovered.producers;
        self.epochs = recovered.epochs;
        self.checkpointed = recovered.checkpointed;
        self.loose_snapshots = recovered.loose_snapshots;
        let end = self.offsets.get().log_end;
        // The file may tell of what was cut away.
        self.epochs_owed(end);
        self.damage.retain(|damage| damage.from < end);
        Ok(())
    }
}

impl CheckpointJob {
    /// Syncs, then writes what depends on it.
    pub async fn run(self) -> io::Result<Checkpointed> {
        let files = &self.files;
        for (base, key, _) in &self.syncs {
            let path = files.path(*base, format::LOG);
            let file = files.handles.get(*key, &path, false).await?;
            // Final, also when the reason is a full disk: the kernel has dropped pages that it could not place.
            file.sync_data()
                .await
                .map_err(|error| io::Error::other(format!("sync {}: {error}", path.display())))?;
        }
        for (base, keys, flush) in &self.indexes {
            flush.write(&files.handles, &files.dir, *base, *keys).await?;
            sync_indexes(&files.handles, files, *base, *keys).await?;
        }
        let indexes = self
            .indexes
            .iter()
            .map(|(base, _, flush)| (*base, flush.counts()));
        let indexes: Vec<_> = indexes.collect();
        let named = !indexes.is_empty() || self.closing && self.snapshot.is_some();
        let mut snapshot = None;
        if named || self.snapshot.is_some() || self.epochs.is_some() || !self.stale_snapshots.is_empty() {
            let (disk, dir) = (files.handles.disk().clone(), files.dir.to_path_buf());
            let job = move || {
                put_down(
                    &disk,
                    &dir,
                    self.snapshot,
                    &self.stale_snapshots,
                    self.epochs,
                    named,
                )
            };
            snapshot = crate::rt::blocking(job).await?;
        }
        Ok(Checkpointed {
            syncs: self.syncs,
            end: self.end,
            snapshot,
            indexes,
            closing: self.closing,
        })
    }
}

async fn sync_indexes(handles: &Rc<HandleCache>, files: &Files, base: Offset, keys: Keys) -> io::Result<()> {
    for (key, ending) in [(keys.offsets, format::INDEX), (keys.times, format::TIME_INDEX)] {
        match handles.get(key, &files.path(base, ending), false).await {
            Ok(file) => file.sync_data().await?,
            // Retention took its segment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn put_down(
    disk: &Disk,
    dir: &Path,
    snapshot: Option<(Offset, Vec<u8>)>,
    stale: &[Offset],
    epochs: Option<String>,
    durable: bool,
) -> io::Result<Option<Offset>> {
    if let Some((offset, bytes)) = &snapshot {
        let path = dir.join(format::file_name(*offset, SNAPSHOT));
        let file = disk.open_blocking(
            &path,
            OpenOptions {
                create: true,
                write: true,
            },
        )?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        if durable {
            file.sync_data()?;
        }
    }
    if let Some(text) = epochs {
        disk.write_atomic(dir.join(LEADER_EPOCHS), text.as_bytes())?;
    }
    for offset in stale {
        match disk.remove_file(dir.join(format::file_name(*offset, SNAPSHOT))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if durable {
        disk.sync_dir(dir)?;
    }
    Ok(snapshot.map(|(offset, _)| offset))
}

/// Cuts a log's files.
#[must_use = "nothing is cut until the job runs"]
pub struct TruncateJob {
    _inside: Inside,
    disk: Disk,
    dir: PathBuf,
    name: LogName,
    config: LogConfig,
    bases: Vec<Offset>,
    /// Of the log before the cut.
    epochs: Epochs,
    renames: Gate,
    to: Offset,
    /// Nothing is kept; the log begins at `to`.
    anew: bool,
    before: Checkpoint,
    from: RecoverFrom,
}

/// What truncation left. Goes back through [`Log::finish_truncation`].
pub struct Truncated(Result<Recovered, LogError>);

impl TruncateJob {
    /// What the directory's checkpoint file must say *before* the job runs: a crash in the middle must not find a promise
    /// of offsets that are gone.
    pub fn checkpoint_before(&self) -> Checkpoint {
        self.before
    }

    /// Removes what lies above, cuts the segment in which the cut falls, and opens the result as at a start.
    pub async fn run(self) -> Truncated {
        let TruncateJob {
            _inside,
            disk,
            dir,
            name,
            config,
            bases,
            epochs,
            renames,
            to,
            anew,
            before: _,
            from,
        } = self;
        renames.empty().await;
        let cut = move || {
            if anew {
                recovery::remove_files(&disk, &dir)?;
            } else {
                recovery::cut_files(&disk, &dir, &bases, to)?;
            }
            Log::recover_knowing(&disk, &dir, &name, &config, from, Some(epochs))
        };
        Truncated(crate::rt::blocking(cut).await)
    }
}
