//! What a start makes of files after a crash: torn tails are cut, damage is kept and refused, nothing promised is lost.

use super::reads::check_indexes;
use super::*;
use crate::rt::recorder::{Recorder, Survives};

/// Writes a log of five synced batches of three records and stops without closing.
async fn five_batches(size: usize) -> (Rig, Vec<Bytes>) {
    let rig = Rig::new(LogConfig {
        segment_bytes: 1 << 20,
        ..small()
    });
    for _ in 0..5 {
        rig.append(batch(3, size)).unwrap();
    }
    rig.sync().await;
    let stored = rig.read_all(0, 1 << 20).await;
    (rig, stored)
}

fn change(rig: &Rig, act: impl FnOnce(&mut Vec<u8>)) {
    let path = rig.files(".log").pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    act(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

async fn survivors(rig: &Rig) -> Vec<Bytes> {
    let end = Offset(rig.end());
    rig.with(|log| log.set_high_watermark(end));
    rig.read_all(0, 1 << 20).await
}

#[test]
fn a_tail_cut_at_any_byte_loses_that_batch_only() {
    on_engines(|| async {
        let (rig, stored) = five_batches(20).await;
        let whole = stored.concat();
        let before = whole.len() - stored[4].len();
        for len in before..whole.len() {
            change(&rig, |bytes| {
                bytes.clear();
                bytes.extend_from_slice(&whole[..len]);
            });
            let report = rig.crash(0);
            assert_eq!(report.damage, [], "cut at {len}");
            assert_eq!(report.cut_bytes, (len - before) as u64);
            assert_eq!(survivors(&rig).await, stored[..4], "cut at {len}");
            assert_eq!(
                Disk::real().len(rig.files(".log").pop().unwrap()).unwrap(),
                before as u64
            );
        }
        rig.append(batch(1, 5)).unwrap();
        rig.sync().await;
        assert_eq!(rig.end(), 13, "the log goes on where it was cut");
        rig.close().await;
        check_indexes(&rig);
    });
}

#[test]
fn zeros_and_garbage_behind_the_last_batch_are_cut() {
    on_engines(|| async {
        let (rig, stored) = five_batches(20).await;
        let garbage: Vec<u8> = (0..5000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let half = &stored[4][..stored[4].len() / 2];
        let tails: [&[u8]; 5] = [&[0; 1], &[0; 4096], &garbage, half, &[half, &[0; 700]].concat()];
        for tail in tails {
            change(&rig, |bytes| bytes.extend_from_slice(tail));
            let report = rig.crash(0);
            assert_eq!((report.cut_bytes, report.damage.len()), (tail.len() as u64, 0));
            assert_eq!(survivors(&rig).await, stored);
        }
        // An old batch again behind the newest: its offsets are not due, so it is no record of this log.
        change(&rig, |bytes| bytes.extend_from_slice(&stored[0]));
        assert_eq!(rig.crash(0).cut_bytes, stored[0].len() as u64);
        assert_eq!(survivors(&rig).await, stored);
    });
}

#[test]
fn a_turned_bit_of_a_base_offset_is_put_right_and_missing_offsets_are_said_to_be() {
    on_engines(|| async {
        for turned in 0..5 {
            for bit in [0, 3, 17, 40, 62] {
                let (rig, stored) = five_batches(20).await;
                let whole = stored.concat();
                let at: usize = stored[..turned].iter().map(Bytes::len).sum();
                change(&rig, |bytes| bytes[at + 7 - bit / 8] ^= 1 << (bit % 8));
                let report = rig.crash(0);
                assert_eq!(report.damage, [], "bit {bit} of batch {turned}");
                assert_eq!((report.cut_bytes, report.warnings.len()), (0, 1), "{report:?}");
                let file = std::fs::read(rig.files(".log").pop().unwrap()).unwrap();
                assert!(file == whole, "bit {bit} of batch {turned}");
                assert_eq!(survivors(&rig).await, stored);
            }
        }
        // A batch is gone, and those around it are whole: nothing is renumbered.
        let (rig, stored) = five_batches(20).await;
        change(&rig, |bytes| {
            let from = stored[0].len();
            bytes.drain(from..from + stored[1].len());
        });
        let report = rig.crash(0);
        let ranges: Vec<_> = report
            .damage
            .iter()
            .map(|found| (found.from.0, found.to.0))
            .collect();
        assert_eq!((ranges, report.cut_bytes, rig.end()), (vec![(3, 6)], 0, 15));
        rig.with(|log| log.set_high_watermark(Offset(15)));
        assert!(matches!(
            rig.read(3, 1 << 20).await,
            Err(ReadError::Corrupt { .. })
        ));
        assert_eq!(rig.read(6, 1 << 20).await.unwrap(), stored[2..].concat());
    });
}

#[test]
fn a_base_offset_that_turned_while_the_log_is_open_is_refused_where_it_stands() {
    on_engines(|| async {
        for bit in [0, 3, 40] {
            let (rig, stored) = five_batches(20).await;
            let checkpoint = rig.close().await;
            rig.recover(true, Some(checkpoint)).unwrap();
            rig.with(|log| log.set_high_watermark(Offset(15)));
            let at = stored[0].len() + stored[1].len();
            change(&rig, |bytes| bytes[at + 7 - bit / 8] ^= 1 << (bit % 8));
            assert_eq!(
                rig.read(0, 1 << 20).await.unwrap(),
                stored[..2].concat(),
                "bit {bit}"
            );
            let refused = rig.read(6, 1 << 20).await.unwrap_err();
            assert!(
                matches!(refused, ReadError::Corrupt { at, .. } if at.0 == 6),
                "{refused}"
            );
        }
    });
}

#[test]
fn a_flipped_bit_in_the_middle_is_kept_reported_and_refused() {
    on_engines(|| async {
        for (recovery_point, clean) in [(0, false), (9, false), (15, false), (15, true)] {
            let (rig, stored) = five_batches(20).await;
            let at = stored[0].len() + stored[1].len() + 70;
            change(&rig, |bytes| bytes[at] ^= 4);
            let before = std::fs::read(rig.files(".log").pop().unwrap()).unwrap();
            let report = rig
                .recover(clean, Some(rig.checkpoint_at(recovery_point)))
                .unwrap();
            assert_eq!(report.cut_bytes, 0);
            assert_eq!(rig.end(), 15, "recovery point {recovery_point}");
            if recovery_point == 0 {
                let ranges: Vec<_> = report
                    .damage
                    .iter()
                    .map(|damage| (damage.from.0, damage.to.0))
                    .collect();
                assert_eq!(ranges, [(6, 9)]);
            }
            rig.with(|log| log.set_high_watermark(Offset(15)));
            let read = rig.read(0, 1 << 20).await.unwrap();
            assert_eq!(read, stored[..2].concat(), "what is before it can be read");
            for offset in 6..9 {
                let refused = rig.read(offset, 1 << 20).await.unwrap_err();
                assert!(
                    matches!(refused, ReadError::Corrupt { at, .. } if at.0 == offset),
                    "{refused}"
                );
            }
            assert_eq!(
                rig.read(9, 1 << 20).await.unwrap(),
                stored[3..].concat(),
                "and what is behind it"
            );
            assert_eq!(
                std::fs::read(rig.files(".log").pop().unwrap()).unwrap(),
                before,
                "nothing was cut"
            );
            rig.append(batch(1, 5)).unwrap();
            rig.sync().await;
            assert_eq!(rig.end(), 16);
        }
    });
}

#[test]
fn a_hole_of_zeros_is_a_torn_write_unless_it_was_promised() {
    on_engines(|| async {
        let lose = |rig: &Rig, stored: &[Bytes]| {
            let start = (stored[0].len() + stored[1].len() + 100).next_multiple_of(512);
            change(rig, |bytes| bytes[start..start + 1024].fill(0));
        };
        let (rig, stored) = five_batches(1000).await;
        lose(&rig, &stored);
        let report = rig.crash(6);
        assert!(report.cut_bytes > 0 && report.damage.is_empty(), "{report:?}");
        assert_eq!(survivors(&rig).await, stored[..2]);

        let (rig, stored) = five_batches(1000).await;
        lose(&rig, &stored);
        let report = rig.crash(15);
        assert_eq!(report.cut_bytes, 0, "below the recovery point nothing is cut");
        assert_eq!(rig.end(), 15);

        // Another round came after it, so it had been synced: rot, although it looks like a lost write.
        let rig = Rig::new(LogConfig {
            segment_bytes: 1 << 30,
            ..small()
        });
        for _ in 0..3 {
            rig.append(batch(3, 1000)).unwrap();
        }
        rig.sync().await;
        let stored = rig.read_all(0, 1 << 20).await;
        for _ in 0..3 {
            rig.append(batch(1, 500_000)).unwrap();
            rig.sync().await;
        }
        lose(&rig, &stored);
        let report = rig.crash(0);
        assert_eq!(report.cut_bytes, 0);
        assert_eq!(report.damage.len(), 1);
        assert_eq!(rig.end(), 12);
    });
}

#[test]
fn offsets_that_were_promised_and_lost_are_not_given_again() {
    on_engines(|| async {
        let (rig, stored) = five_batches(20).await;
        change(&rig, |bytes| bytes.truncate(stored[0].len() + 5));
        let report = rig.crash(15);
        assert_eq!(
            (report.damage[0].from, report.damage[0].to),
            (Offset(3), Offset(15))
        );
        let appended = rig.append(batch(1, 5)).unwrap();
        assert_eq!(appended.base_offset, Offset(15));
        rig.sync().await;
        assert_eq!(rig.read(0, 1 << 20).await.unwrap(), stored[0]);
        assert!(matches!(
            rig.read(3, 1 << 20).await,
            Err(ReadError::Corrupt { .. })
        ));
        assert_eq!(stored_as(&rig.read(15, 1 << 20).await.unwrap()), (15, 15, 3));
        let report = rig.crash(16);
        assert_eq!(rig.end(), 16, "{report:?}");
        rig.with(|log| log.set_high_watermark(Offset(16)));
        assert!(matches!(
            rig.read(3, 1 << 20).await,
            Err(ReadError::Corrupt { .. })
        ));

        // Cut exactly between two batches: as bad, and harder to see.
        let (rig, stored) = five_batches(20).await;
        change(&rig, |bytes| bytes.truncate(stored[0].len()));
        let report = rig.crash(15);
        assert_eq!(
            (report.damage[0].from, report.damage[0].to),
            (Offset(3), Offset(15))
        );
        assert_eq!(rig.append(batch(1, 5)).unwrap().base_offset, Offset(15));
        let checkpoint = rig.close().await;
        rig.recover(true, Some(checkpoint)).unwrap();
        for offset in [3, 14] {
            let refused = rig.read(offset, 1 << 20).await;
            assert!(
                matches!(refused, Err(ReadError::Corrupt { .. })),
                "found again at every read"
            );
        }
    });
}

#[test]
fn indexes_that_are_gone_or_wrong_are_rebuilt_as_they_were() {
    on_engines(|| async {
        let rig = Rig::new(small());
        for n in 0..60 {
            rig.append(batch_at(NOW + n, 3, 100)).unwrap();
        }
        let checkpoint = rig.close().await;
        let files = [rig.files(".index"), rig.files(".timeindex")].concat();
        let before: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for clean in [true, false] {
            for act in 0..4 {
                for path in &files {
                    let mut bytes = std::fs::read(path).unwrap();
                    match act {
                        0 => std::fs::remove_file(path).unwrap(),
                        1 => std::fs::write(path, &bytes[..bytes.len() - 3]).unwrap(),
                        2 => std::fs::write(path, vec![0; bytes.len()]).unwrap(),
                        _ => {
                            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                            std::fs::write(path, bytes).unwrap();
                        }
                    }
                }
                let checkpoint = if clean { checkpoint } else { rig.checkpoint_at(0) };
                let report = rig.recover(clean, Some(checkpoint)).unwrap();
                assert_eq!((report.damage.len(), report.cut_bytes), (0, 0));
                rig.close().await;
                for (path, before) in files.iter().zip(&before) {
                    assert_eq!(
                        &std::fs::read(path).unwrap(),
                        before,
                        "{} clean {clean} act {act}",
                        path.display()
                    );
                }
                assert_eq!(survivors(&rig).await.len(), 60);
            }
        }
    });
}

#[test]
fn a_clean_start_reads_next_to_nothing_and_a_crash_only_from_the_recovery_point() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            segment_bytes: 1 << 20,
            retention_ms: None,
            ..LogConfig::default()
        });
        for _ in 0..300 {
            rig.append(batch(1, 10_000)).unwrap();
        }
        let checkpoint = rig.close().await;
        let report = rig.recover(true, Some(checkpoint)).unwrap();
        assert!(report.scanned_bytes < 300_000, "{report:?}");
        let report = rig.crash(290);
        assert!(report.scanned_bytes < 600_000, "{report:?}");
        assert_eq!(rig.end(), 300);
    });
}

