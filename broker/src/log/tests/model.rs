//! Random runs of one log against a list of batches. Prints its seed; a seed replays.

use super::reads::check_indexes;
use super::*;

struct Model {
    /// Stored batches in offset order, from the first that a segment still holds.
    batches: Vec<Bytes>,
    start: i64,
    /// The leader epoch of the next batch.
    epoch: i32,
}

impl Model {
    /// Which epoch began where, as the batches tell.
    fn epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        let mut epochs: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for batch in &self.batches {
            let (base, last, epoch) = stored_as(batch);
            if last >= self.start && epochs.last().is_none_or(|(before, _)| before.0 < epoch) {
                epochs.push((LeaderEpoch(epoch), Offset(base.max(self.start))));
            }
        }
        epochs
    }

    /// Elections: some epochs pass in which nothing is appended. After a cut the next leader's history may hold older ones
    /// than those that are gone.
    fn elect(&mut self, rig: &Rig, random: &mut Random) {
        rig.with(|log| log.end_epoch());
        let last = self.batches.last().map_or(0, |batch| stored_as(batch).2);
        self.epoch = last + random.below(3) as i32;
    }
}

fn config(random: &mut Random) -> LogConfig {
    LogConfig {
        segment_bytes: 5000 + random.below(20_000) as u32,
        index_interval_bytes: random.below(2000) as u32,
        retention_bytes: Some(20_000 + random.below(50_000) as u64),
        flush: if random.below(4) == 0 {
            FlushPolicy::Async
        } else {
            FlushPolicy::Sync
        },
        ..small()
    }
}

async fn run(seed: u64) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let rig = Rig {
        budget: TailBudget::new(random.below(30_000)),
        ..Rig::new(config(&mut random))
    };
    rig.recover(true, None).unwrap();
    let mut model = Model {
        batches: Vec::new(),
        start: 0,
        epoch: 0,
    };
    for _ in 0..120 {
        match random.below(23) {
            0..=9 => append(&rig, &mut model, &mut random),
            10..=13 => rig.sync().await,
            14..=16 => read_somewhere(&rig, &model, &mut random).await,
            17 => {
                rig.sync().await;
                if let Some(job) = rig.with(|log| log.retention(NOW)) {
                    model.start = job.log_start().0;
                    job.run(&rig.checkpoints()).await.unwrap();
                }
            }
            18 => restart(&rig, &mut model, &mut random).await,
            19 => checkpoint(&rig, &mut model, &mut random).await,
            20..=21 => {
                model.elect(&rig, &mut random);
                let epoch = LeaderEpoch(model.epoch);
                if random.below(2) == 0 {
                    rig.with(|log| log.begin_epoch(epoch));
                }
            }
            _ => truncate(&rig, &mut model, &mut random).await,
        }
        let end = model.batches.last().map_or(0, |batch| stored_as(batch).1 + 1);
        assert_eq!(
            (rig.with(|log| log.offsets().log_start.0), rig.end()),
            (model.start, end.max(model.start))
        );
        let epochs = rig.with(|log| log.epochs().with_records(Offset(end)).to_vec());
        assert_eq!(epochs, model.epochs());
    }
    rig.sync().await;
    let expected: Vec<&Bytes> = model
        .batches
        .iter()
        .filter(|batch| stored_as(batch).1 >= model.start)
        .collect();
    assert_eq!(
        rig.read_all(model.start, 5000).await.iter().collect::<Vec<_>>(),
        expected
    );
    rig.close().await;
    check_indexes(&rig);
}

fn append(rig: &Rig, model: &mut Model, random: &mut Random) {
    let sent = batch_at(
        NOW + random.below(1000) as i64,
        1 + random.below(4),
        random.below(900),
    );
    let epoch = LeaderEpoch(model.epoch);
    let appended = rig.with(|log| log.append(sent.clone(), epoch, NOW)).unwrap();
    let mut stored = sent.to_vec();
    protocol::record::batch::stamp(&mut stored, appended.base_offset, epoch);
    model.batches.push(Bytes::from(stored));
}

