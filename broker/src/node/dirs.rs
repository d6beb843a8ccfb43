//! Looking through the log directories at start: which logs are there and what their directory knows of them.
//!
//! Leaves ids and locks to `directory.rs`, the files' formats to `log/`. Blocks: runs on the starting thread.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use protocol::TopicId;

use crate::log::checkpoint::{self, DirectoryCheckpoints, read_partition_metadata};
use crate::log::format::{DELETED_DIR, STRAY_DIR};
use crate::log::{self, LogName, RecoverFrom};
use crate::rt;
use crate::rt::file::Disk;
use crate::shard::replicas::FoundLog;

/// What the directories hold.
pub(super) struct Found {
    /// Every log in all of them.
    pub(super) logs: Vec<FoundLog>,
    /// The checkpoint files of each, in the order of `log.dirs`.
    pub(super) checkpoints: Vec<Arc<DirectoryCheckpoints>>,
    /// All of them were left in order.
    pub(super) clean: bool,
}

/// Looks through the directories, takes their clean-shutdown marks away, and removes what an interrupted deletion left.
pub(super) fn look<'a>(disk: &Disk, dirs: impl Iterator<Item = &'a Path>) -> Result<Found, String> {
    let mut found = Found {
        logs: Vec::new(),
        checkpoints: Vec::new(),
        clean: true,
    };
    for (index, dir) in dirs.enumerate() {
        look_at(disk, index, dir, &mut found).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    Ok(found)
}

fn look_at(disk: &Disk, index: usize, dir: &Path, found: &mut Found) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let clean = checkpoint::take_clean_shutdown(disk, dir).map_err(words)?;
    found.clean &= clean;
    let warn = |error| tracing::warn!(%error, "a checkpoint file is not usable; its logs are recovered from their start");
    let checkpoints = DirectoryCheckpoints::load(disk, dir, warn).map_err(words)?;
    log::clean_leftovers(disk, dir).map_err(words)?;
    if !clean {
        // A process that was killed may have made directories without a sync.
        disk.sync_dir(dir).map_err(words)?;
    }
    let mut there = BTreeSet::new();
    for name in disk.read_dir(dir).map_err(words)? {
        let path = dir.join(&name);
        let Some((topic, partition)) = log_name(&name).filter(|_| disk.is_dir(&path)) else {
            continue;
        };
        let topic_id = match read_partition_metadata(disk, &path) {
            Ok(Some(id)) => id,
            // A crash while it was made: nothing was acknowledged in it. It is claimed by nobody and goes.
            Ok(None) => nobodys(),
            Err(error) => {
                tracing::warn!(%error, "a log without a readable topic id belongs to nobody: set aside if it holds records, removed if not");
                nobodys()
            }
        };
        let name = LogName {
            topic: Arc::from(topic),
            partition,
            topic_id,
        };
        let from = RecoverFrom {
            clean,
            checkpoint: checkpoints.get(&name.key()),
            now_ms: rt::wall_ms(),
        };
        there.insert(name.key());
        found.logs.push(FoundLog {
            name,
            dir: index,
            path,
            from,
        });
    }
    let mut gone = checkpoints.names();
    gone.retain(|name| !there.contains(name));
    if !gone.is_empty() {
        // Whoever took these logs away did not say so here, and one that is made under such a name is another log: a crash
        // before its first checkpoint must not find what was known of the one before.
        checkpoints.forget(gone).map_err(words)?;
    }
    found.checkpoints.push(Arc::new(checkpoints));
    Ok(())
}

/// An id that no topic has and no other log: two logs of one id and number would be taken for one.
fn nobodys() -> TopicId {
    TopicId(rt::random_uuid())
}

/// Topic and partition of a log's directory; none for everything else that lies there.
fn log_name(name: &str) -> Option<(&str, i32)> {
    if name == crate::quorum::DIRECTORY || name.ends_with(STRAY_DIR) || name.ends_with(DELETED_DIR) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    let partition = partition.parse().ok().filter(|number: &i32| *number >= 0)?;
    (!topic.is_empty()).then_some((topic, partition))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use protocol::Offset;

    use super::{log_name, look};
    use crate::log::checkpoint::{Checkpoint, DirectoryCheckpoints, Name};
    use crate::rt::file::Disk;
    use crate::rt::recorder::Recorder;

    #[test]
    fn what_was_known_of_a_log_that_is_gone_is_forgotten() {
        let disk = Disk::simulated(Arc::new(Recorder::in_memory()));
        let dir = Path::new("/data");
        disk.create_dir_all(dir.join("orders-0")).unwrap();
        let load = || DirectoryCheckpoints::load(&disk, dir, |error| panic!("{error}")).unwrap();
        let known = Checkpoint {
            recovery_point: Offset(50),
            high_watermark: Offset(40),
            log_start: Offset(30),
        };
        let (there, gone): (Name, Name) = ((Arc::from("orders"), 0), (Arc::from("orders"), 1));
        let before = load();
        before.set(there.clone(), known);
        before.set(gone.clone(), known);
        before.write().unwrap();
        let found = look(&disk, std::iter::once(dir)).unwrap();
        assert_eq!(found.logs.len(), 1);
        assert_eq!(found.logs[0].from.checkpoint, Some(known));
        let after = load();
        assert_eq!((after.get(&there), after.get(&gone)), (Some(known), None));
    }

    #[test]
    fn only_partition_directories_are_logs() {
        assert_eq!(log_name("orders-0"), Some(("orders", 0)));
        assert_eq!(log_name("a-b-12"), Some(("a-b", 12)));
        assert_eq!(
            log_name("orders--1"),
            Some(("orders-", 1)),
            "a name may end in a dash"
        );
        for other in [
            "meta.properties",
            "__cluster_metadata-0",
            "orders-0-stray",
            "-1",
            "x.0a-delete",
        ] {
            assert_eq!(log_name(other), None, "{other}");
        }
    }
}
