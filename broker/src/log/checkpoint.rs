//! The small text files beside the data, in Apache Kafka's formats, each replaced atomically. Owns: their text, reading
//! and writing. Leaves to others: when to write them (`shard/`), and what the numbers mean (`offsets.rs`).
//!
//! ```text
//! <log dir>/recovery-point-offset-checkpoint       0 \n <lines> \n then `<topic> <partition> <offset>` each
//! <log dir>/replication-offset-checkpoint          the same: high watermarks
//! <log dir>/log-start-offset-checkpoint            the same: log starts above the first segment's base
//! <log dir>/.kafka_cleanshutdown                   {"version":0,"brokerEpoch":<n>}; present only while stopped cleanly
//! <partition>/leader-epoch-checkpoint              0 \n <lines> \n then `<epoch> <first offset>` each
//! <partition>/partition.metadata                   version: 0 \n topic_id: <22 letters of base64url>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::{LeaderEpoch, Offset, TopicId};

use crate::rt::file::Disk;

pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
pub const PARTITION_METADATA: &str = "partition.metadata";

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is there and is not what it should be. Callers rebuild from the log and say so.
    #[error("{path}: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

/// What is checkpointed of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything below it is on disk; recovery begins here.
    pub recovery_point: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// A partition as checkpoint files name it.
pub type Name = (Arc<str>, i32);

/// The three checkpoint files of one log directory. Shared by all shards (`Send + Sync`): each sets its own partitions'
/// numbers, and whoever calls [`DirectoryCheckpoints::write`] writes all of them.
pub struct DirectoryCheckpoints {
    disk: Disk,
    dir: PathBuf,
    current: Mutex<BTreeMap<Name, Checkpoint>>,
    /// Held while files are written, so that an older state never replaces a newer one.
    writing: Mutex<()>,
}

impl DirectoryCheckpoints {
    /// Reads what is there; a missing file is an empty one. A malformed file is reported through `warn` and taken as
    /// empty: recovery then starts at offset 0, which is slow and safe. Blocking.
    pub fn load(
        disk: &Disk,
        dir: &Path,
        mut warn: impl FnMut(CheckpointError),
    ) -> io::Result<DirectoryCheckpoints> {
        let mut read = |name: &str| -> io::Result<BTreeMap<Name, Offset>> {
            match read_offsets(disk, &dir.join(name)) {
                Ok(offsets) => Ok(offsets),
                Err(CheckpointError::Io(error)) => Err(error),
                Err(malformed) => {
                    warn(malformed);
                    Ok(BTreeMap::new())
                }
            }
        };
        let recovery_points = read(RECOVERY_POINTS)?;
        let high_watermarks = read(HIGH_WATERMARKS)?;
        let log_starts = read(LOG_STARTS)?;
        let mut current = BTreeMap::new();
        for name in recovery_points
            .keys()
            .chain(high_watermarks.keys())
            .chain(log_starts.keys())
        {
            let of = |map: &BTreeMap<Name, Offset>| map.get(name).copied().unwrap_or(Offset::ZERO);
            let checkpoint = Checkpoint {
                recovery_point: of(&recovery_points),
                high_watermark: of(&high_watermarks),
                log_start: of(&log_starts),
            };
            current.insert(name.clone(), checkpoint);
        }
        Ok(DirectoryCheckpoints {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            current: Mutex::new(current),
            writing: Mutex::new(()),
        })
    }

    /// The log directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is known of a partition.
    pub fn get(&self, name: &Name) -> Option<Checkpoint> {
        self.lock().get(name).copied()
    }

    /// Sets a partition's numbers in memory.
    pub fn set(&self, name: Name, checkpoint: Checkpoint) {
        self.lock().insert(name, checkpoint);
    }

    /// Moves a partition's log start in memory.
    pub fn set_log_start(&self, name: &Name, log_start: Offset) {
        let mut current = self.lock();
        let entry = current.entry(name.clone()).or_insert(Checkpoint {
            recovery_point: Offset::ZERO,
            high_watermark: Offset::ZERO,
            log_start,
        });
        entry.log_start = log_start;
    }

    /// Every partition that something is known of.
    pub fn names(&self) -> Vec<Name> {
        self.lock().keys().cloned().collect()
    }

    /// Forgets a deleted partition.
    pub fn remove(&self, name: &Name) {
        self.lock().remove(name);
    }

    /// Forgets partitions whose logs go, on disk too, to be called before they go: a later log of one of these names must
    /// not be held against what was known of this one. Blocking.
    pub fn forget(&self, names: impl IntoIterator<Item = Name>) -> io::Result<()> {
        names.into_iter().for_each(|name| self.remove(&name));
        match self.write() {
            // On a full disk deleting is what makes room, so it must not need any. The next write has what this one lacked.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            written => written,
        }
    }

