//! The recorder's model: what a power cut leaves.

use super::{engines, run};
use crate::rt::file::{Disk, OpenOptions};
use crate::rt::recorder::{Recorder, Survives};
use crate::rt::{self};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const WRITE: OpenOptions = OpenOptions {
    create: true,
    write: true,
};

struct Rig {
    _dir: tempfile::TempDir,
    recorder: Arc<Recorder>,
    disk: Disk,
    root: PathBuf,
}

/// A recorded disk whose root holds `old`, with content "old", from before.
fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("old"), "old").unwrap();
    let recorder = Arc::new(Recorder::new(&root, dir.path().join("shadow")).unwrap());
    Rig {
        _dir: dir,
        disk: Disk::recorded(recorder.clone()),
        recorder,
        root,
    }
}

impl Rig {
    /// What a power cut leaves of `name`.
    fn after_cut(&self, name: &str) -> Option<String> {
        let shadow = self.recorder.freeze(Survives::Synced).unwrap();
        std::fs::read(shadow.join(name))
            .ok()
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether a promise about `name` up to `end` would be kept now.
    fn keeps(&self, name: &str, end: u64) -> bool {
        let before = self.recorder.violations().len();
        self.disk.promise(&self.at(name), end);
        self.recorder.violations().len() == before
    }
}

#[test]
fn bytes_are_lost_without_a_sync_and_kept_with_one() {
    let rig = rig();
    let file = rig.disk.open_blocking(rig.at("old"), WRITE).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"UN", 0).unwrap();
    file.write_all_at(b" and more", 6).unwrap();
    assert!(
        !rig.keeps("old", 6),
        "the first bytes were written over and not synced"
    );
    assert_eq!(rig.after_cut("old").as_deref(), Some("synced"));
    assert_eq!(
        std::fs::read(rig.at("old")).unwrap(),
        b"UNnced and more",
        "the real file has it all"
    );
}

#[test]
fn a_new_file_is_lost_without_a_sync_of_its_directory() {
    let rig = rig();
    let file = rig.disk.open_blocking(rig.at("new"), WRITE).unwrap();
    file.write_all_at(b"data", 0).unwrap();
    file.sync_all().unwrap();
    assert!(!rig.keeps("new", 4));
    rig.disk.sync_dir(&rig.root).unwrap();
    assert!(rig.keeps("new", 4));
    assert!(!rig.keeps("new", 5), "more than there is");
    assert_eq!(rig.after_cut("new").as_deref(), Some("data"));
    assert_eq!(rig.recorder.promises(), 3);
}

