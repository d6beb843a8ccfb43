//! Append, round, read: in order, within limits, from memory and from files.

use super::*;

#[test]
fn what_is_appended_is_stored_as_it_came_but_for_offset_and_epoch() {
    on_engines(|| async {
        let rig = Rig::new(small());
        let sent = batch(3, 10);
        let appended = rig.append(sent.clone()).unwrap();
        assert_eq!(
            (appended.base_offset, appended.last_offset),
            (Offset(0), Offset(2))
        );
        assert!(
            rig.read(0, 1000).await.unwrap().is_empty(),
            "nothing is shown before it is synced"
        );
        rig.append(batch(2, 10)).unwrap();
        rig.sync().await;
        let found = rig.read_all(0, 1000).await;
        assert_eq!(
            found.iter().map(stored_as).collect::<Vec<_>>(),
            [(0, 2, 3), (3, 4, 3)]
        );
        assert_eq!(
            found[0][16..],
            sent[16..],
            "from the magic byte on nothing changed"
        );
        let on_disk = Disk::real().read(&rig.files(".log")[0]).unwrap();
        assert_eq!(on_disk, found.concat());
    });
}

#[test]
fn log_append_time_is_stamped_and_hashed() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            timestamp_type: TimestampType::LogAppendTime,
            ..small()
        });
        let appended = rig.append(batch_at(5, 1, 10)).unwrap();
        assert_eq!(appended.log_append_time, NOW);
        rig.sync().await;
        let found = rig.read_all(0, 1000).await;
        let (_, stored) = batches(&found[0]).next().unwrap().unwrap();
        stored.validate().unwrap();
        assert_eq!((stored.max_timestamp(), stored.is_log_append_time()), (NOW, true));
    });
}

#[test]
fn unacceptable_batches_change_nothing() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            max_message_bytes: 500,
            timestamp_before_max_ms: 1000,
            ..small()
        });
        let too_new = rig.append(batch_at(NOW + 3_600_001, 1, 1));
        assert!(matches!(too_new, Err(AppendError::Timestamp { .. })));
        let too_old = rig.append(batch_at(NOW - 1001, 1, 1));
        assert!(matches!(too_old, Err(AppendError::Timestamp { .. })));
        assert!(matches!(
            rig.append(batch(1, 500)),
            Err(AppendError::TooLarge { .. })
        ));
        assert!(matches!(
            rig.append(Bytes::new()),
            Err(AppendError::Inconsistent { .. })
        ));
        let many = vec![batch(1, 400); 12].concat();
        assert!(matches!(
            rig.append(Bytes::from(many)),
            Err(AppendError::LargerThanSegment { .. })
        ));
        let good = batch(1, 10);
        let cut = Bytes::from([&good[..], &good[..50]].concat());
        assert!(matches!(rig.append(cut), Err(AppendError::Batch(_))));
        assert_eq!(rig.end(), 0);
    });
}

#[test]
fn limits_of_a_read() {
    on_engines(|| async {
        for budget in [0, 1 << 20] {
            let rig = Rig {
                budget: TailBudget::new(budget),
                ..Rig::new(small())
            };
            rig.recover(true, None).unwrap();
            for _ in 0..4 {
                rig.append(batch(2, 50)).unwrap();
            }
            rig.sync().await;
            let size = batch(2, 50).len();
            let first = async |from, max, upto: i64, always| {
                let plan = rig.with(|log| log.read(Offset(from), max, Offset(upto), always));
                match plan.unwrap() {
                    ReadPlan::Cached(bytes) => bytes.len(),
                    ReadPlan::Cold(job) => job.run().await.unwrap().len(),
                    ReadPlan::Empty => 0,
                }
            };
            assert_eq!(first(0, 2 * size, 8, true).await, 2 * size);
            assert_eq!(
                first(0, 2 * size + 1, 8, true).await,
                2 * size,
                "whole batches only"
            );
            assert_eq!(
                first(1, 10 * size, 8, true).await,
                4 * size,
                "from the batch that holds the offset"
            );
            assert_eq!(first(0, 1, 8, true).await, size, "the first one always");
            assert_eq!(first(0, 1, 8, false).await, 0, "unless not asked for");
            assert_eq!(first(0, 10 * size, 4, true).await, 2 * size, "below the bound");
            assert_eq!(
                first(0, 10 * size, 1, true).await,
                0,
                "not a batch that crosses the bound"
            );
            assert_eq!(first(4, 10 * size, 4, true).await, 0);
            let first_alone = async |max, always| {
                let plan = rig.with(|log| log.read(Offset(0), max, Offset(8), always));
                match plan.unwrap() {
                    ReadPlan::Cold(job) => Some(job.up_to(1).run().await.unwrap().len()),
                    // From memory it is of no use.
                    ReadPlan::Cached(_) | ReadPlan::Empty => None,
                }
            };
            for (max, always, expected) in [(10 * size, false, size), (1, true, size), (1, false, 0)] {
                let found: Option<usize> = first_alone(max, always).await;
                assert!(
                    found.is_none_or(|len| len == expected),
                    "{found:?} of {max}, {always}"
                );
            }
            assert_eq!(first(8, 10 * size, 8, true).await, 0, "at the end");
            let beyond = rig
                .with(|log| log.read(Offset(9), 1, Offset(9), true))
                .unwrap_err();
            assert!(matches!(beyond, ReadError::OutOfRange { .. }));
        }
    });
}

