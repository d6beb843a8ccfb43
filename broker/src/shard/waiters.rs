//! Who waits for what on one partition: produce answers for an offset to become durable, fetches for the high watermark to
//! move. Woken by partition, never polled.
//!
//! Everything here belongs to the core that owns the partition. What moved, and why, is `shard/partitions.rs`'s business.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use protocol::ids::Offset;

use super::error::PartitionError;
use crate::rt::local::{Answer, Question, oneshot};

/// The partitions of one produce request that are not settled yet. One allocation per request, however many partitions.
pub struct Pending {
    open: Cell<usize>,
    failed: RefCell<Vec<(usize, PartitionError)>>,
    settled: RefCell<Option<Answer<()>>>,
}

impl Pending {
    /// A group with nothing in it, and the receiver that resolves when all that was added is settled.
    pub fn new() -> (Rc<Pending>, Question<()>) {
        let (sender, receiver) = oneshot();
        let pending = Pending {
            open: Cell::new(0),
            failed: RefCell::default(),
            settled: RefCell::new(Some(sender)),
        };
        (Rc::new(pending), receiver)
    }

    /// Whether nothing is left to wait for.
    pub fn is_settled(&self) -> bool {
        self.open.get() == 0
    }

    /// What went wrong after the append, by the caller's own partition index.
    pub fn take_failures(&self) -> Vec<(usize, PartitionError)> {
        self.failed.take()
    }

    fn add(&self) {
        self.open.set(self.open.get() + 1);
    }

    fn settle(&self, index: usize, outcome: Result<(), PartitionError>) {
        if let Err(error) = outcome {
            self.failed.borrow_mut().push((index, error));
        }
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0
            && let Some(sender) = self.settled.borrow_mut().take()
        {
            // A caller that timed out is gone; nothing to tell it.
            let _ = sender.send(());
        }
    }
}

struct AckWaiter {
    /// Settled once the position is above this offset.
    last: Offset,
    index: usize,
    pending: Rc<Pending>,
}

/// Waiters for one kind of progress of one partition, in offset order.
#[derive(Default)]
pub struct AckQueue {
    waiters: RefCell<VecDeque<AckWaiter>>,
}

impl AckQueue {
    /// Adds partition `index` of `pending`, to be settled when the position passes `last`.
    pub fn wait(&self, last: Offset, pending: &Rc<Pending>, index: usize) {
        pending.add();
        let waiter = AckWaiter {
            last,
            index,
            pending: pending.clone(),
        };
        let mut waiters = self.waiters.borrow_mut();
        // Appends come in order. A batch that was sent again ends where it did the first time, which may be before the end
        // of the queue: at the end it would wait for records that are not its own.
        let place = waiters.partition_point(|other| other.last <= last);
        waiters.insert(place, waiter);
    }

