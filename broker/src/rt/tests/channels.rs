//! Crossing threads: doorbell and mesh, under load, with short-lived tasks and cancellations. This is the test that
//! shows that no task waker leaves its thread: where one does, glommio 0.9 frees a task twice within seconds.

use super::{engines, on_all, run};
use crate::rt::control::Control;
use crate::rt::doorbell::{self, SendError};
use crate::rt::mesh::{self, MeshError, Port};
use crate::rt::{self, ShardId, local};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Messages of one stress run; multiplied by `MILLRACE_STRESS` for long runs by hand.
fn messages(usual: u64) -> u64 {
    let factor = std::env::var("MILLRACE_STRESS")
        .ok()
        .and_then(|factor| factor.parse().ok());
    usual * factor.unwrap_or(1u64)
}

#[test]
fn a_doorbell_is_bounded_keeps_order_and_ends() {
    on_all(|_| async {
        let (sender, mut receiver) = doorbell::channel(3).unwrap();
        for number in 0..3 {
            sender.try_send(number).unwrap();
        }
        assert_eq!(sender.try_send(3), Err(SendError::Full(3)));
        assert_eq!(receiver.recv().await, Some(0));
        sender.clone().try_send(3).unwrap();
        assert_eq!(
            [
                receiver.recv().await,
                receiver.recv().await,
                receiver.recv().await
            ],
            [Some(1), Some(2), Some(3)]
        );
        let last = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            drop(sender);
        });
        assert_eq!(receiver.recv().await, None);
        last.join().unwrap();
        let (sender, receiver) = doorbell::channel(3).unwrap();
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(SendError::Closed(1)));
    });
}

#[test]
fn a_sleeping_shard_is_woken_by_every_ring() {
    on_all(|_| async {
        let (sender, mut receiver) = doorbell::channel(1).unwrap();
        let (back, answers) = std::sync::mpsc::channel::<u32>();
        let other = std::thread::spawn(move || {
            for number in 0..200 {
                sender.try_send(number).unwrap();
                // The next one is sent only once the shard has answered, and so is asleep again or about to be.
                assert_eq!(answers.recv().unwrap(), number);
            }
        });
        for _ in 0..200 {
            back.send(receiver.recv().await.unwrap()).unwrap();
        }
        other.join().unwrap();
    });
}

#[test]
fn tokio_threads_flood_a_shard_whose_tasks_are_short_lived_and_cancelled() {
    let control = Control::start(2).unwrap();
    let handle = control.handle();
    for engine in engines() {
        let total = messages(400_000);
        let handle = handle.clone();
        run(engine, 1, move |_| {
            let handle = handle.clone();
            async move {
                let (sender, mut receiver) = doorbell::channel::<u64>(4096).unwrap();
                for part in 0..2 {
                    let sender = sender.clone();
                    handle.spawn(async move {
                        for number in (part..total).step_by(2) {
                            while let Err(SendError::Full(_)) = sender.try_send(number) {
                                tokio::task::yield_now().await;
                            }
                        }
                    });
                }
                drop(sender);
                let sum = Rc::new(Cell::new(0u64));
                let mut got = 0u64;
                // Each message is handled by a task of its own; every third wait is a cancelled one.
                while let Some(number) = match got % 3 {
                    0 => rt::timeout(Duration::ZERO, receiver.recv())
                        .await
                        .unwrap_or_else(|_| receiver.try_recv()),
                    _ => receiver.recv().await,
                }
                .or_else(|| receiver.try_recv())
                {
                    got += 1;
                    let (answer, question) = local::oneshot();
                    let sum = sum.clone();
                    let waiting = rt::spawn(async move {
                        let value: u64 = question.await.unwrap();
                        sum.set(sum.get() + value);
                    });
                    if number % 5 == 0 {
                        drop(waiting);
                        drop(answer);
                    } else {
                        waiting.detach();
                        rt::spawn(async move {
                            let _ = answer.send(number);
                        })
                        .detach();
                    }
                    if got == total {
                        break;
                    }
                }
                // A cancelled wait may have ended the loop early: what is left is still there.
                while got < total {
                    let Some(number) = receiver.recv().await else {
                        break;
                    };
                    got += 1;
                    if number % 5 != 0 {
                        sum.set(sum.get() + number);
                    }
                }
                assert_eq!(got, total);
                let expected = (0..total).filter(|number| number % 5 != 0).sum::<u64>();
                while sum.get() != expected {
                    rt::yield_now().await;
                }
            }
        });
    }
    control.shutdown(Duration::from_secs(1));
}

/// Ports to be taken by their shards.
pub(super) type Ports<Q, R> = Arc<Mutex<Vec<Option<Port<Q, R>>>>>;

pub(super) fn shared<Q: Send, R: Send>(shards: u16, window: usize) -> Ports<Q, R> {
    Arc::new(Mutex::new(
        mesh::ports(shards, window)
            .unwrap()
            .into_iter()
            .map(Some)
            .collect(),
    ))
}