#[test]
fn one_round_is_one_write_and_one_sync_however_many_batches() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig::default());
        // The handle is opened, and the segment's file made, by a round of its own.
        rig.append(batch(1, 10)).unwrap();
        rig.sync().await;
        for _ in 0..20 {
            rig.append(batch(2, 50)).unwrap();
        }
        let durable = rig.with(|log| log.offsets().synced);
        let job = rig.with(Log::begin_round).unwrap();
        let (first, size) = (batch(1, 10).len(), batch(2, 50).len());
        assert_eq!(job.plan(), [(first as u64, 20 * size, true)]);
        assert!(rig.with(Log::begin_round).is_none(), "one round at a time");
        rig.append(batch(2, 50)).unwrap();
        assert_eq!(rig.with(|log| log.offsets().synced), durable);
        let done = job.run().await;
        let offsets = rig.with(|log| log.finish_round(done)).unwrap();
        assert_eq!(
            (offsets.synced, offsets.log_end),
            (Offset(41), Offset(43)),
            "what came meanwhile is the next round"
        );
        rig.sync().await;
        assert!(rig.with(Log::begin_round).is_none(), "nothing is owed");
    });
}

#[test]
fn a_round_across_a_roll_is_one_write_and_one_sync_per_file_in_order() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            segment_bytes: 1000,
            ..small()
        });
        for _ in 0..5 {
            rig.append(batch(1, 300)).unwrap();
        }
        let size = batch(1, 300).len();
        let job = rig.with(Log::begin_round).unwrap();
        assert_eq!(
            job.plan(),
            [(0, 2 * size, true), (0, 2 * size, true), (0, size, true)]
        );
        let done = job.run().await;
        assert_eq!(rig.with(|log| log.finish_round(done)).unwrap().synced, Offset(5));
    });
}

#[test]
fn a_round_is_bounded_so_that_recovery_can_tell_torn_from_rotten() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            max_message_bytes: 8 << 20,
            ..LogConfig::default()
        });
        for size in [400_000, 400_000, 400_000, 3_000_000, 10] {
            rig.append(batch(1, size)).unwrap();
        }
        let mut rounds = Vec::new();
        while let Some(job) = rig.with(Log::begin_round) {
            rounds.push(job.plan().iter().map(|part| part.1 / 100_000).sum::<usize>());
            let done = job.run().await;
            rig.with(|log| log.finish_round(done)).unwrap();
        }
        assert_eq!(rounds, [8, 4, 30, 0]);
        assert_eq!(rig.with(|log| log.offsets().synced), Offset(5));
    });
}

