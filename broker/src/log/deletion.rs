//! Old segments, deleted partitions and logs that nobody claims leave the disk, or their places. Owns: the order in which
//! names change and files go. Leaves to others: which segments (`retention.rs` decides), which logs, and when (`shard/` runs
//! the jobs on its own time).
//!
//! Files are renamed first and unlinked after `file.delete.delay.ms`; a crash in between leaves names that the next start
//! removes. Whoever has a file open goes on reading it (KAFKA-15391): handles are held by jobs, not by names.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::Offset;

use super::checkpoint::{DirectoryCheckpoints, Name};
use super::format::{self, DELETED, INDEX, LOG, SNAPSHOT, TIME_INDEX};
use super::gate::{Gate, Inside};
use super::handles::{FileKey, HandleCache};
use super::retention::{RetentionLimits, SegmentFacts, expired};
use super::{Log, LogName};
use crate::rt::file::Disk;

impl Log {
    /// Takes out the segments that retention lets go and those wholly below the log start, and moves the log start behind
    /// them. They cannot be read from here on; the job removes their files. `None` when all stay, and while the files are
    /// a truncation's business or that of the last checkpoint.
    pub fn retention(&mut self, now_ms: i64) -> Option<RetentionJob> {
        if self.truncating || self.closing {
            return None;
        }
        self.roll_if_expired(now_ms);
        let offsets = self.offsets.get();
        let ends = self
            .segments
            .iter()
            .skip(1)
            .map(|next| next.base)
            .chain([offsets.log_end]);
        let facts: Vec<SegmentFacts> = self
            .segments
            .iter()
            .zip(ends)
            .map(|(segment, end)| SegmentFacts {
                end,
                size: segment.size,
                newest_ms: segment.newest.map(|newest| newest.timestamp),
                seen_ms: segment.seen_ms,
            })
            .collect();
        let limits = RetentionLimits {
            age_ms: self.config.retention_ms,
            bytes: self.config.retention_bytes,
        };
        let guard_ms = self.config.timestamp_after_max_ms.min(24 * 3_600_000);
        let by_limits = expired(&facts, limits, offsets.high_watermark, now_ms, guard_ms);
        let by_start = facts[..facts.len() - 1]
            .iter()
            .take_while(|segment| segment.end <= offsets.log_start)
            .count();
        // A segment whose index entries a round still owes stays until that round is over.
        let finished = self
            .segments
            .iter()
            .take_while(|segment| segment.finished)
            .count();
        let count = by_limits.max(by_start).min(finished);
        if count == 0 {
            return None;
        }
        let gone: Vec<_> = self.segments.drain(..count).collect();
        for segment in &gone {
            segment
                .keys
                .all()
                .into_iter()
                .for_each(|key| self.handles.forget(key));
        }
        let start = self.segments.front().expect("the active segment stays").base;
        self.set_log_start(start);
        self.damage.retain(|damage| damage.to > start);
        Some(RetentionJob {
            disk: self.handles.disk().clone(),
            dir: self.dir.clone(),
            name: self.name.key(),
            log_start: self.offsets.get().log_start,
            bases: gone.iter().map(|segment| segment.base).collect(),
            bytes: gone.iter().map(|segment| segment.size).sum(),
            delay: Duration::from_millis(self.config.file_delete_delay_ms),
            keys: gone.iter().flat_map(|segment| segment.keys.all()).collect(),
            handles: self.handles.clone(),
            _inside: self.gate.enter(),
            _renaming: self.renames.enter(),
        })
    }

    /// The active segment never goes, so an active segment that age would take is closed first (as Kafka does): a topic
    /// that is written to once a month keeps its promise, too.
    fn roll_if_expired(&mut self, now_ms: i64) {
        let Some(age_ms) = self.config.retention_ms else {
            return;
        };
        let offsets = self.offsets.get();
        let active = self.segments.back().expect("a log has an active segment");
        let newest = active.newest.map_or(active.seen_ms, |newest| newest.timestamp);
        let quiet =
            offsets.high_watermark == offsets.log_end && offsets.synced == offsets.log_end && !self.busy;
        if active.size > 0 && quiet && now_ms.saturating_sub(newest) > age_ms {
            self.roll(now_ms);
        }
    }

    /// Gives the log up: the job moves its directory out of the way and then removes it.
    pub fn delete(self) -> DeleteJob {
        DeleteJob {
            disk: self.handles.disk().clone(),
            dir: self.dir.to_path_buf(),
            name: self.name.clone(),
            gate: self.gate.clone(),
            keys: self
                .segments
                .iter()
                .flat_map(|segment| segment.keys.all())
                .collect(),
            handles: self.handles.clone(),
            delay: Duration::from_millis(self.config.file_delete_delay_ms),
        }
    }
}

/// Removes the files of segments that left their log.
#[must_use = "the files stay until the job runs"]
pub struct RetentionJob {
    disk: Disk,
    dir: Rc<Path>,
    name: Name,
    log_start: Offset,
    bases: Vec<Offset>,
    bytes: u64,
    delay: Duration,
    keys: Vec<FileKey>,
    handles: Rc<HandleCache>,
    _inside: Inside,
    _renaming: Inside,
}

