//! Opens a partition's directory: after a clean stop, after a crash, or for the first time. Owns: what is checked, in
//! which order, and what is reported. Leaves to others: single segments (`salvage.rs`), and which directories there are.
//!
//! Order: leftovers of unfinished deletions go; the directory must be this topic's; segments are salvaged from the
//! recovery point on (nothing is read after a clean stop but the end of the last one); what was read is synced *before*
//! it may be served (a second crash must not take back what a consumer saw); producers come from the newest snapshot and
//! the headers after it, leader epochs from their checkpoint and the headers read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{Offset, TopicId};

use super::batches::{Step, Walk};
use super::checkpoint::{self, Checkpoint, CheckpointError, LEADER_EPOCHS, PARTITION_METADATA};
use super::epochs::Epochs;
use super::format::{self, DELETED, LOG, OffsetEntry, SNAPSHOT};
use super::offsets::Offsets;
use super::producers::Producers;
use super::salvage::{Salvage, Salvaged};
use super::segment::Segment;
use super::{Log, LogConfig};
use crate::rt::file::{Disk, OpenOptions, is_unreadable};

/// Which partition a log is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    pub topic: Arc<str>,
    pub partition: i32,
    pub topic_id: TopicId,
}

impl LogName {
    /// As checkpoint files name it.
    pub fn key(&self) -> checkpoint::Name {
        (self.topic.clone(), self.partition)
    }

    /// The name of its directory within a log directory.
    pub fn directory(&self) -> String {
        format::directory_name(&self.topic, self.partition)
    }
}

/// What is known before the directory is looked at.
#[derive(Clone, Copy, Debug)]
pub struct RecoverFrom {
    /// The broker stopped cleanly.
    pub clean: bool,
    /// What the log directory's checkpoint files say of the partition; `None` is "nothing".
    pub checkpoint: Option<Checkpoint>,
    /// Wall clock, ms since the epoch.
    pub now_ms: i64,
}

/// Why a partition cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another topic of the same name left it here.
    #[error("{} belongs to topic id {found}, not to {expected}", .dir.display())]
    WrongTopic {
        dir: PathBuf,
        found: TopicId,
        expected: TopicId,
    },
    #[error("{0}")]
    Metadata(CheckpointError),
    #[error("{} holds {file}, an unfinished compaction of Apache Kafka: let a Kafka broker finish it first", .dir.display())]
    UnfinishedCompaction { dir: PathBuf, file: String },
}

/// A range of offsets that was promised once and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First offset of the range.
    pub from: Offset,
    /// First offset after it.
    pub to: Offset,
    /// Base offset of the segment, and the byte of its file where the damage begins.
    pub segment: Offset,
    pub position: u64,
    pub reason: String,
}

impl Damage {
    pub(super) fn contains(&self, offset: Offset) -> bool {
        self.from <= offset && offset < self.to
    }
}

/// What recovery did. For the log line, and for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of log files read.
    pub scanned_bytes: u64,
    /// Bytes of torn tail cut away; none of them was ever acknowledged.
    pub cut_bytes: u64,
    /// Segments whose indexes were rebuilt from the log.
    pub rebuilt_indexes: u64,
    /// Files of unfinished deletions removed.
    pub leftovers: u64,
    /// Ranges that are refused from now on.
    pub damage: Vec<Damage>,
    /// Small files that were not what they should be, and were rebuilt.
    pub warnings: Vec<String>,
}

/// An opened directory, ready to be handed to the shard that owns the partition. `Send`.
#[derive(Debug)]
pub struct Recovered {
    pub(super) name: LogName,
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    pub(super) offsets: Offsets,
    pub(super) segments: Vec<Segment>,
    pub(super) producers: Producers,
    pub(super) epochs: Epochs,
    /// See [`Log::epochs_owed`].
    pub(super) epochs_owed: Option<Offset>,
    pub(super) checkpointed: Offset,
    pub(super) loose_snapshots: Vec<Offset>,
    /// What was done.
    pub report: RecoveryReport,
}