pub(super) fn take<Q: Send, R: Send>(ports: &Mutex<Vec<Option<Port<Q, R>>>>, shard: ShardId) -> Port<Q, R> {
    ports.lock().unwrap()[shard.index()].take().unwrap()
}

#[test]
fn two_shards_flood_each_other_with_short_lived_cancelled_tasks() {
    for engine in engines() {
        let ports = shared::<u64, u64>(2, 64);
        let running = Arc::new(AtomicU64::new(2));
        let each = messages(200_000);
        run(engine, 2, move |shard| {
            let port = take(&ports, shard);
            let running = running.clone();
            async move {
                let (mesh, inbound) = port.open();
                rt::spawn(inbound.run(|_, number, replier| match number % 4 {
                    // Answered at once, by a task of its own, by a cancelled task, or not at all.
                    0 | 1 => replier.send(number + 1),
                    2 => rt::spawn(async move { replier.send(number + 1) }).detach(),
                    _ => drop(rt::spawn(async move { replier.send(number + 1) })),
                }))
                .detach();
                let other = ShardId(1 - shard.0);
                let (answered, refused) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
                let in_flight = local::Budget::new(256);
                for number in 0..each {
                    let permit = in_flight.acquire(1).await;
                    let (mesh, answered, refused) = (mesh.clone(), answered.clone(), refused.clone());
                    let asking = rt::spawn(async move {
                        match mesh.request(other, number).await {
                            Ok(reply) => {
                                assert_eq!(reply, number + 1);
                                answered.set(answered.get() + 1);
                            }
                            Err(error) => {
                                assert_eq!((error, number % 4), (MeshError::NoAnswer, 3));
                                refused.set(refused.get() + 1);
                            }
                        }
                        drop(permit);
                    });
                    if number % 16 == 15 {
                        // Cancelled at an arbitrary point: before it sent, or while the reply is on its way.
                        if number % 32 == 31 {
                            rt::yield_now().await;
                        }
                        drop(asking);
                    } else {
                        asking.detach();
                    }
                }
                // All permits back: every task has ended.
                drop(in_flight.acquire(256).await);
                while mesh.unanswered() > 0 {
                    rt::yield_now().await;
                }
                assert!(answered.get() >= each * 3 / 4 - each / 16 && refused.get() >= each / 4 - each / 16);
                // The other shard may still ask.
                running.fetch_sub(1, Ordering::SeqCst);
                while running.load(Ordering::SeqCst) > 0 {
                    rt::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
}

#[test]
fn requests_of_one_shard_arrive_in_the_order_sent() {
    on_all_with_two(|shard, port: Port<u32, u32>| async move {
        let (mesh, inbound) = port.open();
        let next = Rc::new(Cell::new(0));
        let expected = next.clone();
        rt::spawn(inbound.run(move |_, number, replier| {
            assert_eq!(number, expected.get());
            expected.set(number + 1);
            replier.send(number);
        }))
        .detach();
        let other = ShardId(1 - shard.0);
        for number in 0..1000 {
            mesh.post(other, number).await.unwrap();
        }
        while next.get() < 1000 || mesh.unanswered() > 0 {
            rt::sleep(Duration::from_millis(1)).await;
        }
        // Both shards are done asking; give the other's last replies their way.
        rt::sleep(Duration::from_millis(5)).await;
    });
}

#[test]
fn a_shard_that_ends_fails_the_requests_it_leaves() {
    on_all_with_two(|shard, port: Port<u8, u8>| async move {
        let (mesh, inbound) = port.open();
        let parked = Rc::new(std::cell::RefCell::new(Vec::new()));
        let keep = parked.clone();
        let pump = rt::spawn(inbound.run(move |_, _, replier| keep.borrow_mut().push(replier)));
        if shard.0 == 1 {
            while parked.borrow().is_empty() {
                rt::sleep(Duration::from_millis(1)).await;
            }
            drop(pump);
            parked.borrow_mut().clear();
            return;
        }
        let first = mesh.request(ShardId(1), 1).await;
        assert_eq!(first, Err(MeshError::NoAnswer));
        let mut later = mesh.request(ShardId(1), 2).await;
        while later == Err(MeshError::NoAnswer) {
            later = mesh.request(ShardId(1), 2).await;
        }
        assert_eq!(later, Err(MeshError::Closed));
    });
}

/// Runs two shards that each get their port, on every engine.
fn on_all_with_two<Q, R, F>(main: impl Fn(ShardId, Port<Q, R>) -> F + Send + Clone + 'static)
where
    Q: Send + 'static,
    R: Send + 'static,
    F: Future<Output = ()> + 'static,
{
    for engine in engines() {
        let ports = shared::<Q, R>(2, 16);
        let main = main.clone();
        run(engine, 2, move |shard| main(shard, take(&ports, shard)));
    }
}