#[test]
fn the_cut_before_the_directory_sync_takes_the_new_file() {
    let rig = rig();
    let file = rig.disk.open_blocking(rig.at("new"), WRITE).unwrap();
    file.write_all_at(b"data", 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(rig.after_cut("new"), None);
    rig.disk.sync_dir(&rig.root).unwrap();
    assert_eq!(
        rig.after_cut("new"),
        None,
        "what completes after the cut is too late"
    );
}

#[test]
fn a_rename_or_removal_without_a_directory_sync_did_not_happen() {
    let rig = rig();
    rig.disk.rename(rig.at("old"), rig.at("moved")).unwrap();
    assert_eq!(
        (rig.after_cut("old").as_deref(), rig.after_cut("moved")),
        (Some("old"), None)
    );

    let rig = self::rig();
    rig.disk.remove_file(rig.at("old")).unwrap();
    assert_eq!(rig.after_cut("old").as_deref(), Some("old"));

    let rig = self::rig();
    rig.disk.rename(rig.at("old"), rig.at("moved")).unwrap();
    rig.disk.sync_dir(&rig.root).unwrap();
    assert_eq!(
        (rig.after_cut("old"), rig.after_cut("moved").as_deref()),
        (None, Some("old"))
    );
}

#[test]
fn atomic_replacement_is_durable_when_it_returns() {
    let rig = rig();
    rig.disk.write_atomic(rig.at("old"), b"replaced").unwrap();
    assert!(rig.keeps("old", 8));
    assert_eq!(rig.after_cut("old").as_deref(), Some("replaced"));
}

#[test]
fn directories_are_durable_when_created_and_their_files_when_synced() {
    let rig = rig();
    rig.disk.create_dir_all(rig.at("a/b")).unwrap();
    let file = rig.disk.open_blocking(rig.at("a/b/c"), WRITE).unwrap();
    file.write_all_at(b"c", 0).unwrap();
    file.sync_data().unwrap();
    rig.disk.sync_dir(rig.at("a/b")).unwrap();
    rig.disk.rename(rig.at("a"), rig.at("z")).unwrap();
    assert!(!rig.keeps("z/b/c", 1), "the parent's new name is not durable");
    rig.disk.sync_dir(&rig.root).unwrap();
    assert!(rig.keeps("z/b/c", 1));
    rig.disk.remove_dir_all(rig.at("z")).unwrap();
    assert_eq!(
        rig.after_cut("z/b/c").as_deref(),
        Some("c"),
        "the removal was not synced"
    );
}

#[test]
fn cutting_a_file_is_durable_when_synced() {
    let rig = rig();
    let file = rig.disk.open_blocking(rig.at("old"), WRITE).unwrap();
    file.set_len(1).unwrap();
    assert!(rig.keeps("old", 1) && !rig.keeps("old", 2));
    assert_eq!(rig.recorder.durable_bytes(&rig.at("old")).unwrap(), b"old");
    file.sync_data().unwrap();
    assert_eq!(rig.after_cut("old").as_deref(), Some("o"));
}

#[test]
fn a_sync_covers_only_what_was_written_before_it_was_issued() {
    for engine in engines() {
        let rig = Arc::new(rig());
        let shared = rig.clone();
        run(engine, 1, move |_| {
            let rig = shared.clone();
            async move {
                let file = rig.disk.open(rig.at("old"), WRITE).await.unwrap();
                file.write_at(b"one".to_vec(), 0).await.unwrap();
                rig.recorder.hold_syncs();
                let syncing = rt::spawn({
                    let file = file.clone();
                    async move { file.sync_data().await }
                });
                rt::yield_now().await;
                file.write_at(b"two".to_vec(), 3).await.unwrap();
                assert!(
                    rt::timeout(Duration::from_millis(20), syncing_is(&syncing))
                        .await
                        .is_err()
                );
                assert!(!rig.keeps("old", 3), "held: not durable yet");
                rig.recorder.release_syncs();
                syncing.await.unwrap();
                assert!(rig.keeps("old", 3) && !rig.keeps("old", 6));
                file.sync_data().await.unwrap();
                assert!(rig.keeps("old", 6));
            }
        });
        assert_eq!(rig.after_cut("old").as_deref(), Some("onetwo"), "{engine}");
    }
}

/// Ends once the task has.
async fn syncing_is<T>(task: &rt::Task<T>) {
    while !task.is_finished() {
        rt::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn failed_syncs_and_writes_are_reported_and_change_nothing() {
    for engine in engines() {
        let rig = Arc::new(rig());
        let shared = rig.clone();
        run(engine, 1, move |_| {
            let rig = shared.clone();
            async move {
                let file = rig.disk.open(rig.at("old"), WRITE).await.unwrap();
                file.write_at(b"new".to_vec(), 0).await.unwrap();
                rig.recorder.fail_syncs_of(Some("old"));
                assert_eq!(
                    file.sync_data().await.unwrap_err().raw_os_error(),
                    Some(libc::EIO)
                );
                rig.recorder.fail_syncs_of(None);
                rig.recorder.fail_writes_of(Some("old"));
                let error = file.write_at(b"x".to_vec(), 0).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
            }
        });
        assert_eq!(rig.after_cut("old").as_deref(), Some("old"), "{engine}");
    }
}

#[test]
fn a_kinder_power_cut_leaves_some_of_the_unsynced_and_all_of_the_synced() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 1..40 {
        let rig = rig();
        let file = rig.disk.open_blocking(rig.at("old"), WRITE).unwrap();
        file.write_all_at(b"synced", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"1234", 6).unwrap();
        file.write_all_at(b"5678", 10).unwrap();
        let shadow = rig.recorder.freeze(Survives::Some { seed }).unwrap();
        let left = std::fs::read(shadow.join("old")).unwrap();
        assert!(
            left.starts_with(b"synced") && left.len() <= 14,
            "seed {seed}: {left:?}"
        );
        outcomes.insert(left);
    }
    assert!(outcomes.len() > 5, "{outcomes:?}");
}
