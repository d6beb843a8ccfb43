//! The simulated engine itself: time, network, processes, disks, and that a seed decides everything.

use crate::rt::file::{Disk, OpenOptions};
use crate::rt::local::Event;
use crate::rt::net::{TcpListener, TcpStream};
use crate::rt::recorder::{Recorder, Survives};
use crate::rt::sim::{self, Process};
use crate::rt::{self, control};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Runs a server that sends back what it is sent, on its own machine; its address.
async fn echo(host: u8) -> (Process, SocketAddr) {
    let ready: Rc<(Cell<bool>, Event)> = Rc::default();
    let told = ready.clone();
    let address = SocketAddr::from(([10, 0, 0, host], 7));
    let process = Process::start("echo", host, async move {
        rt::start(rt::Engine::Sim, &rt::cores::CorePlan::unpinned(1), move |_| {
            Box::pin(serve(address))
        })
        .map(drop)
        .expect("simulated shards start");
        control::sleep(Duration::from_millis(1)).await;
        told.0.set(true);
        told.1.notify_all();
        std::future::pending().await
    });
    while !ready.0.get() {
        ready.1.wait().await;
    }
    (process, address)
}

async fn serve(address: SocketAddr) {
    let listener = TcpListener::bind(address, false).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        rt::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok(got @ 1..) = stream.read(&mut buffer).await {
                let back = Bytes::copy_from_slice(&buffer[..got]);
                if stream.write_all(&[back]).await.is_err() {
                    return;
                }
            }
        })
        .detach();
    }
}

async fn ask(stream: &TcpStream, words: &'static [u8]) -> io::Result<Vec<u8>> {
    stream.write_all(&[Bytes::from_static(words)]).await?;
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[test]
fn an_hour_passes_in_no_time_and_timers_keep_their_order() {
    let (order, report) = sim::run(1, async {
        let order: Rc<RefCell<Vec<u64>>> = Rc::default();
        let sleepers: Vec<_> = [3600u64, 1, 60]
            .into_iter()
            .map(|seconds| {
                let order = order.clone();
                rt::spawn(async move {
                    rt::sleep(Duration::from_secs(seconds)).await;
                    order.borrow_mut().push(seconds);
                })
            })
            .collect();
        for sleeper in sleepers {
            sleeper.await;
        }
        order.take()
    });
    assert_eq!(order, [1, 60, 3600]);
    assert!(report.lasted >= Duration::from_secs(3600));
}

#[test]
fn a_cut_link_holds_what_is_sent_until_it_is_healed() {
    sim::run(2, async {
        let (process, address) = echo(1).await;
        let (other, _) = echo(2).await;
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&stream, b"before").await.unwrap(), b"before");
        // Another pair's cut is not ours.
        process.cut(&other);
        assert_eq!(ask(&stream, b"still").await.unwrap(), b"still");
        let (sent, silence) = {
            let here = Process::scenario();
            here.cut(&process);
            stream.write_all(&[Bytes::from_static(b"held")]).await.unwrap();
            let mut answer = [0; 4];
            let silence = rt::timeout(Duration::from_secs(60), stream.read_exact(&mut answer)).await;
            here.heal(&process);
            stream.read_exact(&mut answer).await.unwrap();
            (answer, silence)
        };
        assert!(silence.is_err(), "nothing came through");
        assert_eq!(&sent, b"held");
    });
}

#[test]
fn a_stream_keeps_its_order_across_a_cut() {
    for seed in 0..5 {
        sim::run(seed, async {
            let (process, address) = echo(1).await;
            let stream = TcpStream::connect(address).await.unwrap();
            let sending = stream.clone();
            // Some are always on their way, also when the link is cut and when it is healed.
            let writer = rt::spawn(async move {
                for number in 0..1000_u32 {
                    let bytes = Bytes::copy_from_slice(&number.to_be_bytes());
                    sending.write_all(&[bytes]).await.unwrap();
                    rt::sleep(Duration::from_micros(100)).await;
                }
            });
            let here = Process::scenario();
            for _ in 0..5 {
                rt::sleep(Duration::from_millis(10)).await;
                here.cut(&process);
                rt::sleep(Duration::from_millis(5)).await;
                here.heal(&process);
            }
            for number in 0..1000_u32 {
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(u32::from_be_bytes(answer), number);
            }
            writer.await;
        });
    }
}

#[test]
fn a_killed_process_resets_a_dark_machine_is_silent_a_paused_one_is_late() {
    sim::run(3, async {
        let (process, address) = echo(1).await;
        let stream = TcpStream::connect(address).await.unwrap();
        process.pause();
        stream.write_all(&[Bytes::from_static(b"later")]).await.unwrap();
        let mut answer = [0; 5];
        let silence = rt::timeout(Duration::from_secs(30), stream.read_exact(&mut answer)).await;
        assert!(silence.is_err());
        process.resume();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"later");

        process.kill();
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(address).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let (process, address) = echo(2).await;
        let stream = TcpStream::connect(address).await.unwrap();
        process.power_off();
        let silence = rt::timeout(Duration::from_secs(600), ask(&stream, b"hello?")).await;
        assert!(silence.is_err(), "no power, no answer");
        let silence = rt::timeout(Duration::from_secs(600), TcpStream::connect(address)).await;
        assert!(silence.is_err());
        let (_process, _) = echo(2).await;
        TcpStream::connect(address).await.expect("its power is back");
    });
}

