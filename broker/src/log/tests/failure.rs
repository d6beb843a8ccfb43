//! Disks that fail, and disks that are full.

use super::*;
use crate::rt::recorder::Recorder;

struct Recorded {
    _dir: tempfile::TempDir,
    recorder: Arc<Recorder>,
    rig: Rig,
}

fn recorded(config: LogConfig) -> Recorded {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    std::fs::create_dir(&root).unwrap();
    let recorder = Arc::new(Recorder::new(&root, dir.path().join("shadow")).unwrap());
    let rig = Rig::at(root, Disk::recorded(recorder.clone()), config).opened();
    Recorded {
        _dir: dir,
        recorder,
        rig,
    }
}

async fn round(rig: &Rig) -> Result<LogOffsets, RoundError> {
    let done = rig.with(Log::begin_round).unwrap().run().await;
    rig.with(|log| log.finish_round(done))
}

#[test]
fn a_failed_sync_poisons_the_log_for_good() {
    on_engines(|| async {
        let Recorded { recorder, rig, .. } = &recorded(small());
        rig.append(batch(1, 10)).unwrap();
        rig.sync().await;
        rig.append(batch(1, 10)).unwrap();
        recorder.fail_syncs_of(Some(".log"));
        assert!(matches!(round(rig).await, Err(RoundError::Failed(_))));
        recorder.fail_syncs_of(None);
        assert!(rig.with(|log| log.failed().is_some()));
        assert!(matches!(rig.append(batch(1, 10)), Err(AppendError::Failed(_))));
        assert!(rig.with(Log::begin_round).is_none(), "it is never tried again");
        assert_eq!(rig.with(|log| log.offsets().synced), Offset(1));
        assert_eq!(
            rig.read_all(0, 1000).await.len(),
            1,
            "what was synced can still be read"
        );
    });
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    on_engines(|| async {
        let Recorded { recorder, rig, .. } = &recorded(small());
        for part in [".log", ".index", ".snapshot"] {
            recorder.fail_writes_of(Some(part));
            let before = rig.with(|log| log.offsets().synced);
            let mut refused = false;
            for _ in 0..40 {
                if rig.append(batch(1, 300)).is_err() {
                    refused = true;
                    break;
                }
                match rig.with(Log::begin_round) {
                    None => {}
                    Some(job) => {
                        let done = job.run().await;
                        match rig.with(|log| log.finish_round(done)) {
                            Ok(_) => {}
                            Err(RoundError::DiskFull(_)) => assert!(rig.with(|log| log.disk_full())),
                            Err(error) => panic!("{part}: {error}"),
                        }
                    }
                }
            }
            assert!(refused, "{part}");
            assert!(matches!(rig.append(batch(1, 300)), Err(AppendError::DiskFull)));
            let ready = rig.with(|log| log.ready());
            assert!(ready >= before);
            rig.with(|log| log.set_high_watermark(ready));
            assert_eq!(
                rig.read_all(0, 1000).await.len() as i64,
                ready.0,
                "{part}: consumers go on"
            );
            recorder.fail_writes_of(None);
            rig.sync().await;
            rig.append(batch(1, 300)).unwrap();
            rig.sync().await;
        }
        let end = rig.end();
        assert_eq!(
            rig.read_all(0, 1000).await.len() as i64,
            end,
            "everything accepted is there, once"
        );
        let checkpoint = rig.close().await;
        let report = rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!((report.rebuilt_indexes, rig.end()), (0, end));
        super::reads::check_indexes(rig);
    });
}

#[test]
fn promises_are_kept_and_an_early_one_is_noticed() {
    on_engines(|| async {
        let Recorded { recorder, rig, .. } = &recorded(small());
        for _ in 0..40 {
            let appended = rig.append(batch(2, 200)).unwrap();
            rig.sync().await;
            rig.with(|log| log.promise(appended.last_offset + 1));
        }
        assert_eq!((recorder.promises(), recorder.violations()), (40, vec![]));
        let appended = rig.append(batch(2, 200)).unwrap();
        rig.with(|log| log.promise(appended.last_offset + 1));
        assert_eq!(recorder.violations().len(), 1);
    });
}

#[test]
fn a_cache_without_descriptors_gives_up_older_files_or_waits() {
    on_engines(|| async {
        let Recorded { recorder, rig, .. } = &recorded(small());
        let cache = HandleCache::new(&rig.disk, 16);
        let open = |name: &str| {
            let (cache, key, path) = (cache.clone(), cache.new_key(), rig.root.join(name));
            async move { cache.get(key, &path, true).await }
        };
        let used = open("a").await.unwrap();
        drop(open("b").await.unwrap());
        recorder.refuse_opens(1);
        let third = open("c").await.expect("room was made");
        assert_eq!(cache.open_files(), 2, "b was closed for c, and the limit stays");
        let waiting = crate::rt::spawn(open("d"));
        crate::rt::yield_now().await;
        drop(used);
        let fourth = waiting.await.expect("a came free");
        drop((third, fourth));
        let empty = HandleCache::new(&rig.disk, 16);
        recorder.refuse_opens(1);
        let refused = empty.get(empty.new_key(), &rig.root.join("e"), true).await;
        assert!(
            crate::rt::file::out_of_files(&refused.err().expect("nothing to give")),
            "said as what it is"
        );
    });
}
