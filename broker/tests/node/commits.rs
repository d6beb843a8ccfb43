//! A commit that was answered survives a power cut, and no answer leaves before the sync that covers it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use broker::rt::file::Disk;
use broker::rt::recorder::{Recorder, Survives};
use protocol::ErrorCode;

use crate::groups::{Member, nobody};
use crate::harness::{Broker, Setup, eventually, everywhere};

/// Somebody who commits one offset after the other, and notes the last that was acknowledged.
struct Committer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicI64>,
    thread: thread::JoinHandle<()>,
}

fn commit_on(broker: &Broker, topic: [u8; 16]) -> Committer {
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(-1)));
    let mut client = broker.client();
    client.coordinator("readers");
    let (stopped, note) = (stop.clone(), acknowledged.clone());
    let thread = thread::spawn(move || {
        for offset in 0.. {
            if stopped.load(Ordering::Relaxed)
                || client.commit(9, &nobody(), topic, offset) != ErrorCode::None
            {
                return;
            }
            note.store(offset, Ordering::SeqCst);
        }
    });
    Committer {
        stop,
        acknowledged,
        thread,
    }
}

/// Commits, cuts the power, restarts on what was durable. Returns how many promises the recorder saw broken, and by how much
/// the offset found is behind the last one acknowledged before the cut.
fn power_cut(setup: Setup, early: bool) -> (usize, i64) {
    let dir = tempfile::tempdir().unwrap();
    let (data, shadow) = (dir.path().join("data"), dir.path().join("shadow"));
    std::fs::create_dir(&data).unwrap();
    let recorder = Arc::new(Recorder::new(&data, &shadow).unwrap());
    let mut plan = setup.plan(&data).on(Disk::recorded(recorder.clone()));
    if early {
        plan = plan.answering_before_the_sync();
    }
    let broker = plan.with("offsets.topic.num.partitions", "2").start();
    let orders = broker.client().create_topic("orders", 1, &[]);
    let committer = commit_on(&broker, orders);
    eventually("the first commit", || {
        (committer.acknowledged.load(Ordering::SeqCst) >= 0).then_some(())
    });
    if early {
        // A slow disk: the answers leave all the same, and that is what must be noticed.
        recorder.hold_syncs();
    }
    let enough = committer.acknowledged.load(Ordering::SeqCst) + 50;
    eventually("commits", || {
        (committer.acknowledged.load(Ordering::SeqCst) >= enough).then_some(())
    });
    let acknowledged = committer.acknowledged.load(Ordering::SeqCst);
    recorder.freeze(Survives::Synced).unwrap();
    recorder.release_syncs();
    committer.stop.store(true, Ordering::Relaxed);
    committer.thread.join().expect("a committer");
    let violations = recorder.violations().len();
    broker.stop();

    let broker = setup.start(&shadow);
    let mut client = broker.client();
    client.coordinator("readers");
    let (found, code) = client.committed(9, orders);
    assert_eq!(code, ErrorCode::None);
    broker.stop();
    (violations, acknowledged - found)
}

#[test]
fn an_acknowledged_commit_survives_a_power_cut() {
    everywhere(|setup| {
        let (violations, behind) = power_cut(setup, false);
        assert_eq!(violations, 0);
        assert!(behind <= 0, "{behind} acknowledged commits are gone");
    });
}

#[test]
fn answering_before_the_sync_is_noticed() {
    let (violations, behind) = power_cut(
        Setup {
            engine: "posix",
            shards: 1,
        },
        true,
    );
    assert!(violations > 0, "the recorder saw no broken promise");
    assert!(behind > 0, "no acknowledged commit was lost");
}

#[test]
fn many_groups_that_commit_at_once_each_find_their_own_last_offset() {
    const GROUPS: usize = 12;
    const COMMITS: i64 = 60;
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("offsets.topic.num.partitions", "3")
            .start();
        let orders = broker.client().create_topic("orders", 1, &[]);
        let name = |group: usize| format!("group-{group}");
        let committers = (0..GROUPS).map(|group| {
            let mut client = broker.client();
            let name = name(group);
            thread::spawn(move || {
                client.coordinator(&name);
                for offset in 0..=COMMITS {
                    let code = client.commit_of(&name, 9, &nobody(), orders, offset * 100 + group as i64);
                    assert_eq!(code, ErrorCode::None);
                }
            })
        });
        committers
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|thread| thread.join().expect("a committer"));
        let read = |broker: &Broker| {
            let mut client = broker.client();
            (0..GROUPS)
                .map(|group| client.committed_of(&name(group), 10, orders).0)
                .collect::<Vec<_>>()
        };
        let expected: Vec<i64> = (0..GROUPS as i64).map(|group| COMMITS * 100 + group).collect();
        assert_eq!(read(&broker), expected);
        broker.stop();
        let broker = setup.start(dir.path());
        broker.client().coordinator("group-0");
        assert_eq!(read(&broker), expected, "after a restart");
        broker.stop();
    });
}