async fn read_somewhere(rig: &Rig, model: &Model, random: &mut Random) {
    let offsets = rig.with(|log| log.offsets());
    let span = (offsets.high_watermark - offsets.log_start) as usize;
    let from = offsets.log_start.0 + random.below(span + 1) as i64;
    let read = rig.read(from, 1 + random.below(5000)).await.unwrap();
    let found: Vec<Bytes> = batches(&read)
        .map(|batch| Bytes::copy_from_slice(batch.unwrap().1.bytes()))
        .collect();
    let at = model.batches.partition_point(|batch| stored_as(batch).1 < from);
    assert_eq!(found, model.batches[at..at + found.len()]);
    assert_eq!(found.is_empty(), from == offsets.high_watermark.0, "from {from}");
}

/// A checkpoint, beside which the log goes on, perhaps in another epoch.
async fn checkpoint(rig: &Rig, model: &mut Model, random: &mut Random) {
    let Some(job) = rig.with(Log::checkpoint) else {
        return;
    };
    if random.below(2) == 0 {
        model.elect(rig, random);
        append(rig, model, random);
        rig.sync().await;
    }
    let done = job.run().await;
    rig.with(|log| log.finish_checkpoint(done)).unwrap();
}

async fn restart(rig: &Rig, model: &mut Model, random: &mut Random) {
    let lose_epochs = random.below(4) == 0;
    let lost = || {
        if lose_epochs {
            let _ = std::fs::remove_file(rig.dir().join(super::checkpoint::LEADER_EPOCHS));
        }
    };
    if random.below(2) == 0 {
        let checkpoint = rig.close().await;
        lost();
        let report = rig.recover(true, Some(checkpoint)).unwrap();
        assert_eq!(
            (report.rebuilt_indexes, report.damage.len(), report.cut_bytes),
            (0, 0, 0)
        );
        return;
    }
    // The process dies: what no round wrote is gone.
    let offsets = rig.with(|log| log.offsets());
    model
        .batches
        .retain(|batch| stored_as(batch).1 < offsets.written.0);
    // The checkpoint files say what they were told last, or before.
    let told = rig.with(|log| log.checkpoint_data()).recovery_point;
    let span = (told.0 - offsets.log_start.0).max(0);
    let point = offsets.log_start.0 + random.below(span as usize + 1) as i64;
    let checkpoint = Checkpoint {
        recovery_point: Offset(point),
        high_watermark: offsets.high_watermark,
        log_start: offsets.log_start,
    };
    lost();
    let report = rig.recover(false, Some(checkpoint)).unwrap();
    assert_eq!(
        (report.damage.len(), report.cut_bytes),
        (0, 0),
        "nothing was torn"
    );
}

async fn truncate(rig: &Rig, model: &mut Model, random: &mut Random) {
    rig.sync().await;
    let offsets = rig.with(|log| log.offsets());
    let to = offsets.log_start.0 + random.below((offsets.log_end - offsets.log_start) as usize + 1) as i64;
    let job = rig.with(|log| log.truncate_to(Offset(to), NOW)).unwrap();
    let done = job.run().await;
    rig.with(|log| log.finish_truncation(done)).unwrap();
    model.batches.retain(|batch| stored_as(batch).1 < to);
    model.elect(rig, random);
}

#[test]
fn random_runs_agree_with_a_list_of_batches() {
    on_engines(|| async {
        for seed in 0..20 {
            run(seed).await;
        }
    });
}