/// Where an epoch began decides where followers cut (KIP-101), also when no checkpoint has put it down and its first record
/// lies in a segment that is not read again: after a cut, and after a crash beside a checkpoint.
#[test]
fn epochs_that_no_checkpoint_has_are_found_where_they_began() {
    on_engines(|| async {
        let led = |from: i32, to: i32| async move {
            let rig = Rig::new(small()).opened();
            for epoch in from..=to {
                for _ in 0..30 {
                    rig.with(|log| log.append(batch(3, 100), LeaderEpoch(epoch), NOW))
                        .unwrap();
                    rig.sync().await;
                }
            }
            rig
        };
        let wanted: Vec<_> = [(1, 0), (2, 90), (3, 180)]
            .map(|(epoch, start)| (LeaderEpoch(epoch), Offset(start)))
            .into();
        let rig = led(1, 3).await;
        let job = rig.with(|log| log.truncate_to(Offset(264), NOW)).unwrap();
        let done = job.run().await;
        rig.with(|log| log.finish_truncation(done)).unwrap();
        assert_eq!(rig.with(|log| log.epochs().entries().to_vec()), wanted);

        let rig = led(1, 1).await;
        let job = rig.with(Log::checkpoint).unwrap();
        for epoch in 2..=3 {
            for _ in 0..30 {
                rig.with(|log| log.append(batch(3, 100), LeaderEpoch(epoch), NOW))
                    .unwrap();
                rig.sync().await;
            }
        }
        let done = job.run().await;
        let told = rig.with(|log| log.finish_checkpoint(done)).unwrap();
        let point = told.recovery_point;
        assert!(
            point <= Offset(90),
            "{point}: what comes after offset 90 has epochs that are owed"
        );
        rig.recover(false, Some(told)).unwrap();
        assert_eq!(rig.with(|log| log.epochs().entries().to_vec()), wanted);
        let job = rig.with(Log::checkpoint).unwrap();
        let done = job.run().await;
        let told = rig.with(|log| log.finish_checkpoint(done)).unwrap();
        assert_eq!(told.recovery_point, Offset(270), "nothing is owed any more");
    });
}

