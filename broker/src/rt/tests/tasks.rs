//! Tasks, timers, the blocking pool, and how a shard ends.

use super::{engines, on_all, run};
use crate::rt::{self, local};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn a_task_gives_its_output_and_is_not_polled_inside_spawn() {
    on_all(|_| async {
        let shared = Rc::new(RefCell::new(1));
        let borrowed = shared.borrow_mut();
        let inner = shared.clone();
        let task = rt::spawn(async move {
            *inner.borrow_mut() += 1;
            *inner.borrow()
        });
        drop(borrowed);
        assert_eq!(task.await, 2);
    });
}

/// Sets a flag when dropped.
struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn dropping_a_task_drops_its_future_at_once() {
    on_all(|_| async {
        let dropped = Rc::new(Cell::new(false));
        let held = OnDrop(dropped.clone());
        let task = rt::spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        rt::yield_now().await;
        assert!(!dropped.get());
        drop(task);
        assert!(dropped.get());
    });
}

#[test]
fn a_task_may_drop_its_own_handle() {
    on_all(|_| async {
        let slot: Rc<RefCell<Option<rt::Task<()>>>> = Rc::default();
        let dropped = Rc::new(Cell::new(false));
        let (held, own) = (OnDrop(dropped.clone()), slot.clone());
        let task = rt::spawn(async move {
            let _held = held;
            let me = own.borrow_mut().take();
            drop(me);
            std::future::pending::<()>().await;
        });
        *slot.borrow_mut() = Some(task);
        while !dropped.get() {
            rt::yield_now().await;
        }
    });
}