#[test]
fn rolled_segments_have_kafkas_files_and_names() {
    on_engines(|| async {
        let rig = Rig::new(small());
        for _ in 0..30 {
            rig.append(batch(3, 100)).unwrap();
        }
        rig.close().await;
        let logs = rig.files(".log");
        assert!(logs.len() >= 3, "{logs:?}");
        for ending in [".index", ".timeindex"] {
            assert_eq!(
                rig.files(ending).len(),
                logs.len(),
                "each segment has its {ending}"
            );
        }
        let text = String::from_utf8(
            Disk::real()
                .read(rig.dir().join("leader-epoch-checkpoint"))
                .unwrap(),
        )
        .unwrap();
        assert_eq!(text, "0\n1\n3 0\n");
        let metadata = Disk::real().read(rig.dir().join("partition.metadata")).unwrap();
        assert_eq!(
            metadata,
            format!("version: 0\ntopic_id: {}", name().topic_id).as_bytes()
        );
        check_indexes(&rig);
        assert_eq!(rig.read_all(0, 700).await.len(), 30);
    });
}

/// What Kafka's dump tool checks: every offset entry names a batch's last offset and first byte; every time entry names
/// the last offset of a batch and its largest timestamp, in rising order.
pub(super) fn check_indexes(rig: &Rig) {
    for path in rig.files(".log") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let base = Offset(stem.parse().unwrap());
        let log = Disk::real().read(&path).unwrap();
        if log.is_empty() {
            // Nothing is asked of them, not even that they are there.
            for ending in ["index", "timeindex"] {
                let len = std::fs::metadata(path.with_extension(ending)).map_or(0, |file| file.len());
                assert_eq!(len, 0, "{} without records", path.display());
            }
            continue;
        }
        let index = Disk::real().read(path.with_extension("index")).unwrap();
        let mut before = None;
        for entry in index
            .chunks_exact(8)
            .map(|entry| format::OffsetEntry::decode(base, entry))
        {
            let (_, batch) = batches(&log[entry.position as usize..]).next().unwrap().unwrap();
            assert_eq!(batch.last_offset(), entry.offset);
            assert!(before < Some(entry.offset));
            before = Some(entry.offset);
        }
        let times = Disk::real().read(path.with_extension("timeindex")).unwrap();
        let mut before = -1;
        for entry in times
            .chunks_exact(12)
            .map(|entry| format::TimeEntry::decode(base, entry))
        {
            let found = batches(&log)
                .map(|batch| batch.unwrap().1)
                .find(|batch| batch.last_offset() >= entry.offset);
            let found = found.unwrap();
            assert_eq!(
                (found.last_offset(), found.max_timestamp()),
                (entry.offset, entry.timestamp)
            );
            assert!(before < entry.timestamp);
            before = entry.timestamp;
        }
    }
}

#[test]
fn records_are_found_by_timestamp() {
    on_engines(|| async {
        let rig = Rig::new(small());
        // Batch n: offsets 3n..3n+2 at 1000n, 1000n+1, 1000n+2; several segments.
        for n in 0..60 {
            rig.append(batch_at(NOW - 100_000 + 1000 * n, 3, 100)).unwrap();
        }
        rig.sync().await;
        let find = async |timestamp: i64| {
            let job = rig.with(|log| log.offset_for_timestamp(NOW - 100_000 + timestamp, Offset(180)));
            match job {
                Some(job) => job.run().await.unwrap().map(|found| found.offset.0),
                None => None,
            }
        };
        for (timestamp, expected) in [
            (-5, Some(0)),
            (0, Some(0)),
            (1, Some(1)),
            (3, Some(3)),
            (30_002, Some(92)),
            (59_002, Some(179)),
            (59_003, None),
        ] {
            assert_eq!(find(timestamp).await, expected, "{timestamp}");
        }
        let newest = rig
            .with(|log| log.max_timestamp(Offset(180)))
            .unwrap()
            .run()
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (newest.offset, newest.timestamp),
            (Offset(179), NOW - 100_000 + 59_002)
        );
        let checkpoint = rig.close().await;
        rig.recover(true, Some(checkpoint)).unwrap();
        let again = rig
            .with(|log| log.offset_for_timestamp(NOW - 100_000 + 30_001, Offset(180)))
            .unwrap();
        assert_eq!(again.run().await.unwrap().unwrap().offset, Offset(91));
    });
}