/// What nobody touched is closed without a file operation: of ten thousand partitions most are idle.
#[test]
fn closing_what_did_not_change_writes_nothing() {
    on_engines(|| async {
        let rig = Rig::new(small()).opened();
        let names = |rig: &Rig| Disk::real().read_dir(rig.dir()).unwrap();
        let made = names(&rig);
        // An election, and no record.
        rig.with(|log| log.begin_epoch(LeaderEpoch(7)));
        let checkpoint = rig.close().await;
        assert_eq!(names(&rig), made, "an empty log needs neither indexes nor epochs");
        rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!(names(&rig), made);

        rig.append(batch(3, 100)).unwrap();
        let checkpoint = rig.close().await;
        let times = |rig: &Rig| -> Vec<_> {
            let changed = |name: &String| {
                std::fs::metadata(rig.dir().join(name))
                    .unwrap()
                    .modified()
                    .unwrap()
            };
            names(rig)
                .iter()
                .map(|name| (name.clone(), changed(name)))
                .collect()
        };
        let before = times(&rig);
        rig.recover(true, Some(checkpoint)).unwrap();
        rig.with(|log| log.begin_epoch(LeaderEpoch(8)));
        rig.close().await;
        assert_eq!(times(&rig), before);
    });
}

#[test]
fn a_directory_of_another_topic_is_refused_in_words() {
    on_engines(|| async {
        let rig = Rig::new(small());
        let other = LogName {
            topic_id: TopicId([8; 16]),
            ..name()
        };
        let from = RecoverFrom {
            clean: true,
            checkpoint: None,
            now_ms: NOW,
        };
        let refused = Log::recover(&rig.disk, &rig.dir(), &other, &small(), from).unwrap_err();
        assert!(matches!(refused, LogError::WrongTopic { .. }), "{refused}");
    });
}