    /// Replaces the three files. Blocking: three fsyncs and renames.
    pub fn write(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.lock().clone();
        let put = |name: &str, of: fn(&Checkpoint) -> Offset, all: bool| {
            let lines: Vec<(&Name, Offset)> = current
                .iter()
                .map(|(name, checkpoint)| (name, of(checkpoint)))
                .filter(|(_, offset)| all || *offset > Offset::ZERO)
                .collect();
            self.disk
                .write_atomic(self.dir.join(name), encode_offsets(&lines).as_bytes())
        };
        put(RECOVERY_POINTS, |checkpoint| checkpoint.recovery_point, true)?;
        put(HIGH_WATERMARKS, |checkpoint| checkpoint.high_watermark, true)?;
        put(LOG_STARTS, |checkpoint| checkpoint.log_start, false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Checkpoint>> {
        // Nothing panics while holding it; the map is whole at every step anyway.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode_offsets(lines: &[(&Name, Offset)]) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for ((topic, partition), offset) in lines {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    text
}

fn read_offsets(disk: &Disk, path: &Path) -> Result<BTreeMap<Name, Offset>, CheckpointError> {
    let lines = read_lines(disk, path)?;
    let mut offsets = BTreeMap::new();
    for line in lines.iter().flatten() {
        let [topic, partition, offset] = fields(line).ok_or_else(|| malformed(path, line))?;
        let parsed = partition
            .parse()
            .ok()
            .zip(offset.parse::<i64>().ok().filter(|offset| *offset >= 0));
        let (partition, offset) = parsed.ok_or_else(|| malformed(path, line))?;
        offsets.insert((Arc::from(topic), partition), Offset(offset));
    }
    Ok(offsets)
}

/// The entries of a versioned, counted text file; `None` when there is no file.
fn read_lines(disk: &Disk, path: &Path) -> Result<Option<Vec<String>>, CheckpointError> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8(bytes).map_err(|_| malformed(path, "not text"))?;
    let mut lines = text.lines().map(str::to_owned);
    match lines.next().as_deref() {
        Some("0") => {}
        other => return Err(malformed(path, other.unwrap_or("empty"))),
    }
    let count: usize = lines
        .next()
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| malformed(path, "no count of entries"))?;
    let entries: Vec<String> = lines.collect();
    if entries.len() != count {
        return Err(malformed(path, "the count of entries is not theirs"));
    }
    Ok(Some(entries))
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    fields.try_into().ok()
}

fn malformed(path: &Path, what: &str) -> CheckpointError {
    CheckpointError::Malformed {
        path: path.to_path_buf(),
        reason: format!("malformed: {what:?}"),
    }
}

/// Where each leader epoch began, oldest first.
pub(super) fn encode_epochs(epochs: &[(LeaderEpoch, Offset)]) -> String {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, start) in epochs {
        let _ = writeln!(text, "{epoch} {start}");
    }
    text
}

/// Reads a partition's `leader-epoch-checkpoint`; `None` when there is no file.
pub(super) fn read_epochs(
    disk: &Disk,
    path: &Path,
) -> Result<Option<Vec<(LeaderEpoch, Offset)>>, CheckpointError> {
    let Some(lines) = read_lines(disk, path)? else {
        return Ok(None);
    };
    let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::with_capacity(lines.len());
    for line in &lines {
        let [epoch, start] = fields(line).ok_or_else(|| malformed(path, line))?;
        let parsed = epoch.parse().ok().zip(start.parse().ok());
        let (epoch, start) = parsed.ok_or_else(|| malformed(path, line))?;
        let (epoch, start) = (LeaderEpoch(epoch), Offset(start));
        if epochs
            .last()
            .is_some_and(|last| last.0 >= epoch || last.1 > start)
        {
            return Err(malformed(path, line));
        }
        epochs.push((epoch, start));
    }
    Ok(Some(epochs))
}

pub(super) fn encode_partition_metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Reads the topic id of a partition's directory; `None` when there is no file. Blocking.
pub fn read_partition_metadata(disk: &Disk, dir: &Path) -> Result<Option<TopicId>, CheckpointError> {
    let path = dir.join(PARTITION_METADATA);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| {
        let found = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| *found == key);
        found.map(|(_, value)| value.trim())
    };
    if value("version") != Some("0") {
        return Err(malformed(&path, "the version is not 0"));
    }
    let topic_id = value("topic_id").and_then(|id| id.parse().ok());
    topic_id.map(Some).ok_or_else(|| malformed(&path, "no topic id"))
}

/// Says in `dir` that everything in it was synced and checkpointed. Blocking; the last thing a broker does.
pub fn mark_clean_shutdown(disk: &Disk, dir: &Path, broker_epoch: i64) -> io::Result<()> {
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    disk.write_atomic(dir.join(CLEAN_SHUTDOWN), text.as_bytes())
}