impl RecoveryReport {
    /// One line per thing a person should know.
    fn say(&self, dir: &Path) {
        let dir = dir.display();
        for damage in &self.damage {
            tracing::error!(
                %dir, from = %damage.from, to = %damage.to, segment = %damage.segment, position = damage.position,
                reason = damage.reason, "records that were stored are damaged; reads of them are refused"
            );
        }
        self.warnings
            .iter()
            .for_each(|warning| tracing::warn!(%dir, warning));
        if self.cut_bytes > 0 {
            tracing::info!(%dir, bytes = self.cut_bytes, "cut a torn tail that nobody was promised");
        }
        if self.rebuilt_indexes + self.leftovers > 0 {
            tracing::info!(
                %dir, rebuilt_indexes = self.rebuilt_indexes, leftovers = self.leftovers, "cleaned up after a stop"
            );
        }
    }
}

impl Log {
    /// Makes the directory of a new partition with an empty segment, **nothing of it durable**: the caller syncs many of
    /// them together ([`Disk::sync_tree`]) before it recovers one. `AlreadyExists` when something is there, untouched; after
    /// any other error nothing is.
    /// What a power cut leaves of it has no records, and [`Log::recover`] takes it for a new one. Blocking.
    pub fn lay_out(disk: &Disk, dir: &Path, name: &LogName) -> io::Result<()> {
        disk.create_dir(dir)?;
        let create = OpenOptions {
            create: true,
            write: true,
        };
        let fill = || {
            let text = checkpoint::encode_partition_metadata(name.topic_id);
            let metadata = disk.open_blocking(dir.join(PARTITION_METADATA), create)?;
            metadata.write_all_at(text.as_bytes(), 0)?;
            disk.open_blocking(dir.join(format::file_name(Offset::ZERO, LOG)), create)
        };
        match fill() {
            Ok(_) => Ok(()),
            Err(error) => {
                // What is not synced must not be found by who makes it alone and takes it for durable.
                disk.remove_dir_all(dir)?;
                Err(error)
            }
        }
    }

    /// Opens the partition's directory `dir`, making it if it is not there. Blocking and `Send`: for `rt::blocking`.
    pub fn recover(
        disk: &Disk,
        dir: &Path,
        name: &LogName,
        config: &LogConfig,
        from: RecoverFrom,
    ) -> Result<Recovered, LogError> {
        Log::recover_knowing(disk, dir, name, config, from, None)
    }

    /// The same of a log of which the `epochs` are known: those in the file may be older.
    pub(super) fn recover_knowing(
        disk: &Disk,
        dir: &Path,
        name: &LogName,
        config: &LogConfig,
        from: RecoverFrom,
        epochs: Option<Epochs>,
    ) -> Result<Recovered, LogError> {
        let mut report = RecoveryReport::default();
        let names = prepare(disk, dir, name, from.clean, &mut report)?;
        let mut bases: Vec<Offset> = names_ending(&names, LOG).collect();
        let checkpoint = from.checkpoint.unwrap_or(Checkpoint {
            recovery_point: Offset::ZERO,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
        });
        let is_new = bases.is_empty();
        if is_new {
            // A directory without a log has nothing to be held against it but where it begins.
            make_segment(disk, dir, checkpoint.log_start)?;
            bases.push(checkpoint.log_start);
        }
        let recovery_point = if is_new {
            Offset::ZERO
        } else {
            checkpoint.recovery_point
        };
        let loaded = epochs.map(|known| (known, true));
        let (mut epochs, epochs_known) = loaded.unwrap_or_else(|| load_epochs(disk, dir, &mut report));
        let before = epochs.clone();
        if !from.clean {
            // The file is right below the recovery point. What is above it is read again, and may be of other epochs now.
            epochs.cut_end(recovery_point);
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
        let mut log_end = bases[0];
        let mut sealed = false;
        for (at, base) in bases.iter().enumerate() {
            let next = bases.get(at + 1).copied();
            let clean = from.clean;
            let salvage = Salvage {
                disk,
                dir,
                config,
                base: *base,
                next,
                clean,
                recovery_point,
                now_ms: from.now_ms,
            };
            let Salvaged {
                segment,
                end,
                sealed: tail,
            } = salvage.run(&mut epochs, &mut report)?;
            segments.push(segment);
            (log_end, sealed) = (end, tail);
        }
        if log_end < recovery_point {
            // The file ends before what was promised: those offsets must not be given to other records.
            let segment = bases[bases.len() - 1];
            let position = segments[segments.len() - 1].size;
            let reason = "the file ends too early".to_owned();
            report.damage.push(Damage {
                from: log_end,
                to: recovery_point,
                segment,
                position,
                reason,
            });
            (log_end, sealed) = (recovery_point, true);
        }
        if sealed {
            let next = seal_and_go_on(disk, dir, &mut segments, log_end, from.now_ms)?;
            segments.push(next);
        }
        if !from.clean || is_new {
            disk.sync_dir(dir)?;
        }
        let log_start = checkpoint.log_start.max(bases[0]).min(log_end);
        epochs.cut_end(log_end);
        let state = Replay {
            disk,
            dir,
            names: &names,
            segments: &segments,
            log_start,
            log_end,
        };
        let replayed = state.producers(&mut epochs, !epochs_known, config, from.now_ms, &mut report)?;
        let epochs_owed = epochs.first_difference(&before);
        epochs.cut_start(log_start);
        report.say(dir);
        Ok(Recovered {
            name: name.clone(),
            dir: dir.to_path_buf(),
            config: config.clone(),
            offsets: Offsets::opened(log_start, checkpoint.high_watermark, log_end),
            segments,
            producers: replayed.producers,
            epochs_owed,
            epochs,
            checkpointed: replayed.covered,
            loose_snapshots: replayed.loose,
            report,
        })
    }
}

impl Recovered {
    /// Whether it is as a new log: no records, and none that were there once.
    pub fn is_blank(&self) -> bool {
        let at = self.offsets.get();
        at.log_end == Offset::ZERO && self.report.damage.is_empty()
    }