/// Records acknowledged before a power cut are there after it, whatever else survives, and so are they after a second
/// cut that hits the recovered log before it wrote anything.
#[test]
fn power_cuts_lose_nothing_promised() {
    on_engines(|| async {
        for seed in 0..30 {
            println!("seed {seed}");
            let mut random = Random(seed);
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("data");
            std::fs::create_dir(&root).unwrap();
            let recorder = Arc::new(Recorder::new(&root, dir.path().join("shadow")).unwrap());
            let rig = Rig::at(root, Disk::recorded(recorder.clone()), small()).opened();
            let mut sent = Vec::new();
            let mut promised = 0;
            let rounds = 1 + random.below(12);
            for round in 0..=rounds {
                for _ in 0..=random.below(6) {
                    let (count, size) = (1 + random.below(4), random.below(600));
                    sent.push(rig.append(batch(count, size)).unwrap());
                }
                let Some(job) = rig.with(Log::begin_round) else {
                    continue;
                };
                if round == rounds {
                    recorder.hold_syncs();
                    let running = rt::spawn(job.run());
                    rt::sleep(std::time::Duration::from_millis(2)).await;
                    recorder.freeze(Survives::Some { seed }).unwrap();
                    running.await;
                    break;
                }
                let done = job.run().await;
                let offsets = rig.with(|log| log.finish_round(done)).unwrap();
                promised = offsets.synced.0;
                rig.with(|log| log.promise(offsets.synced));
            }
            assert_eq!(recorder.violations(), Vec::<String>::new());
            let shadow = recorder.shadow_dir().to_path_buf();
            let again = Arc::new(Recorder::new(&shadow, dir.path().join("second")).unwrap());
            let rig = Rig::at(shadow, Disk::recorded(again.clone()), small());
            let report = rig.recover(false, Some(rig.checkpoint_at(0))).unwrap();
            assert_eq!(report.damage, [], "seed {seed}");
            let end = rig.end();
            assert!(end >= promised, "seed {seed}: {end} of {promised}");
            let found = survivors(&rig).await;
            let bases: Vec<i64> = found.iter().map(|batch| stored_as(batch).0).collect();
            let expected: Vec<i64> = sent
                .iter()
                .map(|sent| sent.base_offset.0)
                .take_while(|base| *base < end)
                .collect();
            assert_eq!(bases, expected, "seed {seed}");
            // What was just read must survive the next cut.
            let second = again.freeze(Survives::Synced).unwrap();
            let rig = Rig::at(second, Disk::real(), small());
            rig.recover(false, Some(rig.checkpoint_at(0))).unwrap();
            assert_eq!(survivors(&rig).await, found, "seed {seed}, second cut");
        }
    });
}