/// Whether the directory was left cleanly; the mark is gone (durably) when this returns, because from here on a crash
/// is unclean. Blocking; called once per directory before its logs are opened.
pub fn take_clean_shutdown(disk: &Disk, dir: &Path) -> io::Result<bool> {
    match disk.remove_file(dir.join(CLEAN_SHUTDOWN)) {
        Ok(()) => {
            disk.sync_dir(dir)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(topic: &str, partition: i32) -> Name {
        (Arc::from(topic), partition)
    }

    fn load(dir: &Path) -> DirectoryCheckpoints {
        DirectoryCheckpoints::load(&Disk::real(), dir, |error| panic!("{error}")).unwrap()
    }

    fn text(dir: &Path, name: &str) -> String {
        String::from_utf8(Disk::real().read(dir.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn golden_text_of_the_directory_files_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = load(dir.path());
        let orders = Checkpoint {
            recovery_point: Offset(20),
            high_watermark: Offset(30),
            log_start: Offset(7),
        };
        let fresh = Checkpoint {
            recovery_point: Offset(0),
            high_watermark: Offset(0),
            log_start: Offset(0),
        };
        checkpoints.set(name("orders", 11), orders);
        checkpoints.set(name("orders", 2), fresh);
        checkpoints.set(name("gone", 0), fresh);
        checkpoints.remove(&name("gone", 0));
        checkpoints.write().unwrap();
        assert_eq!(
            text(dir.path(), RECOVERY_POINTS),
            "0\n2\norders 2 0\norders 11 20\n"
        );
        assert_eq!(
            text(dir.path(), HIGH_WATERMARKS),
            "0\n2\norders 2 0\norders 11 30\n"
        );
        assert_eq!(text(dir.path(), LOG_STARTS), "0\n1\norders 11 7\n");
        let again = load(dir.path());
        assert_eq!(again.get(&name("orders", 11)), Some(orders));
        assert_eq!(again.get(&name("orders", 2)), Some(fresh));
        assert_eq!(again.get(&name("gone", 0)), None);
    }

    #[test]
    fn a_malformed_file_is_reported_and_taken_as_empty() {
        for bad in [
            "",
            "1\n0\n",
            "0\n2\na 0 1\n",
            "0\n1\na 0\n",
            "0\n1\na 0 -3\n",
            "0\n1\na b 3\n",
        ] {
            let dir = tempfile::tempdir().unwrap();
            Disk::real()
                .write_atomic(dir.path().join(RECOVERY_POINTS), bad.as_bytes())
                .unwrap();
            let mut warnings = 0;
            let loaded = DirectoryCheckpoints::load(&Disk::real(), dir.path(), |_| warnings += 1).unwrap();
            assert_eq!((warnings, loaded.get(&name("a", 0))), (1, None), "{bad:?}");
        }
    }

    #[test]
    fn golden_text_of_the_partition_files_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let epochs = vec![(LeaderEpoch(0), Offset(0)), (LeaderEpoch(3), Offset(17))];
        assert_eq!(encode_epochs(&epochs), "0\n2\n0 0\n3 17\n");
        let path = dir.path().join(LEADER_EPOCHS);
        assert_eq!(read_epochs(&Disk::real(), &path).unwrap(), None);
        Disk::real()
            .write_atomic(&path, encode_epochs(&epochs).as_bytes())
            .unwrap();
        assert_eq!(read_epochs(&Disk::real(), &path).unwrap(), Some(epochs));
        Disk::real().write_atomic(&path, b"0\n2\n3 0\n1 17\n").unwrap();
        assert!(read_epochs(&Disk::real(), &path).is_err(), "epochs grow");

        let id = "QOEdL1NXAJB4u2GxmePFMQ".parse().unwrap();
        assert_eq!(
            encode_partition_metadata(id),
            "version: 0\ntopic_id: QOEdL1NXAJB4u2GxmePFMQ"
        );
        assert_eq!(read_partition_metadata(&Disk::real(), dir.path()).unwrap(), None);
        let path = dir.path().join(PARTITION_METADATA);
        Disk::real()
            .write_atomic(&path, encode_partition_metadata(id).as_bytes())
            .unwrap();
        assert_eq!(
            read_partition_metadata(&Disk::real(), dir.path()).unwrap(),
            Some(id)
        );
        Disk::real()
            .write_atomic(&path, b"version: 0\ntopic_id: nonsense\n")
            .unwrap();
        assert!(read_partition_metadata(&Disk::real(), dir.path()).is_err());
    }

    #[test]
    fn the_clean_mark_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!take_clean_shutdown(&Disk::real(), dir.path()).unwrap());
        mark_clean_shutdown(&Disk::real(), dir.path(), 5).unwrap();
        assert_eq!(
            text(dir.path(), CLEAN_SHUTDOWN),
            "{\"version\":0,\"brokerEpoch\":5}"
        );
        assert!(take_clean_shutdown(&Disk::real(), dir.path()).unwrap());
        assert!(!take_clean_shutdown(&Disk::real(), dir.path()).unwrap());
    }
}
