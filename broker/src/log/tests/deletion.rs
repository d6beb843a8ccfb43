//! Retention, deletion and setting aside, also in the middle of reads and rounds.

use super::*;
use crate::rt::recorder::{Recorder, Survives};

fn filled(rig: &Rig, batches: i64) {
    for n in 0..batches {
        rig.append(batch_at(NOW - 10_000_000 + n, 3, 100)).unwrap();
    }
}

#[test]
fn retention_moves_the_log_start_first_and_then_removes_files() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            retention_bytes: Some(6000),
            ..small()
        });
        filled(&rig, 60);
        assert!(
            rig.with(|log| log.retention(NOW)).is_none(),
            "nothing above the high watermark"
        );
        rig.sync().await;
        let before = rig.files(".log").len();
        let job = rig.with(|log| log.retention(NOW)).unwrap();
        let start = job.log_start().0;
        assert!(start > 0);
        assert_eq!(rig.with(|log| log.offsets().log_start.0), start);
        assert!(matches!(
            rig.read(start - 1, 100).await,
            Err(ReadError::OutOfRange { .. })
        ));
        assert_eq!(rig.files(".log").len(), before);
        let checkpoints = rig.checkpoints();
        job.run(&checkpoints).await.unwrap();
        assert!(rig.files(".log").len() < before);
        assert_eq!(rig.files(".deleted").len(), 0);
        assert_eq!(checkpoints.get(&name().key()).unwrap().log_start.0, start);
        assert_eq!(stored_as(&rig.read_all(start, 1 << 20).await[0]).0, start);
        assert!(rig.with(|log| log.size()) >= 6000);
        let checkpoint = rig.close().await;
        rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!(rig.with(|log| log.offsets().log_start.0), start);
    });
}

#[test]
fn age_reaches_the_active_segment_too() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            retention_ms: Some(3_600_000),
            ..small()
        });
        filled(&rig, 10);
        rig.sync().await;
        while let Some(job) = {
            let job = rig.with(|log| log.retention(NOW));
            rig.sync().await;
            job.or_else(|| rig.with(|log| log.retention(NOW)))
        } {
            job.run(&rig.checkpoints()).await.unwrap();
        }
        let offsets = rig.with(|log| log.offsets());
        assert_eq!((offsets.log_start, offsets.log_end), (Offset(30), Offset(30)));
        assert_eq!(rig.append(batch(1, 1)).unwrap().base_offset, Offset(30));
        rig.sync().await;
        assert_eq!(rig.read_all(30, 100).await.len(), 1);
    });
}

#[test]
fn a_log_start_set_from_outside_lets_segments_go() {
    on_engines(|| async {
        let rig = Rig::new(small());
        filled(&rig, 60);
        rig.sync().await;
        assert!(rig.with(|log| log.set_log_start(Offset(100))));
        let job = rig.with(|log| log.retention(NOW)).unwrap();
        job.run(&rig.checkpoints()).await.unwrap();
        assert_eq!(
            rig.with(|log| log.offsets().log_start),
            Offset(100),
            "not only at a segment's start"
        );
        let checkpoint = rig.close().await;
        rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!(rig.with(|log| log.offsets().log_start), Offset(100));
        assert!(matches!(
            rig.read(99, 100).await,
            Err(ReadError::OutOfRange { .. })
        ));
        assert_eq!(
            stored_as(&rig.read(100, 100).await.unwrap()).0,
            99,
            "the batch that holds it"
        );
    });
}

#[test]
fn a_read_planned_before_the_deletion_reads_or_says_that_it_is_gone() {
    on_engines(|| async {
        let rig = Rig {
            budget: TailBudget::new(0),
            ..Rig::new(LogConfig {
                retention_bytes: Some(0),
                ..small()
            })
        };
        rig.recover(true, None).unwrap();
        filled(&rig, 60);
        rig.sync().await;
        let plan = |rig: &Rig| match rig
            .with(|log| log.read(Offset(0), 1 << 20, Offset(180), true))
            .unwrap()
        {
            ReadPlan::Cold(job) => job,
            plan => panic!("{plan:?}"),
        };
        let late = plan(&rig);
        let running = rt::spawn(plan(&rig).run());
        let job = rig.with(|log| log.retention(NOW)).unwrap();
        job.run(&rig.checkpoints()).await.unwrap();
        match running.await {
            Ok(bytes) => assert!(!bytes.is_empty()),
            Err(error) => assert!(matches!(error, ReadError::Vanished), "{error}"),
        }
        assert!(matches!(late.run().await, Err(ReadError::Vanished)));
        rig.append(batch(1, 1)).unwrap();
        rig.sync().await;
    });
}