#[test]
fn detached_tasks_end_with_their_shard_and_their_futures_are_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for engine in engines() {
        dropped.store(0, Ordering::Relaxed);
        let count = dropped.clone();
        run(engine, 2, move |_| {
            let count = count.clone();
            async move {
                for _ in 0..10 {
                    let held = Count(count.clone());
                    rt::spawn(async move {
                        let held = held;
                        rt::sleep(Duration::from_secs(3600)).await;
                        drop(held);
                    })
                    .detach();
                }
                // One is polled before the end, one never.
                rt::yield_now().await;
                let held = Count(count.clone());
                rt::spawn(async move { drop(held) }).detach();
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 22, "{engine}");
    }
}

#[test]
fn timeouts_end_what_takes_too_long_and_leave_the_rest() {
    on_all(|_| async {
        let never = std::future::pending::<()>();
        assert_eq!(
            rt::timeout(Duration::from_millis(2), never).await,
            Err(rt::Elapsed)
        );
        assert_eq!(rt::timeout(Duration::from_secs(3600), async { 7 }).await, Ok(7));
        assert_eq!(
            rt::timeout(Duration::ZERO, async { 7 }).await,
            Ok(7),
            "ready wins over due"
        );
        let before = rt::now();
        rt::sleep_until(before + Duration::from_millis(3)).await;
        assert!(rt::now() - before >= Duration::from_millis(3));
        rt::sleep_until(before).await;
    });
}

#[test]
fn timers_fire_in_order_whatever_the_order_they_were_made_in() {
    on_all(|_| async {
        let order: Rc<RefCell<Vec<u64>>> = Rc::default();
        let start = rt::now();
        let tasks: Vec<_> = [9u64, 3, 6]
            .into_iter()
            .map(|ms| {
                let order = order.clone();
                rt::spawn(async move {
                    rt::sleep_until(start + Duration::from_millis(ms)).await;
                    order.borrow_mut().push(ms);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [3, 6, 9]);
    });
}

#[test]
fn blocking_calls_run_elsewhere_and_more_than_fit_wait_their_turn() {
    on_all(|_| async {
        let here = std::thread::current().id();
        assert_ne!(rt::blocking(|| std::thread::current().id()).await, here);
        let done = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..3000)
            .map(|_| {
                let done = done.clone();
                rt::spawn(rt::blocking(move || done.fetch_add(1, Ordering::Relaxed)))
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(done.load(Ordering::Relaxed), 3000);
    });
}

#[test]
fn a_blocking_call_that_started_ends_before_its_shard_does() {
    for engine in engines() {
        let (started, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (starting, ending) = (started.clone(), ended.clone());
        run(engine, 1, move |_| {
            let (starting, ending) = (starting.clone(), ending.clone());
            async move {
                let begun = starting.clone();
                let task = rt::spawn(rt::blocking(move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    ending.fetch_add(1, Ordering::SeqCst);
                }));
                while starting.load(Ordering::SeqCst) == 0 {
                    rt::yield_now().await;
                }
                drop(task);
            }
        });
        assert_eq!(
            (started.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)),
            (1, 1),
            "{engine}"
        );
    }
}

#[test]
fn a_panic_in_a_task_or_in_a_blocking_call_ends_its_shard_with_its_words() {
    use crate::rt::cores::CorePlan;
    rt::on_shard_panic(rt::PanicPolicy::Report);
    for engine in engines() {
        for in_pool in [false, true] {
            let executors = rt::start(engine, &CorePlan::unpinned(2), move |shard| {
                Box::pin(async move {
                    if shard.0 == 1 {
                        rt::spawn(async move {
                            if in_pool {
                                rt::blocking(|| panic!("on purpose")).await;
                            }
                            panic!("on purpose");
                        })
                        .detach();
                        std::future::pending::<()>().await;
                    }
                })
            })
            .unwrap();
            let panicked = executors.join().unwrap_err();
            assert_eq!(
                (panicked.shard.0, panicked.words.as_str()),
                (1, "on purpose"),
                "{engine}"
            );
        }
    }
}

#[test]
fn a_runtime_can_be_started_and_stopped_many_times_and_leaves_no_descriptor() {
    // In a process of its own: the other tests of this one open descriptors meanwhile.
    let this = std::env::current_exe().unwrap();
    let child = std::process::Command::new(this)
        .args([
            "--exact",
            "rt::tests::tasks::no_descriptor_is_left",
            "--ignored",
            "--test-threads",
            "1",
        ])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && words.contains("1 passed"), "{words}");
}

#[test]
#[ignore = "run by the test above"]
fn no_descriptor_is_left() {
    let open = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let target =
            |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.unwrap().path()).ok();
        entries.filter_map(target).collect::<Vec<_>>()
    };
    for engine in engines() {
        let cycle = || {
            run(engine, 2, |_| async {
                let (_sender, mut receiver) = rt::doorbell::channel::<u8>(1).unwrap();
                rt::spawn(async move { receiver.recv().await }).detach();
                let listener = rt::net::TcpListener::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
                let connecting = rt::spawn(rt::net::TcpStream::connect(listener.local_addr().unwrap()));
                let (stream, _) = listener.accept().await.unwrap();
                let reader = connecting.await.unwrap();
                rt::spawn(async move { reader.read(&mut [0; 1]).await }).detach();
                rt::spawn(async move { listener.accept().await }).detach();
                let reading = rt::file::OpenOptions::default();
                let file = rt::file::Disk::real()
                    .open("/proc/self/exe", reading)
                    .await
                    .unwrap();
                assert_eq!(file.read_at(0, 100_000).await.unwrap().len(), 100_000);
                rt::yield_now().await;
                drop(stream);
            });
        };
        cycle();
        let before = open();
        for _ in 0..5 {
            cycle();
        }
        // glommio keeps one eventfd of each executor for ever, also of an executor that ran nothing.
        let kept = if engine == rt::Engine::Uring { 5 * 2 } else { 0 };
        // Its pool's threads end soon after their executor.
        let deadline = rt::now() + Duration::from_secs(5);
        while open().len() > before.len() + kept && rt::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = open();
        assert!(
            after.len() <= before.len() + kept,
            "{engine}: {before:?}, then {after:?}"
        );
    }
}

#[test]
fn oneshot_and_event_and_notify() {
    on_all(|_| async {
        let (answer, question) = local::oneshot();
        rt::spawn(async move {
            rt::yield_now().await;
            answer.send(5).unwrap();
        })
        .detach();
        assert_eq!(question.await, Ok(5));
        let (answer, question) = local::oneshot::<u8>();
        drop(answer);
        assert_eq!(question.await, Err(local::Dropped));
        let (answer, question) = local::oneshot();
        drop(question);
        assert_eq!(answer.send(5), Err(5));

        let event = local::Event::default();
        let (one, two) = (event.wait(), event.wait());
        event.notify_all();
        one.await;
        two.await;
        assert!(
            rt::timeout(Duration::from_millis(1), event.wait()).await.is_err(),
            "only what waited before"
        );

        let notify = local::Notify::default();
        notify.notify_one();
        notify.notify_one();
        notify.notified().await;
        assert!(
            rt::timeout(Duration::from_millis(1), notify.notified())
                .await
                .is_err(),
            "remembered once"
        );
    });
}

#[test]
fn a_notification_given_to_a_dropped_wait_goes_to_the_next() {
    on_all(|_| async {
        let notify = local::Notify::default();
        let first = rt::spawn(notify.notified());
        let second = rt::spawn(notify.notified());
        rt::yield_now().await;
        notify.notify_one();
        drop(first);
        second.await;
    });
}

#[test]
fn a_queue_is_bounded_and_ends_on_either_side() {
    on_all(|_| async {
        let (sender, mut receiver) = local::queue(2);
        let feeding: Vec<_> = (0..5)
            .map(|number| {
                let sender = sender.clone();
                rt::spawn(async move { sender.send(number).await })
            })
            .collect();
        drop(sender);
        rt::yield_now().await;
        assert_eq!(receiver.len(), 2);
        let mut got = Vec::new();
        while let Some(number) = receiver.recv().await {
            got.push(number);
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
        for task in feeding {
            task.await.unwrap();
        }
        let (sender, receiver) = local::queue(1);
        sender.try_send(1).unwrap();
        let (one, two) = (sender.clone(), sender);
        let (one, two) = (
            rt::spawn(async move { one.send(2).await }),
            rt::spawn(async move { two.send(3).await }),
        );
        rt::yield_now().await;
        drop(receiver);
        assert_eq!(
            (one.await, two.await),
            (Err(local::Closed(2)), Err(local::Closed(3)))
        );
    });
}

#[test]
fn a_budget_serves_in_order_and_takes_back_from_the_cancelled() {
    on_all(|_| async {
        let budget = local::Budget::new(100);
        let mut held = budget.acquire(80).await;
        assert!(budget.try_acquire(30).is_none());
        let large = rt::spawn(budget.acquire(90));
        rt::yield_now().await;
        let small = rt::spawn(budget.acquire(10));
        rt::yield_now().await;
        assert!(
            !small.is_finished() && budget.try_acquire(1).is_none(),
            "nobody overtakes the large one"
        );
        held.shrink_to(50);
        let part = held.split(20);
        assert_eq!((held.amount(), part.amount(), budget.used()), (30, 20, 50));
        held.merge(part);
        drop(held);
        let large = large.await;
        drop(large);
        drop(small.await);

        let held = budget.acquire(100).await;
        let cancelled = rt::spawn(budget.acquire(60));
        let next = rt::spawn(budget.acquire(70));
        rt::yield_now().await;
        drop(held);
        drop(cancelled);
        assert_eq!(next.await.amount(), 70);
        assert_eq!((budget.used(), budget.waiting()), (0, 0));
        assert_eq!(
            budget.acquire(1000).await.amount(),
            1000,
            "an oversized request passes alone"
        );
        assert_eq!(budget.used(), 0);
    });
}