/// Everything a shard does to a log, at the same time: appends, rounds, reads of promised records, checkpoints, retention.
/// On a recorded disk: no promise is ever early, and nobody reads what was not promised or what was never appended.
#[test]
fn rounds_reads_checkpoints_and_retention_run_at_the_same_time() {
    on_engines(|| async {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        std::fs::create_dir(&root).unwrap();
        let recorder =
            Arc::new(crate::rt::recorder::Recorder::new(&root, dir.path().join("shadow")).unwrap());
        let config = LogConfig {
            retention_bytes: Some(15_000),
            ..small()
        };
        let rig = Rig {
            budget: TailBudget::new(3000),
            ..Rig::at(root, Disk::recorded(recorder.clone()), config)
        };
        let rig = Rc::new(
            Rig {
                handles: HandleCache::new(&rig.disk, 2),
                ..rig
            }
            .opened(),
        );
        let done = Rc::new(std::cell::Cell::new(false));
        let running = |rig: &Rc<Rig>| (rig.clone(), done.clone());

        let (shared, end) = running(&rig);
        let rounds = rt::spawn(async move {
            while !end.get() || shared.with(|log| log.is_dirty()) {
                let Some(job) = shared.with(Log::begin_round) else {
                    rt::yield_now().await;
                    continue;
                };
                let finished = job.run().await;
                let offsets = shared.with(|log| log.finish_round(finished)).unwrap();
                shared.with(|log| log.promise(offsets.synced));
                shared.with(|log| log.set_high_watermark(offsets.synced));
            }
        });
        let mut others = Vec::new();
        for reader in 0..3 {
            let (shared, end) = running(&rig);
            others.push(rt::spawn(async move {
                let mut random = Random(reader);
                while !end.get() {
                    let offsets = shared.with(|log| log.offsets());
                    let span = (offsets.high_watermark - offsets.log_start) as usize;
                    let from = offsets.log_start.0 + random.below(span + 1) as i64;
                    match shared.read(from, 2000).await {
                        Ok(bytes) => {
                            let mut next = None;
                            for batch in batches(&bytes).map(|batch| batch.unwrap().1) {
                                batch.validate().unwrap();
                                assert!(batch.last_offset() < shared.with(|log| log.offsets().synced));
                                assert!(next.is_none_or(|next| next == batch.base_offset()));
                                next = Some(batch.next_offset());
                            }
                        }
                        Err(ReadError::Vanished | ReadError::OutOfRange { .. }) => {}
                        Err(error) => panic!("from {from}: {error}"),
                    }
                    rt::yield_now().await;
                }
            }));
        }
        let (shared, end) = running(&rig);
        others.push(rt::spawn(async move {
            let checkpoints = shared.checkpoints();
            while !end.get() {
                if let Some(job) = shared.with(Log::checkpoint) {
                    let finished = job.run().await;
                    let data = shared.with(|log| log.finish_checkpoint(finished)).unwrap();
                    checkpoints.set(name().key(), data);
                }
                if let Some(job) = shared.with(|log| log.retention(NOW)) {
                    job.run(&checkpoints).await.unwrap();
                }
                rt::yield_now().await;
            }
        }));
        let mut random = Random(7);
        for n in 0..400 {
            rig.append(idempotent(1, 0, n, 1)).unwrap();
            rig.append(batch(1 + random.below(3), random.below(500))).unwrap();
            if random.below(3) == 0 {
                rt::yield_now().await;
            }
            while rig.with(|log| log.unsynced_bytes()) > 20_000 {
                rt::yield_now().await;
            }
        }
        done.set(true);
        rounds.await;
        for other in others {
            other.await;
        }
        assert_eq!(recorder.violations(), Vec::<String>::new());
        assert!(recorder.promises() > 10);
        assert!(rig.handles.open_files() <= 2);
        let start = rig.with(|log| log.offsets().log_start.0);
        assert!(start > 0, "retention took something");
        let before = rig.read_all(start, 3000).await;
        let shadow = recorder.freeze(crate::rt::recorder::Survives::Synced).unwrap();
        let again = Rig::at(shadow, Disk::real(), small());
        let checkpoint = again.checkpoints().get(&name().key());
        let report = again.recover(false, checkpoint).unwrap();
        assert_eq!(report.damage, []);
        again.with(|log| log.set_high_watermark(Offset(i64::MAX)));
        assert_eq!(again.read_all(start, 3000).await, before);
        assert!(
            again.append(idempotent(1, 0, 399, 1)).unwrap().duplicate,
            "the producer is remembered"
        );
    });
}