    /// Takes the parts of `pending` that wait for `last` off again: nobody hears of them any more. A producer that tries
    /// again and again while nothing moves would else leave one behind with every try.
    pub fn forget(&self, last: Offset, pending: &Rc<Pending>) {
        let mut waiters = self.waiters.borrow_mut();
        let mut at = waiters.partition_point(|other| other.last < last);
        while waiters.get(at).is_some_and(|waiter| waiter.last == last) {
            if Rc::ptr_eq(&waiters[at].pending, pending) {
                waiters.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Settles every waiter whose last offset is below `position`.
    pub fn reached(&self, position: Offset) {
        loop {
            let mut waiters = self.waiters.borrow_mut();
            if waiters.front().is_none_or(|waiter| waiter.last >= position) {
                return;
            }
            let Some(waiter) = waiters.pop_front() else { return };
            drop(waiters);
            waiter.pending.settle(waiter.index, Ok(()));
        }
    }

    /// Settles every waiter with the same failure: the partition is gone, moved, or its disk failed.
    pub fn fail(&self, error: &PartitionError) {
        for waiter in self.waiters.take() {
            waiter.pending.settle(waiter.index, Err(error.clone()));
        }
    }

    /// How many produce parts wait here.
    pub fn len(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One fetch that waits on some partitions of this core. Fires once, naming the partitions that moved by then.
pub struct Watch {
    moved: RefCell<Vec<usize>>,
    fired: RefCell<Option<Answer<()>>>,
}

impl Watch {
    /// A watch and the receiver that resolves at its first movement.
    pub fn new() -> (Rc<Watch>, Question<()>) {
        let (sender, receiver) = oneshot();
        (
            Rc::new(Watch {
                moved: RefCell::default(),
                fired: RefCell::new(Some(sender)),
            }),
            receiver,
        )
    }

    /// Partition `index` (the watcher's own numbering) has something new.
    pub fn fire(&self, index: usize) {
        let mut moved = self.moved.borrow_mut();
        if !moved.contains(&index) {
            moved.push(index);
        }
        self.cancel();
    }

    /// Ends the wait without naming a partition.
    pub fn cancel(&self) {
        if let Some(sender) = self.fired.borrow_mut().take() {
            let _ = sender.send(());
        }
    }

    /// Which partitions moved so far.
    pub fn take_moved(&self) -> Vec<usize> {
        self.moved.take()
    }
}

struct Watcher {
    watch: Rc<Watch>,
    index: usize,
    /// The high watermark the watcher has already seen.
    seen: Offset,
}

/// The fetches that wait on one partition.
#[derive(Default)]
pub struct WatchList {
    watchers: RefCell<Vec<Watcher>>,
}

impl WatchList {
    /// Waits for the high watermark to pass `seen`.
    pub fn add(&self, watch: &Rc<Watch>, index: usize, seen: Offset) {
        self.watchers.borrow_mut().push(Watcher {
            watch: watch.clone(),
            index,
            seen,
        });
    }

    /// Takes a watch off again; it fired elsewhere, timed out, or its client left.
    pub fn remove(&self, watch: &Rc<Watch>) {
        self.watchers
            .borrow_mut()
            .retain(|watcher| !Rc::ptr_eq(&watcher.watch, watch));
    }

    /// The high watermark moved: wakes the fetches that have not seen it.
    pub fn reached(&self, high_watermark: Offset) {
        let mut watchers = self.watchers.borrow_mut();
        let mut i = 0;
        while i < watchers.len() {
            if watchers[i].seen < high_watermark {
                let watcher = watchers.swap_remove(i);
                watcher.watch.fire(watcher.index);
            } else {
                i += 1;
            }
        }
    }

    /// Something other than bytes changed (leader, deletion, offline): everybody looks again.
    pub fn wake_all(&self) {
        for watcher in self.watchers.take() {
            watcher.watch.fire(watcher.index);
        }
    }

    /// How many fetches wait here.
    pub fn len(&self) -> usize {
        self.watchers.borrow().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_settles_when_its_last_partition_does() {
        let (pending, _settled) = Pending::new();
        let (first, second) = (AckQueue::default(), AckQueue::default());
        first.wait(Offset(4), &pending, 0);
        second.wait(Offset(9), &pending, 1);
        first.reached(Offset(4));
        assert_eq!(
            first.len(),
            1,
            "offset 4 is covered only once the position is past it"
        );
        first.reached(Offset(5));
        assert!(first.is_empty() && !pending.is_settled());
        second.fail(&PartitionError::Storage);
        assert!(pending.is_settled());
        assert_eq!(pending.take_failures(), vec![(1, PartitionError::Storage)]);
    }

    #[test]
    fn a_batch_that_was_sent_again_waits_for_its_own_offset() {
        let queue = AckQueue::default();
        let (first, _a) = Pending::new();
        let (second, _b) = Pending::new();
        let (again, _c) = Pending::new();
        queue.wait(Offset(4), &first, 0);
        queue.wait(Offset(9), &second, 0);
        queue.wait(Offset(4), &again, 0);
        queue.reached(Offset(5));
        assert!(first.is_settled() && again.is_settled());
        assert!(!second.is_settled());
        queue.reached(Offset(10));
        assert!(second.is_settled() && queue.is_empty());
    }

    #[test]
    fn who_gave_up_is_forgotten_and_nobody_else() {
        let queue = AckQueue::default();
        let (stays, _a) = Pending::new();
        queue.wait(Offset(4), &stays, 0);
        for _ in 0..3 {
            let (gone, _b) = Pending::new();
            queue.wait(Offset(4), &gone, 0);
            queue.wait(Offset(9), &gone, 1);
            queue.forget(Offset(4), &gone);
            assert_eq!(queue.len(), 2, "the other part waits for another offset");
            queue.forget(Offset(9), &gone);
            assert_eq!(queue.len(), 1);
        }
        queue.reached(Offset(5));
        assert!(stays.is_settled());
    }

    #[test]
    fn only_the_fetches_that_have_not_seen_it_wake() {
        let list = WatchList::default();
        let (early, _a) = Watch::new();
        let (late, _b) = Watch::new();
        list.add(&early, 3, Offset(5));
        list.add(&late, 0, Offset(8));
        list.reached(Offset(8));
        assert_eq!(early.take_moved(), vec![3]);
        assert!(late.take_moved().is_empty());
        list.remove(&late);
        assert!(list.is_empty());
    }
}