impl RetentionJob {
    /// First offset that the log still has.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Bytes of log that go.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the log start down, renames the files, waits `file.delete.delay.ms`, unlinks.
    pub async fn run(self, checkpoints: &Arc<DirectoryCheckpoints>) -> io::Result<()> {
        let RetentionJob {
            disk,
            dir,
            name,
            log_start,
            bases,
            delay,
            keys,
            handles,
            _inside,
            _renaming,
            ..
        } = self;
        let (checkpoints, dir, pool_disk) = (checkpoints.clone(), dir.to_path_buf(), disk.clone());
        let renamed = crate::rt::blocking(move || {
            // Before any file goes: a crash in the middle must not bring back the younger half.
            checkpoints.set_log_start(&name, log_start);
            checkpoints.write()?;
            rename_segments(&pool_disk, &dir, &bases)
        })
        .await?;
        // A read planned before may have opened one again since: an unlinked file that stays open keeps its space.
        keys.into_iter().for_each(|key| handles.forget(key));
        // The names in this directory are our own from here on: a topic of the same name gets another directory.
        drop((_inside, _renaming));
        if !delay.is_zero() {
            crate::rt::sleep(delay).await;
        }
        crate::rt::blocking(move || {
            renamed
                .iter()
                .try_for_each(|path| gone_is_fine(disk.remove_file(path)))
        })
        .await
    }
}

fn rename_segments(disk: &Disk, dir: &Path, bases: &[Offset]) -> io::Result<Vec<PathBuf>> {
    let mut renamed = Vec::new();
    for base in bases {
        for ending in [LOG, INDEX, TIME_INDEX, SNAPSHOT] {
            let name = format::file_name(*base, ending);
            let to = dir.join(format!("{name}{DELETED}"));
            match disk.rename(dir.join(&name), &to) {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(renamed)
}

/// A file that somebody else removed (the whole directory may have been deleted meanwhile) is as gone as it should be.
fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Moves a deleted partition's directory out of the way.
#[must_use = "the directory stays until the job runs"]
pub struct DeleteJob {
    disk: Disk,
    dir: PathBuf,
    name: LogName,
    gate: Gate,
    keys: Vec<FileKey>,
    handles: Rc<HandleCache>,
    delay: Duration,
}

/// The renamed directory of a deleted partition, still on disk.
#[must_use = "the directory stays until the job runs"]
pub struct Unlink {
    disk: Disk,
    dir: PathBuf,
    delay: Duration,
}

impl DeleteJob {
    /// Waits for jobs that use the directory, forgets the checkpoints, renames the directory to end in `-delete`, and makes
    /// that durable. When it returns, a topic of the same name may be made.
    pub async fn rename(self, checkpoints: &Arc<DirectoryCheckpoints>) -> io::Result<Unlink> {
        self.gate.empty().await;
        self.keys.iter().for_each(|key| self.handles.forget(*key));
        let unique = crate::rt::random_uuid();
        let DeleteJob {
            disk,
            dir,
            name,
            delay,
            ..
        } = self;
        let checkpoints = checkpoints.clone();
        crate::rt::blocking(move || {
            // Where the disk is too full for that, the caller writes them again after.
            checkpoints.forget([name.key()])?;
            let parent = dir
                .parent()
                .expect("a partition's directory is in a log directory")
                .to_path_buf();
            let to = parent.join(format::deleted_directory_name(
                &name.topic,
                name.partition,
                unique,
            ));
            disk.rename(&dir, &to)?;
            disk.sync_dir(&parent)?;
            Ok(Unlink { disk, dir: to, delay })
        })
        .await
    }
}

impl Unlink {
    /// Waits `file.delete.delay.ms` and removes the directory. What a crash leaves, [`super::clean_leftovers`] removes.
    pub async fn run(self) -> io::Result<()> {
        if !self.delay.is_zero() {
            crate::rt::sleep(self.delay).await;
        }
        crate::rt::blocking(move || gone_is_fine(self.disk.remove_dir_all(&self.dir))).await
    }
}

/// A log that was found at start and that no partition claims.
#[derive(Clone, Debug)]
pub struct Stray {
    /// What its directory says it is.
    pub name: LogName,
    /// Its directory.
    pub dir: PathBuf,
    /// The same directory from now on.
    pub aside: PathBuf,
    /// It holds nothing, and goes.
    pub blank: bool,
}

/// Takes strays of one log directory out of the way of later logs, and makes that durable: else a power cut brings them
/// back under their own names. Blank ones are renamed first as well: another core may make a log of that name as soon as it
/// is free. One that cannot be moved keeps no other in its place; the first error is returned. Blocking.
pub fn set_aside(disk: &Disk, checkpoints: &DirectoryCheckpoints, strays: &[Stray]) -> io::Result<()> {
    checkpoints.forget(strays.iter().map(|stray| stray.name.key()))?;
    let mut outcome = Ok(());
    for stray in strays {
        outcome = outcome.and(disk.rename(&stray.dir, &stray.aside));
    }
    disk.sync_dir(checkpoints.dir())?;
    for stray in strays.iter().filter(|stray| stray.blank) {
        outcome = outcome.and(gone_is_fine(disk.remove_dir_all(&stray.aside)));
    }
    outcome
}