    /// Whether its files are what closing it would leave.
    pub fn is_closed(&self) -> bool {
        self.epochs_owed.is_none() && !self.segments.iter().any(Segment::owes_indexes)
    }

    /// Where the log stands.
    pub fn offsets(&self) -> super::LogOffsets {
        self.offsets.get()
    }
}

/// Removes what unfinished deletions left in a log directory: whole partitions renamed to `-delete`. How many. Blocking.
pub fn clean_leftovers(disk: &Disk, log_dir: &Path) -> io::Result<u64> {
    let mut count = 0;
    for name in disk.read_dir(log_dir)? {
        if format::is_deleted_directory(&name) {
            disk.remove_dir_all(log_dir.join(name))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Makes the directory if needed, removes leftovers, checks whose it is; the names in it.
fn prepare(
    disk: &Disk,
    dir: &Path,
    name: &LogName,
    clean: bool,
    report: &mut RecoveryReport,
) -> Result<Vec<String>, LogError> {
    disk.create_dir_all(dir)?;
    let metadata = match checkpoint::read_partition_metadata(disk, dir) {
        // As a power cut leaves it while the log is made ([`Log::lay_out`]): nothing was ever promised in it.
        Err(CheckpointError::Malformed { .. }) if !holds_bytes(disk, dir)? => Ok(None),
        read => read,
    };
    match metadata {
        Ok(Some(found)) if found != name.topic_id => {
            return Err(LogError::WrongTopic {
                dir: dir.to_path_buf(),
                found,
                expected: name.topic_id,
            });
        }
        // A process that was killed may have written it without a sync.
        Ok(Some(_)) if !clean => {
            let file = disk.open_blocking(dir.join(PARTITION_METADATA), OpenOptions::default())?;
            file.sync_all()?;
        }
        Ok(Some(_)) => {}
        Ok(None) => {
            let text = checkpoint::encode_partition_metadata(name.topic_id);
            disk.write_atomic(dir.join(PARTITION_METADATA), text.as_bytes())?;
        }
        Err(CheckpointError::Io(error)) => return Err(error.into()),
        Err(malformed) => return Err(LogError::Metadata(malformed)),
    }
    let mut names = disk.read_dir(dir)?;
    if let Some(swap) = names.iter().find(|name| name.ends_with(".swap")) {
        return Err(LogError::UnfinishedCompaction {
            dir: dir.to_path_buf(),
            file: swap.clone(),
        });
    }
    let segments: Vec<Offset> = names_ending(&names, LOG).collect();
    let is_leftover = |name: &String| {
        // An index without its log is what a crash in the middle of a deletion leaves.
        let orphan = format::parse_file_name(name).is_some_and(|(base, ending)| {
            [format::INDEX, format::TIME_INDEX].contains(&ending) && !segments.contains(&base)
        });
        orphan || name.ends_with(DELETED) || name.ends_with(".cleaned") || name.ends_with(".tmp")
    };
    for leftover in names.iter().filter(|name| is_leftover(name)) {
        disk.remove_file(dir.join(leftover))?;
        report.leftovers += 1;
    }
    names.retain(|name| !is_leftover(name));
    Ok(names)
}

/// Whether a log file in `dir` has content.
fn holds_bytes(disk: &Disk, dir: &Path) -> io::Result<bool> {
    for name in disk.read_dir(dir)? {
        if name.ends_with(LOG) && disk.len(dir.join(&name))? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Offsets of the files with this ending, ascending (the names are sorted).
fn names_ending<'a>(names: &'a [String], ending: &'a str) -> impl Iterator<Item = Offset> + 'a {
    let parsed = names.iter().filter_map(|name| format::parse_file_name(name));
    parsed
        .filter(move |(_, found)| *found == ending)
        .map(|(base, _)| base)
}

fn make_segment(disk: &Disk, dir: &Path, base: Offset) -> io::Result<()> {
    disk.open_blocking(
        dir.join(format::file_name(base, LOG)),
        OpenOptions {
            create: true,
            write: true,
        },
    )?;
    disk.sync_dir(dir)
}

/// The last segment must not be appended to: closes it and makes the next one.
fn seal_and_go_on(
    disk: &Disk,
    dir: &Path,
    segments: &mut [Segment],
    log_end: Offset,
    now_ms: i64,
) -> io::Result<Segment> {
    make_segment(disk, dir, log_end)?;
    if let Some(last) = segments.last_mut() {
        last.finished = true;
        last.index_newest();
    }
    let mut segment = Segment::new(log_end, now_ms);
    segment.created = true;
    Ok(segment)
}

/// The leader epochs of the checkpoint, and whether it could be read.
fn load_epochs(disk: &Disk, dir: &Path, report: &mut RecoveryReport) -> (Epochs, bool) {
    match checkpoint::read_epochs(disk, &dir.join(LEADER_EPOCHS)) {
        Ok(Some(entries)) => (Epochs::from_entries(entries), true),
        Ok(None) => (Epochs::default(), false),
        Err(error) => {
            report
                .warnings
                .push(format!("{error}; rebuilding it from the log"));
            (Epochs::default(), false)
        }
    }
}

/// What [`Replay::producers`] found.
struct Replayed {
    producers: Producers,
    /// Offset of the snapshot that was used.
    covered: Offset,
    /// Snapshots that stand at no segment's base.
    loose: Vec<Offset>,
}

/// State that is rebuilt by going through batch headers.
struct Replay<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    names: &'a [String],
    segments: &'a [Segment],
    log_start: Offset,
    log_end: Offset,
}

impl Replay<'_> {
    /// Producers from the newest sound snapshot and the headers after it; with `all_epochs` every header is read, for the
    /// epochs' sake.
    fn producers(
        &self,
        epochs: &mut Epochs,
        all_epochs: bool,
        config: &LogConfig,
        now_ms: i64,
        report: &mut RecoveryReport,
    ) -> io::Result<Replayed> {
        let mut producers = Producers::default();
        let mut newest = None;
        let mut loose = Vec::new();
        let mut offsets: Vec<Offset> = names_ending(self.names, SNAPSHOT).collect();
        while let Some(offset) = offsets.pop() {
            let path = self.dir.join(format::file_name(offset, SNAPSHOT));
            if offset > self.log_end || offset < self.log_start {
                self.disk.remove_file(&path)?;
                continue;
            }
            // Older ones stay, unread: should this one be torn by a crash to come, they serve.
            if newest.is_none() {
                let decoded = match self.disk.read(&path) {
                    Ok(bytes) => format::decode_snapshot(&bytes).map_err(|error| error.to_string()),
                    Err(error) if is_unreadable(&error) => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                match decoded {
                    Ok(entries) => {
                        producers = Producers::from_snapshot(&entries);
                        newest = Some(offset);
                    }
                    Err(error) => {
                        let warning = format!("{}: {error}; reading the log instead", path.display());
                        report.warnings.push(warning);
                        self.disk.remove_file(&path)?;
                        continue;
                    }
                }
            }
            if self.segments.iter().all(|segment| segment.base != offset) {
                loose.insert(0, offset);
            }
        }
        let from = newest.unwrap_or(self.log_start);
        let walk_from = if all_epochs {
            // What was read so far began somewhere in the middle, and would say that an epoch began there.
            *epochs = Epochs::default();
            self.log_start
        } else {
            from
        };
        if walk_from < self.log_end {
            self.walk(walk_from, |found| {
                epochs.begin(found.leader_epoch, found.base);
                if let (true, Some(producer)) = (found.base >= from, &found.producer) {
                    producers.appended(producer, found.base, found.max_timestamp);
                }
            })?;
        }
        producers.seen_all(now_ms);
        producers.bound(config.producers_limit);
        Ok(Replayed {
            producers,
            covered: newest.unwrap_or(Offset::ZERO),
            loose,
        })
    }

    /// Headers of all batches from `from` on.
    fn walk(&self, from: Offset, mut each: impl FnMut(&super::batches::FoundBatch)) -> io::Result<()> {
        let first = self
            .segments
            .partition_point(|segment| segment.base <= from)
            .saturating_sub(1);
        for segment in &self.segments[first..] {
            if segment.size == 0 {
                continue;
            }
            let path = self.dir.join(format::file_name(segment.base, LOG));
            let log = self.disk.open_blocking(&path, OpenOptions::default())?;
            let start = self.floor(segment, from)?;
            let mut walk = Walk::new(&log, segment.size, start, segment.base);
            loop {
                match walk.next(false)? {
                    Step::Batch(found) if found.last < from => {}
                    Step::Batch(found) => each(&found),
                    Step::End => break,
                    // Damage was reported already; what is behind it still counts.
                    Step::Misplaced(_) | Step::Bad(_) => {
                        if walk.resynchronize()?.is_none() {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Byte of the segment's file from which on `offset` is to be looked for; its index is in its file by now.
    fn floor(&self, segment: &Segment, offset: Offset) -> io::Result<u64> {
        if offset <= segment.base || segment.offsets.len() == 0 {
            return Ok(0);
        }
        let path = self.dir.join(format::file_name(segment.base, format::INDEX));
        let bytes = match self.disk.read(path) {
            Err(error) if is_unreadable(&error) => Vec::new(),
            read => read?,
        };
        let entries = bytes
            .chunks_exact(format::OFFSET_ENTRY)
            .map(|entry| OffsetEntry::decode(segment.base, entry));
        let below = entries
            .take(segment.offsets.len())
            .take_while(|entry| entry.offset <= offset)
            .last();
        Ok(below.map_or(0, |entry| u64::from(entry.position)))
    }
}

/// Cuts a log's files so that the log ends at or before `to`: segments above go, the one in which it falls is cut at the
/// start of the batch that holds it. Blocking.
pub(super) fn cut_files(disk: &Disk, dir: &Path, bases: &[Offset], to: Offset) -> io::Result<()> {
    let keep = bases.partition_point(|base| *base <= to).max(1);
    for base in bases[keep..].iter().rev() {
        for ending in [LOG, format::INDEX, format::TIME_INDEX, SNAPSHOT] {
            match disk.remove_file(dir.join(format::file_name(*base, ending))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let base = bases[keep - 1];
    let log = disk.open_blocking(
        dir.join(format::file_name(base, LOG)),
        OpenOptions {
            create: false,
            write: true,
        },
    )?;
    let len = log.len()?;
    let mut walk = Walk::new(&log, len, 0, base);
    let cut = loop {
        match walk.next(false)? {
            Step::Batch(found) if found.last < to => {}
            Step::Batch(found) => break found.position,
            Step::End | Step::Misplaced(_) | Step::Bad(_) => break walk.position,
        }
    };
    if cut < len {
        log.set_len(cut)?;
        log.sync_data()?;
        for ending in [format::INDEX, format::TIME_INDEX] {
            match disk.remove_file(dir.join(format::file_name(base, ending))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    disk.sync_dir(dir)
}

/// Removes every segment of a log with what belongs to it, newest first, and its history of epochs. Blocking.
pub(super) fn remove_files(disk: &Disk, dir: &Path) -> io::Result<()> {
    let names = disk.read_dir(dir)?;
    for ending in [LOG, format::INDEX, format::TIME_INDEX, SNAPSHOT] {
        let mut bases: Vec<Offset> = names_ending(&names, ending).collect();
        bases.sort_unstable();
        for base in bases.into_iter().rev() {
            disk.remove_file(dir.join(format::file_name(base, ending)))?;
        }
    }
    match disk.remove_file(dir.join(checkpoint::LEADER_EPOCHS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.sync_dir(dir),
    }
}