#[test]
fn a_power_cut_leaves_what_was_synced() {
    sim::run(4, async {
        let recorder = Arc::new(Recorder::in_memory());
        let disk = Disk::simulated(recorder.clone());
        disk.create_dir_all("/data").unwrap();
        let file = disk
            .open(
                "/data/log",
                OpenOptions {
                    create: true,
                    write: true,
                },
            )
            .await
            .unwrap();
        disk.sync_dir("/data").unwrap();
        file.write_at(b"synced".to_vec(), 0).await.unwrap();
        file.sync_data().await.unwrap();
        file.write_at(b"lost".to_vec(), 6).await.unwrap();
        assert_eq!(disk.read("/data/log").unwrap(), b"syncedlost");
        assert_eq!(&*file.read_at(6, 100).await.unwrap(), b"lost");
        recorder.power_cut(Survives::Synced);
        assert_eq!(disk.read("/data/log").unwrap(), b"synced");

        recorder.flip_bit("/data/log".as_ref(), 0, 0).unwrap();
        assert_eq!(disk.read("/data/log").unwrap(), b"rynced");
        recorder.set_capacity(7);
        let file = disk
            .open(
                "/data/log",
                OpenOptions {
                    create: false,
                    write: true,
                },
            )
            .await
            .unwrap();
        let full = file.write_at(b"too much".to_vec(), 6).await.unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);

        let lock = disk.lock("/data/.lock").unwrap();
        let taken = disk.lock("/data/.lock").map(drop).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        disk.lock("/data/.lock").map(drop).expect("free again");
        disk.remove_file("/data/log").unwrap();
        assert_eq!(
            disk.read("/data/log").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(disk.read_dir("/data").unwrap(), [".lock"]);
    });
}

/// Replaces a file in one blocking call, on a disk that stops at the operation of that number; whether anybody heard that
/// it was done, and what is there after the power cut.
fn replaced(stop_at: u64, survives: Survives) -> (bool, Vec<u8>) {
    let ((told, there), _) = sim::run(stop_at, async move {
        let recorder = Arc::new(Recorder::in_memory());
        let disk = Disk::simulated(recorder.clone());
        disk.create_dir_all("/data").unwrap();
        disk.write_atomic("/data/vote", b"old").unwrap();
        recorder.stop_after(stop_at);
        let told: Rc<Cell<bool>> = Rc::default();
        let (tells, writer) = (told.clone(), disk.clone());
        let process = Process::start("writer", 1, async move {
            let write = move || writer.write_atomic("/data/vote", b"new, and longer");
            control::blocking(write).await.unwrap();
            tells.set(true);
        });
        rt::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            told.get(),
            !recorder.is_stopped(),
            "nobody hears of what did not happen"
        );
        process.power_off();
        recorder.power_cut(survives);
        assert!(!recorder.is_stopped());
        (told.get(), disk.read("/data/vote").unwrap())
    });
    (told, there)
}

#[test]
fn a_disk_stops_in_the_middle_of_a_blocking_call() {
    // Made, cut, written, synced, renamed; the sync of the directory.
    const OPERATIONS: u64 = 6;
    for stop_at in 0..OPERATIONS {
        assert_eq!(replaced(stop_at, Survives::Synced), (false, b"old".to_vec()));
    }
    assert_eq!(
        replaced(OPERATIONS, Survives::Synced),
        (true, b"new, and longer".to_vec())
    );
    let mut new = 0;
    for seed in 0..20 {
        let (told, there) = replaced(OPERATIONS - 1, Survives::Some { seed });
        assert!(!told);
        assert!(there == b"old" || there == b"new, and longer", "{there:?}");
        new += u64::from(there != b"old");
    }
    assert!(
        (1..20).contains(&new),
        "by seed the name survives or does not: {new}"
    );
}

#[test]
fn a_clock_that_jumps_moves_no_timer() {
    sim::run(8, async {
        let jumped: Rc<Cell<i64>> = Rc::default();
        let tells = jumped.clone();
        let process = Process::start("off", 1, async move {
            let (wall_ms, began) = (rt::wall_ms(), rt::now());
            control::sleep(Duration::from_secs(10)).await;
            assert!(began.elapsed() < Duration::from_secs(11));
            tells.set(rt::wall_ms() - wall_ms);
        });
        rt::sleep(Duration::from_secs(5)).await;
        process.jump_clock(-3_600_000);
        rt::sleep(Duration::from_secs(10)).await;
        assert!(
            (-3_590_000..-3_589_000).contains(&jumped.get()),
            "{}",
            jumped.get()
        );
        assert!(rt::wall_ms() > 1_767_225_600_000, "nobody else's");
    });
}

#[test]
fn equal_seeds_make_equal_runs_and_others_others() {
    let run = |seed| {
        sim::run(seed, async {
            let (_process, address) = echo(1).await;
            let streams: Vec<_> = (0..4)
                .map(|_| {
                    rt::spawn(async move {
                        let stream = TcpStream::connect(address).await.unwrap();
                        for _ in 0..20 {
                            ask(&stream, b"again").await.unwrap();
                        }
                    })
                })
                .collect();
            for stream in streams {
                stream.await;
            }
        })
        .1
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).trace, run(6).trace);
}

#[test]
#[should_panic(expected = "nothing can happen any more")]
fn a_scenario_that_waits_for_nothing_is_noticed() {
    sim::run(7, std::future::pending::<()>());
}
