//! Watchers of a life: what brokers say of who leads, how far leaders say that records are committed, and who accepted any.
//! Checked: an epoch has one leader, in words and in deeds; a high watermark never goes back, also from one leader to the
//! next (KIP-207).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use broker::rt::recorder::{Led, Recorder};

use protocol::TopicId;

use crate::faults::some_time;
use crate::life::{PARTITIONS, TOPIC, World};

/// A leader epoch and the high watermark that its leader told.
type Told = (i32, i64);

/// The largest high watermark of a partition that the leader of each epoch told.
pub(crate) type Committed = BTreeMap<i32, i64>;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Watched {
    /// By partition and epoch.
    leaders: RefCell<BTreeMap<(i32, i32), i32>>,
    /// By partition.
    committed: RefCell<BTreeMap<i32, Committed>>,
}

impl Watched {
    /// A broker says that `leader` leads.
    fn leads(&self, partition: i32, epoch: i32, leader: i32) {
        let mut leaders = self.leaders.borrow_mut();
        let first = *leaders.entry((partition, epoch)).or_insert(leader);
        assert_eq!(
            first, leader,
            "two leaders of {TOPIC}-{partition} in epoch {epoch}"
        );
    }

    /// What was told until now: to be asked for before a question is asked.
    pub(crate) fn committed(&self, partition: i32) -> Committed {
        let committed = self.committed.borrow();
        committed.get(&partition).cloned().unwrap_or_default()
    }

    /// The leader of `told.0` says how far all is committed; it was asked when `before` had been told. It says nothing as
    /// long as it does not know what earlier leaders had committed (KIP-207).
    fn latest(&self, partition: i32, before: &Committed, told: Told) {
        self.not_back(partition, before.range(..=told.0), told);
    }

    /// The same of an answer to a fetch. A new leader may show consumers less than the one before for a moment; in its own
    /// epoch nothing goes back, and what it showed is committed for whoever leads later.
    pub(crate) fn fetched(&self, partition: i32, before: &Committed, told: Told) {
        self.not_back(partition, before.range(told.0..=told.0), told);
    }

    fn not_back<'a>(&self, partition: i32, before: impl Iterator<Item = (&'a i32, &'a i64)>, told: Told) {
        for before in before {
            assert!(
                told.1 >= *before.1,
                "the high watermark of {TOPIC}-{partition} went back: {before:?}, then {told:?} (epoch, offset)"
            );
        }
        let mut committed = self.committed.borrow_mut();
        let newest = committed.entry(partition).or_default().entry(told.0).or_default();
        *newest = told.1.max(*newest);
    }

    /// How much was seen: pairs of partition and epoch with a leader, partitions with a high watermark.
    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.leaders.borrow().len(), self.committed.borrow().len())
    }
}

/// Asks for as long as the life goes on.
pub(crate) async fn watch(world: Rc<World>) {
    let mut client = world.client();
    while !world.is_over() {
        some_time(100).await;
        let partition = (broker::rt::random_u64() % PARTITIONS as u64) as i32;
        let Some(found) = client.try_leader(TOPIC, partition).await else {
            continue;
        };
        world.watched.leads(partition, found.epoch, found.leader);
        let before = world.watched.committed(partition);
        if let Some(offset) = client.try_latest(TOPIC, partition, &found).await {
            world.watched.latest(partition, &before, (found.epoch, offset));
        }
    }
    world.count(&client);
}

/// The epochs of a partition in which more than one of these brokers accepted records as the leader.
pub(crate) fn led_twice<'a>(disks: impl Iterator<Item = &'a Arc<Recorder>>) -> Vec<String> {
    let mut brokers: BTreeMap<Led, usize> = BTreeMap::new();
    for led in disks.flat_map(|disk| disk.leaderships()) {
        *brokers.entry(led).or_default() += 1;
    }
    let twice = brokers.into_iter().filter(|(_, many)| *many > 1);
    let words = |(led, many): (Led, usize)| {
        let topic = TopicId(led.topic_id);
        format!("{topic}-{}: {many} leaders in epoch {}", led.partition, led.epoch)
    };
    twice.map(words).collect()
}

#[test]
fn what_must_not_be_seen_is_noticed() {
    let watched = || Watched::default();
    let fails = |seen: fn(&Watched)| {
        let watched = watched();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| seen(&watched))).is_err()
    };
    assert!(!fails(|watched| {
        watched.leads(0, 1, 2);
        watched.leads(0, 1, 2);
        watched.leads(0, 2, 3);
    }));
    assert!(fails(|watched| {
        watched.leads(0, 1, 2);
        watched.leads(0, 1, 3);
    }));
    assert!(!fails(|watched| {
        let before = watched.committed(0);
        watched.latest(0, &before, (2, 10));
        // Asked before that was told; and of a leader that does not know yet that it is one no more.
        watched.latest(0, &before, (2, 9));
        watched.latest(0, &watched.committed(0), (1, 5));
        // A new leader shows less for a moment.
        watched.fetched(0, &watched.committed(0), (3, 8));
        watched.fetched(0, &watched.committed(0), (3, 9));
        watched.latest(0, &watched.committed(0), (3, 10));
    }));
    for told in [(2, 9), (3, 9)] {
        let watched = watched();
        watched.fetched(0, &Committed::new(), (2, 10));
        let back = std::panic::AssertUnwindSafe(|| watched.latest(0, &watched.committed(0), told));
        assert!(std::panic::catch_unwind(back).is_err());
    }
    assert!(fails(|watched| {
        watched.fetched(0, &watched.committed(0), (3, 8));
        watched.fetched(0, &watched.committed(0), (3, 7));
    }));
}

#[test]
fn two_leaders_of_one_epoch_are_noticed_by_their_disks() {
    let led = |topic: u8, epoch| Led {
        topic_id: [topic; 16],
        partition: 0,
        epoch,
    };
    let disks = [(); 2].map(|()| Arc::new(Recorder::in_memory()));
    disks[0].led(led(1, 1));
    disks[1].led(led(1, 2));
    // Made again under the same name.
    disks[1].led(led(2, 1));
    assert_eq!(led_twice(disks.iter()), Vec::<String>::new());
    disks[1].led(led(1, 1));
    let twice = led_twice(disks.iter());
    assert_eq!(twice.len(), 1);
    assert!(twice[0].ends_with("-0: 2 leaders in epoch 1"), "{twice:?}");
}
