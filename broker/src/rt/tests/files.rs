//! Async files of a shard.

use super::{engines, on_all, run};
use crate::rt::file::{Disk, OpenOptions, counters};
use crate::rt::{self, Engine};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

const WRITE: OpenOptions = OpenOptions {
    create: true,
    write: true,
};
const READ: OpenOptions = OpenOptions {
    create: false,
    write: false,
};

/// A directory of the test's own, gone with the last clone.
#[derive(Clone)]
struct Scratch(Arc<tempfile::TempDir>);

impl Scratch {
    fn new() -> Scratch {
        Scratch(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: impl std::fmt::Display) -> PathBuf {
        self.0.path().join(name.to_string())
    }
}

#[test]
fn what_is_written_is_read_back_and_the_end_of_the_file_is_short() {
    let scratch = Scratch::new();
    on_all(move |shard| {
        let scratch = scratch.clone();
        async move {
            let disk = Disk::real();
            let path = scratch.path(shard);
            let file = disk.open(&path, WRITE).await.unwrap();
            let buffer = file.write_at(b"hello, world".to_vec(), 0).await.unwrap();
            assert_eq!(buffer, b"hello, world");
            file.sync_data().await.unwrap();
            assert_eq!(file.read_at(0, 5).await.unwrap(), "hello");
            assert_eq!(file.read_at(7, 100).await.unwrap(), "world");
            assert_eq!(file.read_at(12, 10).await.unwrap(), "");
            assert_eq!(file.read_at(500, 10).await.unwrap(), "");
            if let Some(cached) = file.try_read_cached(7, 100) {
                assert_eq!(cached, "world");
            }
            file.write_at(b"later".to_vec(), 20).await.unwrap();
            assert_eq!(file.read_at(10, 15).await.unwrap(), "ld\0\0\0\0\0\0\0\0later"[..]);
            file.close();
            let again = disk.open(&path, READ).await.unwrap();
            assert_eq!(again.read_at(20, 5).await.unwrap(), "later");
            again
                .write_at(vec![1], 0)
                .await
                .expect_err("opened for reading only");
            std::fs::remove_file(&path).unwrap();
        }
    });
}

#[test]
fn errors_keep_their_kind() {
    let scratch = Scratch::new();
    on_all(move |_| {
        let scratch = scratch.clone();
        async move {
            let error = Disk::real()
                .open(scratch.path("absent"), READ)
                .await
                .err()
                .unwrap();
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            assert!(error.to_string().contains("absent"), "{error}");
            let full = Disk::real()
                .open(
                    "/dev/full",
                    OpenOptions {
                        create: false,
                        write: true,
                    },
                )
                .await
                .unwrap();
            let error = full.write_at(vec![0; 10], 0).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
        }
    });
}

#[test]
fn big_writes_of_many_slices_and_many_files_at_once() {
    let scratch = Scratch::new();
    on_all(move |shard| {
        let scratch = scratch.clone();
        async move {
            let disk = Disk::real();
            let tasks: Vec<_> = (0..8u8)
                .map(|number| {
                    let (disk, path) = (disk.clone(), scratch.path(format!("{shard}-{number}")));
                    rt::spawn(async move {
                        let file = disk.open(&path, WRITE).await.unwrap();
                        let slices: Vec<Bytes> = (0..200usize)
                            .map(|part| Bytes::from(vec![number ^ part as u8; 1 + part * 100]))
                            .collect();
                        let total: usize = slices.iter().map(Bytes::len).sum();
                        file.write_slices_at(&slices, 3).await.unwrap();
                        file.sync_data().await.unwrap();
                        let back = file.read_at(3, total + 10).await.unwrap();
                        assert_eq!(back.len(), total);
                        assert!(back == slices.concat(), "file {number} differs");
                        std::fs::remove_file(path).unwrap();
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        }
    });
}

#[test]
fn a_cancelled_write_is_carried_out_and_the_shard_waits_for_it() {
    for engine in engines() {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        run(engine, 1, move |_| {
            let path = path.clone();
            async move {
                let file = Disk::real().open(path, WRITE).await.unwrap();
                let writing = rt::spawn(async move { file.write_at(vec![7; 1 << 20], 0).await });
                rt::yield_now().await;
                drop(writing);
            }
        });
        assert_eq!(
            std::fs::read(scratch.path("file")).unwrap(),
            vec![7; 1 << 20],
            "{engine}"
        );
    }
}

/// The recipe for "under load no write-family system call hits log files on `uring`": the counters say which way the
/// bytes went. From outside the process the same is seen with
/// `strace -f -y -e trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync -p <pid>`, where no line may name a
/// `.log` file.
#[test]
fn on_uring_every_write_and_sync_goes_through_the_ring() {
    for engine in engines() {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        let before = counters();
        run(engine, 1, move |_| {
            let path = path.clone();
            async move {
                let file = Disk::real().open(path, WRITE).await.unwrap();
                for round in 0..20u64 {
                    file.write_slices_at(
                        &[Bytes::from_static(b"abc"), Bytes::from_static(b"def")],
                        round * 6,
                    )
                    .await
                    .unwrap();
                    file.sync_data().await.unwrap();
                }
            }
        });
        // Other tests of this process write too: at least ours went the right way.
        let after = counters();
        let (writes, syncs, bytes) = match engine {
            Engine::Uring => (
                after.ring_writes - before.ring_writes,
                after.ring_syncs - before.ring_syncs,
                after.ring_bytes - before.ring_bytes,
            ),
            Engine::Posix => (
                after.pool_writes - before.pool_writes,
                after.pool_syncs - before.pool_syncs,
                after.pool_bytes - before.pool_bytes,
            ),
            Engine::Sim => unreachable!("counts nothing"),
        };
        assert!(
            writes >= 20 && syncs >= 20 && bytes >= 120,
            "{engine}: {writes} writes, {syncs} syncs"
        );
    }
}