#[test]
fn a_deleted_partition_waits_for_its_jobs_and_frees_its_name() {
    on_engines(|| async {
        let rig = Rig::new(small());
        filled(&rig, 20);
        let checkpoints = rig.checkpoints();
        checkpoints.set(name().key(), rig.checkpoint_at(60));
        let job = rig.with(Log::begin_round).unwrap();
        let log = rig.log.replace(None).unwrap();
        let deletion = log.delete();
        let renaming = rt::spawn({
            let checkpoints = checkpoints.clone();
            async move { deletion.rename(&checkpoints).await }
        });
        rt::yield_now().await;
        assert!(rig.dir().exists(), "a round is using it");
        let _ = job.run().await;
        let unlink = renaming.await.unwrap();
        assert!(!rig.dir().exists());
        assert_eq!(checkpoints.get(&name().key()), None);
        assert_eq!(files_in(&rig.root, "-delete").len(), 1);
        // The same name again, while the old files are still there.
        rig.recover(false, None).unwrap();
        assert_eq!(rig.append(batch(1, 1)).unwrap().base_offset, Offset(0));
        rig.sync().await;
        unlink.run().await.unwrap();
        assert_eq!(files_in(&rig.root, "-delete").len(), 0);
        assert_eq!(rig.read_all(0, 100).await.len(), 1);
    });
}

#[test]
fn leftovers_of_a_crash_are_removed_at_the_next_start() {
    on_engines(|| async {
        let rig = Rig::new(small());
        filled(&rig, 3);
        let checkpoint = rig.close().await;
        for leftover in [
            "00000000000000000000.log.deleted",
            "00000000000000000099.index",
            "leader-epoch-checkpoint.tmp",
        ] {
            std::fs::write(rig.dir().join(leftover), "x").unwrap();
        }
        let report = rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!(report.leftovers, 3);
        assert_eq!(rig.end(), 9);
        let gone = format::deleted_directory_name("orders", 1, [1; 16]);
        std::fs::create_dir(rig.root.join(&gone)).unwrap();
        std::fs::create_dir(rig.root.join("soft-delete")).unwrap();
        assert_eq!(clean_leftovers(&rig.disk, &rig.root).unwrap(), 1);
        assert!(rig.root.join("soft-delete").exists() && !rig.root.join(gone).exists());
    });
}

#[test]
fn strays_are_out_of_the_way_for_good_and_so_is_what_was_known_of_them() {
    let recorder = Arc::new(Recorder::in_memory());
    let disk = Disk::simulated(recorder.clone());
    let root = PathBuf::from("/data");
    let segment = format::file_name(Offset::ZERO, format::LOG);
    let load = || DirectoryCheckpoints::load(&disk, &root, |error| panic!("{error}")).unwrap();
    let lies_there = |partition: i32, unique: u8, blank: bool| {
        let name = LogName { partition, ..name() };
        let dir = root.join(name.directory());
        disk.create_dir_all(&dir).unwrap();
        disk.write_atomic(dir.join(&segment), &[unique]).unwrap();
        let aside = match blank {
            true => format::deleted_directory_name(&name.topic, partition, [unique; 16]),
            false => format::stray_directory_name(&name.topic, partition, [unique; 16]),
        };
        let aside = root.join(aside);
        Stray {
            name,
            dir,
            aside,
            blank,
        }
    };
    disk.create_dir_all(&root).unwrap();
    // One of the same name came and went before.
    for unique in [1, 2] {
        let strays = [lies_there(7, unique, false), lies_there(8, unique, true)];
        let checkpoints = load();
        for stray in &strays {
            let known = Checkpoint {
                recovery_point: Offset(50),
                high_watermark: Offset(40),
                log_start: Offset(30),
            };
            checkpoints.set(stray.name.key(), known);
        }
        checkpoints.write().unwrap();
        set_aside(&disk, &checkpoints, &strays).unwrap();
        recorder.power_cut(Survives::Synced);
        let left = load();
        for stray in &strays {
            assert_eq!(left.get(&stray.name.key()), None, "{:?}", stray.name);
            assert!(!disk.exists(&stray.dir), "{:?}", stray.name);
        }
        assert_eq!(disk.read(strays[0].aside.join(&segment)).unwrap(), [unique]);
    }
    clean_leftovers(&disk, &root).unwrap();
    let mut left = disk.read_dir(&root).unwrap();
    left.retain(|name| name.starts_with("orders"));
    let kept = [1, 2].map(|unique| format::stray_directory_name("orders", 7, [unique; 16]));
    assert_eq!(left, kept, "both are kept, and nothing of the blank ones");
}
