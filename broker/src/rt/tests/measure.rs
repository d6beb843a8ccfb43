//! Figures, printed and never asserted, for whoever changes the seam:
//! `cargo test --release -p broker --lib rt::tests::measure -- --ignored --nocapture --test-threads 1`.

use super::channels::{shared, take};
use super::{engines, run};
use crate::rt::control::Control;
use crate::rt::file::{Disk, OpenOptions};
use crate::rt::{self, ShardId, doorbell};
use std::time::Duration;

/// Prints percentiles of durations.
fn print(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part) as usize];
    println!(
        "{what:60} p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[test]
#[ignore = "prints figures"]
fn round_trips_between_shards() {
    for engine in engines() {
        for busy in [false, true] {
            let ports = shared::<u32, u32>(2, 64);
            run(engine, 2, move |shard| {
                let port = take(&ports, shard);
                async move {
                    let (mesh, inbound) = port.open();
                    let (end, ended) = rt::local::oneshot();
                    let mut end = Some(end);
                    rt::spawn(inbound.run(move |_, number, replier| {
                        replier.send(number);
                        if number == u32::MAX {
                            let _ = end.take().map(|end| end.send(()));
                        }
                    }))
                    .detach();
                    if shard.0 == 1 {
                        if busy {
                            // A core that always has something to run.
                            for _ in 0..4 {
                                rt::spawn(async {
                                    loop {
                                        std::hint::black_box((0..2000u64).sum::<u64>());
                                        rt::yield_now().await;
                                    }
                                })
                                .detach();
                            }
                        }
                        ended.await.unwrap();
                        rt::sleep(Duration::from_millis(5)).await;
                        return;
                    }
                    let mut samples = Vec::new();
                    for number in 0..2000 {
                        let before = rt::now();
                        mesh.request(ShardId(1), number).await.unwrap();
                        samples.push(before.elapsed());
                        if !busy {
                            rt::sleep(Duration::from_micros(200)).await;
                        }
                    }
                    print(
                        &format!(
                            "{engine}: request to a{} shard",
                            if busy { " busy" } else { "n idle" }
                        ),
                        samples,
                    );
                    mesh.request(ShardId(1), u32::MAX).await.unwrap();
                }
            });
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn control_plane_to_shard() {
    let control = Control::start(1).unwrap();
    for engine in engines() {
        let handle = control.handle();
        run(engine, 1, move |_| {
            let handle = handle.clone();
            async move {
                let (sender, mut receiver) = doorbell::channel::<rt::Instant>(10).unwrap();
                handle.spawn(async move {
                    for _ in 0..2000 {
                        rt::control::sleep(Duration::from_millis(1)).await;
                        sender.try_send(rt::now()).unwrap();
                    }
                });
                let mut samples = Vec::new();
                while let Some(sent) = receiver.recv().await {
                    samples.push(sent.elapsed());
                }
                print(&format!("{engine}: tokio to an idle shard, one way"), samples);
            }
        });
    }
    control.shutdown(Duration::from_secs(1));
}

#[test]
#[ignore = "prints figures"]
fn write_and_sync() {
    for engine in engines() {
        for size in [1 << 10, 16 << 10, 256 << 10] {
            let directory = tempfile::tempdir_in("target").unwrap();
            let path = directory.path().join("file");
            run(engine, 1, move |_| {
                let path = path.clone();
                async move {
                    let file = Disk::real()
                        .open(
                            path,
                            OpenOptions {
                                create: true,
                                write: true,
                            },
                        )
                        .await
                        .unwrap();
                    let (mut writes, mut syncs, mut buffer) = (Vec::new(), Vec::new(), vec![7; size]);
                    for round in 0..500u64 {
                        let before = rt::now();
                        buffer = file.write_at(buffer, round * size as u64).await.unwrap();
                        writes.push(before.elapsed());
                        let before = rt::now();
                        file.sync_data().await.unwrap();
                        syncs.push(before.elapsed());
                    }
                    print(&format!("{engine}: write of {} KiB", size >> 10), writes);
                    print(&format!("{engine}: fdatasync after it"), syncs);
                }
            });
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn memory_of_a_shard() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for engine in engines() {
        let before = resident();
        run(engine, 32, move |shard| async move {
            rt::sleep(Duration::from_millis(100)).await;
            if shard.0 == 0 {
                println!("{engine}: {} KiB per idle shard", (resident() - before) / 32);
            }
            rt::sleep(Duration::from_millis(50)).await;
        });
    }
}