#[test]
fn segments_roll_by_age_and_by_a_full_index() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            segment_ms: 1000,
            timestamp_before_max_ms: i64::MAX,
            ..LogConfig::default()
        });
        rig.append(batch_at(NOW - 5000, 1, 1)).unwrap();
        rig.append(batch_at(NOW - 4000, 1, 1)).unwrap();
        assert_eq!(rig.with(|log| log.segment_count()), 1, "not older than the limit");
        rig.append(batch_at(NOW - 3999, 1, 1)).unwrap();
        assert_eq!(rig.with(|log| log.segment_count()), 2);
        let rig = Rig::new(LogConfig {
            index_max_bytes: 16,
            index_interval_bytes: 0,
            ..LogConfig::default()
        });
        for _ in 0..8 {
            rig.append(batch(1, 1)).unwrap();
        }
        assert!(rig.with(|log| log.segment_count()) > 1);
        rig.close().await;
        check_indexes(&rig);
        assert!(
            rig.files(".index")
                .iter()
                .all(|path| Disk::real().len(path).unwrap() <= 16)
        );
    });
}

#[test]
fn two_hundred_logs_live_under_a_limit_of_sixty_four_files() {
    on_engines(|| async {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real();
        let handles = HandleCache::new(&disk, 64);
        let budget = TailBudget::new(0);
        let mut logs = Vec::new();
        for partition in 0..200 {
            let name = LogName { partition, ..name() };
            let from = RecoverFrom {
                clean: true,
                checkpoint: None,
                now_ms: NOW,
            };
            let recovered =
                Log::recover(&disk, &dir.path().join(name.directory()), &name, &small(), from).unwrap();
            logs.push(Log::open(recovered, &handles, &budget));
        }
        for round in 0..3 {
            let mut running = Vec::new();
            for log in &mut logs {
                log.append(batch(2, 300), EPOCH, NOW).unwrap();
                running.push(rt::spawn(log.begin_round().unwrap().run()));
            }
            for (log, task) in logs.iter_mut().zip(running) {
                let offsets = log.finish_round(task.await).unwrap();
                assert_eq!(offsets.synced, Offset(2 * (round + 1)));
                log.set_high_watermark(offsets.synced);
            }
            assert!(
                handles.open_files() <= 64,
                "{} files are open",
                handles.open_files()
            );
        }
        let mut reads = Vec::new();
        for log in &logs {
            match log.read(Offset(0), 1 << 20, Offset(6), true).unwrap() {
                ReadPlan::Cold(job) => reads.push(rt::spawn(job.run())),
                plan => panic!("the tail keeps nothing: {plan:?}"),
            }
        }
        for read in reads {
            assert_eq!(batches(&read.await.unwrap()).count(), 3);
        }
        assert!(handles.open_files() <= 64);
    });
}

#[test]
fn the_tail_keeps_its_budget_and_what_is_not_written() {
    on_engines(|| async {
        let rig = Rig {
            budget: TailBudget::new(3000),
            ..Rig::new(LogConfig::default())
        };
        rig.recover(true, None).unwrap();
        for _ in 0..20 {
            rig.append(batch(1, 500)).unwrap();
            rig.sync().await;
            assert!(rig.budget.used() <= 3000, "{}", rig.budget.used());
        }
        for _ in 0..20 {
            rig.append(batch(1, 500)).unwrap();
        }
        let unsynced = rig
            .with(|log| log.read(Offset(20), 1 << 20, Offset(40), true))
            .unwrap();
        assert!(matches!(unsynced, ReadPlan::Cached(bytes) if batches(&bytes).count() == 20));
        rig.sync().await;
        assert!(rig.budget.used() <= 3000);
        assert_eq!(rig.read_all(0, 2000).await.len(), 40);
        rig.log.replace(None);
        assert_eq!(rig.budget.used(), 0, "a dropped log gives its bytes back");
    });
}

