//! Random runs of one log against a list of batches. Prints its seed; a seed replays.

use super::reads::check_indexes;
use super::*;

struct Model {
    /// Stored batches in offset order, from the first that a segment still holds.
    batches: Vec<Bytes>,
    start: i64,
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
    };
    for _ in 0..120 {
        match random.below(20) {
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
            _ => truncate(&rig, &mut model, &mut random).await,
        }
        let end = model.batches.last().map_or(0, |batch| stored_as(batch).1 + 1);
        assert_eq!(
            (rig.with(|log| log.offsets().log_start.0), rig.end()),
            (model.start, end.max(model.start))
        );
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
    let appended = rig.append(sent.clone()).unwrap();
    let mut stored = sent.to_vec();
    protocol::record::batch::stamp(&mut stored, appended.base_offset, EPOCH);
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

async fn restart(rig: &Rig, model: &mut Model, random: &mut Random) {
    if random.below(2) == 0 {
        let checkpoint = rig.close().await;
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
    let point = offsets.log_start.0 + random.below((offsets.synced - offsets.log_start) as usize + 1) as i64;
    let checkpoint = Checkpoint {
        recovery_point: Offset(point),
        high_watermark: offsets.high_watermark,
        log_start: offsets.log_start,
    };
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
}

#[test]
fn random_runs_agree_with_a_list_of_batches() {
    on_engines(|| async {
        for seed in 0..20 {
            run(seed).await;
        }
    });
}
