//! Which partitions have something new, for tasks that serve many partitions at once: the replication sessions. Told in
//! O(changed), never polled.
//!
//! Owns collecting and waking. What counts as news is said where it happens (`follow.rs`, `partitions.rs`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};

use protocol::ids::TopicPartition;

use crate::rt::local::{Event, EventWait};

/// A set of partitions that something happened to, until somebody takes it. Core-local.
#[derive(Default)]
pub struct News {
    about: RefCell<BTreeSet<TopicPartition>>,
    told: Event,
}

impl News {
    /// Something happened to `partition`.
    pub fn tell(&self, partition: TopicPartition) {
        if self.about.borrow_mut().insert(partition) {
            self.told.notify_all();
        }
    }

    /// All that was told since the last call, in order of id. To be called after [`News::wait`] was *created*, so that
    /// nothing is missed in between.
    pub fn take(&self) -> BTreeSet<TopicPartition> {
        self.about.take()
    }

    /// Ends at the next [`News::tell`] after this call.
    pub fn wait(&self) -> EventWait {
        self.told.wait()
    }
}

/// The partitions of one follower's session that have something for it: records, a higher high watermark, another leader.
/// Core-local; each serving session has one.
#[derive(Default)]
pub struct Feed {
    ready: RefCell<Vec<Rc<Subscription>>>,
    told: Event,
}

impl Feed {
    /// A feed with nothing in it.
    pub fn new() -> Rc<Feed> {
        Rc::default()
    }

    /// The subscriber's own numbers of the partitions that moved since the last call. See [`News::take`].
    pub fn take(&self) -> Vec<usize> {
        let ready = self.ready.take();
        ready
            .into_iter()
            .map(|subscription| {
                subscription.queued.set(false);
                subscription.index
            })
            .collect()
    }

    /// Ends when something moves after this call.
    pub fn wait(&self) -> EventWait {
        self.told.wait()
    }
}

struct Subscription {
    feed: Weak<Feed>,
    index: usize,
    /// It is in the feed's list already.
    queued: Cell<bool>,
}

/// Who wants to hear of one partition: the sessions of its followers. A session that is dropped is forgotten by itself.
#[derive(Default)]
pub struct Feeds {
    subscriptions: RefCell<Vec<Rc<Subscription>>>,
}

impl Feeds {
    /// Tells `feed` of every movement from now on, under the subscriber's own number.
    pub fn subscribe(&self, feed: &Rc<Feed>, index: usize) {
        let subscription = Subscription {
            feed: Rc::downgrade(feed),
            index,
            queued: Cell::new(false),
        };
        let mut subscriptions = self.subscriptions.borrow_mut();
        subscriptions.retain(|other| other.feed.strong_count() > 0);
        subscriptions.push(Rc::new(subscription));
    }

    /// Ends what [`Feeds::subscribe`] began.
    pub fn unsubscribe(&self, feed: &Rc<Feed>) {
        self.subscriptions
            .borrow_mut()
            .retain(|subscription| !std::ptr::eq(subscription.feed.as_ptr(), Rc::as_ptr(feed)));
    }

    /// Whether nobody listens: true for every partition with one replica.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.borrow().is_empty()
    }

    /// The partition moved.
    pub fn tell(&self) {
        for subscription in self.subscriptions.borrow().iter() {
            let Some(feed) = subscription.feed.upgrade() else {
                continue;
            };
            if !subscription.queued.replace(true) {
                feed.ready.borrow_mut().push(subscription.clone());
                feed.told.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_names_each_moved_partition_once() {
        let (one, two) = (Feeds::default(), Feeds::default());
        let feed = Feed::new();
        one.subscribe(&feed, 7);
        two.subscribe(&feed, 3);
        one.tell();
        one.tell();
        two.tell();
        assert_eq!(feed.take(), [7, 3]);
        one.unsubscribe(&feed);
        one.tell();
        assert!(feed.take().is_empty() && one.is_empty());
        two.tell();
        assert_eq!(feed.take(), [3], "taken once, told again");
        drop(feed);
        two.tell();
    }
}