#[test]
fn retries_of_idempotent_producers_are_answered_and_not_appended() {
    on_engines(|| async {
        let rig = Rig::new(small());
        rig.append(batch(5, 1)).unwrap();
        let first = rig.append(idempotent(1, 0, 0, 2)).unwrap();
        let again = rig.append(idempotent(1, 0, 0, 2)).unwrap();
        assert_eq!((again.base_offset, again.duplicate), (first.base_offset, true));
        let gap = rig.append(idempotent(1, 0, 5, 1));
        assert!(matches!(
            gap,
            Err(AppendError::Producer(
                producers::ProducerError::OutOfOrderSequence { .. }
            ))
        ));
        assert_eq!(rig.end(), 7);
        let two = Bytes::from([idempotent(1, 0, 2, 1), idempotent(1, 0, 3, 1)].concat());
        assert!(
            !rig.append(two).unwrap().duplicate,
            "the second of an append follows the first"
        );
        let gap = Bytes::from([idempotent(1, 0, 4, 1), idempotent(1, 0, 6, 1)].concat());
        assert!(rig.append(gap).is_err());
        assert_eq!(rig.end(), 9, "all or nothing");
        for clean in [true, false] {
            let checkpoint = rig.close().await;
            let checkpoint = if clean { checkpoint } else { rig.checkpoint_at(0) };
            rig.recover(clean, Some(checkpoint)).unwrap();
            assert!(
                rig.append(idempotent(1, 0, 3, 1)).unwrap().duplicate,
                "remembered, clean: {clean}"
            );
            assert!(rig.append(idempotent(1, 0, 9, 1)).is_err());
        }
        for path in rig.files(".snapshot") {
            Disk::real().remove_file(path).unwrap();
        }
        rig.crash(0);
        assert!(
            rig.append(idempotent(1, 0, 0, 2)).unwrap().duplicate,
            "rebuilt from the log alone"
        );
    });
}

#[test]
fn async_flushing_is_ready_when_written_and_syncs_with_the_checkpoint() {
    on_engines(|| async {
        let rig = Rig::new(LogConfig {
            flush: FlushPolicy::Async,
            ..small()
        });
        for _ in 0..3 {
            rig.append(batch(1, 100)).unwrap();
        }
        rig.sync().await;
        let offsets = rig.with(|log| log.offsets());
        assert_eq!((offsets.written, offsets.synced), (Offset(3), Offset(0)));
        assert!(rig.with(|log| log.unsynced_bytes()) > 300);
        let job = rig.with(Log::checkpoint).unwrap();
        let done = job.run().await;
        assert_eq!(
            rig.with(|log| log.finish_checkpoint(done))
                .unwrap()
                .recovery_point,
            Offset(3)
        );
        for _ in 0..60 {
            rig.append(batch(1, 100)).unwrap();
        }
        rig.sync().await;
        let synced = rig.with(|log| log.offsets().synced);
        assert!(
            synced > Offset(3) && synced < Offset(63),
            "segments that were closed are synced: {synced}"
        );
        rig.with(|log| log.apply_config(&small()));
        rig.sync().await;
        assert_eq!(
            rig.with(|log| log.offsets().synced),
            Offset(63),
            "sync again: what is owed is paid"
        );
    });
}

#[test]
fn truncation_cuts_at_the_batch_and_forgets_what_was_above() {
    on_engines(|| async {
        for to in [0, 1, 7, 45, 46, 89, 90] {
            let rig = Rig::new(small());
            for _ in 0..30 {
                rig.append(batch(3, 100)).unwrap();
            }
            rig.append(idempotent(5, 0, 0, 1)).unwrap();
            assert_eq!(
                rig.with(|log| log.truncate_to(Offset(to), NOW)).err(),
                Some(Busy),
                "a round is owed"
            );
            rig.sync().await;
            let before = rig.read_all(0, 1 << 20).await;
            let job = rig.with(|log| log.truncate_to(Offset(to), NOW)).unwrap();
            assert_eq!(rig.append(batch(1, 1)), Err(AppendError::Truncating));
            let done = job.run().await;
            rig.with(|log| log.finish_truncation(done)).unwrap();
            let end = to - to % 3;
            assert_eq!(rig.end(), end);
            assert!(
                rig.with(|log| log.producers().is_empty()),
                "the producer above the cut is forgotten"
            );
            rig.append(batch(3, 100)).unwrap();
            rig.sync().await;
            let after = rig.read_all(0, 1 << 20).await;
            assert_eq!(after[..after.len() - 1], before[..(end / 3) as usize]);
            assert_eq!(stored_as(after.last().unwrap()), (end, end + 2, 3));
            rig.close().await;
            check_indexes(&rig);
        }
    });
}
