//! Incremental fetch sessions (KIP-227): the broker remembers which partitions a client reads and how far it was told, so
//! that a request names only what changed and an answer carries only what is new.
//!
//! Owns the bounded cache of one core. A session in use is taken out of the cache and put back with the answer: nothing is
//! borrowed while a fetch waits, and a client that leaves in the middle frees its slot. Leaves reading to `plan.rs`.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use protocol::ids::TopicId;

use crate::rt::Instant;

/// A session younger than this is never evicted for a newcomer; the newcomer goes without (as Kafka's default does).
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// How a request named a topic. One session speaks in one of the two for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// Fetch version 13 and up.
    Id(TopicId),
    /// Fetch up to version 12.
    Name(Rc<str>),
}

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// First offset to return.
    pub offset: i64,
    /// Bytes the client accepts for this partition.
    pub max_bytes: i32,
    /// Leader epoch the client knows; -1 if it does not say.
    pub leader_epoch: i32,
    /// Epoch of the last record it has; -1 if it does not say.
    pub last_fetched_epoch: i32,
}

/// One partition of a fetch: what is wanted, and what the client was last told about it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The topic, as the request named it.
    pub topic: TopicKey,
    /// Partition index.
    pub partition: i32,
    /// What to read.
    pub wanted: Wanted,
    told: Option<Told>,
}

/// The part of an answer that is worth repeating only when it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// High watermark in the last answer.
    pub high_watermark: i64,
    /// Log start in the last answer.
    pub log_start: i64,
    /// Error code in the last answer: an error, and its end, are always worth telling.
    pub error_code: i16,
}

impl Entry {
    /// A partition the client has not been told anything about.
    pub fn new(topic: TopicKey, partition: i32, wanted: Wanted) -> Entry {
        Entry {
            topic,
            partition,
            wanted,
            told: None,
        }
    }

    /// Notes what an answer says; true if it differs from the last one, so that the partition must be in the answer.
    pub fn tell(&mut self, now: Told) -> bool {
        let news = now.error_code != 0 || self.told != Some(now);
        // An error is forgotten at once: the next good answer is news again.
        self.told = (now.error_code == 0).then_some(now);
        news
    }
}

/// A remembered fetch of one client.
pub struct Session {
    id: i32,
    expected_epoch: i32,
    by_id: bool,
    entries: Vec<Entry>,
    index: HashMap<(TopicKey, i32), usize>,
    /// Where the next answer starts dealing out bytes, so that partitions late in the list are not starved.
    start: usize,
    last_used: Instant,
    _slot: Slot,
}

struct Slot(Rc<Cell<usize>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Session {
    /// The id the client sends back.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// All partitions of the session, beginning with the one whose turn it is; and where that one sits.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to note what the client is told.
    pub fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// Index of the entry that is read first this time.
    pub fn start(&self) -> usize {
        if self.entries.is_empty() {
            0
        } else {
            self.start % self.entries.len()
        }
    }

    /// The bytes ran out after entry `index`: the next answer begins behind it.
    pub fn continue_after(&mut self, index: usize) {
        self.start = index + 1;
    }

    /// Adds partitions or replaces what is wanted of known ones.
    pub fn update(&mut self, wanted: Vec<Entry>) {
        for entry in wanted {
            let key = (entry.topic.clone(), entry.partition);
            match self.index.get(&key) {
                Some(&at) => self.entries[at].wanted = entry.wanted,
                None => {
                    self.index.insert(key, self.entries.len());
                    self.entries.push(entry);
                }
            }
        }
    }

    /// Drops partitions the client no longer reads.
    pub fn forget(&mut self, forgotten: impl IntoIterator<Item = (TopicKey, i32)>) {
        for key in forgotten {
            let Some(at) = self.index.remove(&key) else {
                continue;
            };
            self.entries.swap_remove(at);
            if let Some(moved) = self.entries.get(at) {
                self.index.insert((moved.topic.clone(), moved.partition), at);
            }
        }
    }
}

/// Why a session cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// Evicted, or of another core or an earlier run of this broker: the client starts over.
    NotFound,
    /// A request was lost or doubled: the client starts over.
    WrongEpoch,
    /// Names in a session of ids, or the other way round.
    WrongTopicKeys,
}

/// The sessions of one core.
pub struct SessionCache {
    limit: usize,
    used: Rc<Cell<usize>>,
    resting: HashMap<i32, Session>,
}

impl SessionCache {
    /// A cache of at most `limit` sessions (this core's share of `max.incremental.fetch.session.cache.slots`).
    pub fn new(limit: usize) -> SessionCache {
        SessionCache {
            limit,
            used: Rc::default(),
            resting: HashMap::new(),
        }
    }

    /// Begins a session over `entries`, or gives them back when every slot is taken by a younger one. `random`
    /// picks the id.
    pub fn begin(
        &mut self,
        by_id: bool,
        entries: Vec<Entry>,
        now: Instant,
        random: u64,
    ) -> Result<Session, Vec<Entry>> {
        if self.used.get() >= self.limit {
            self.evict(now);
        }
        if self.used.get() >= self.limit {
            return Err(entries);
        }
        let mut id = ((random >> 33) as i32).max(1);
        while self.resting.contains_key(&id) {
            id = if id == i32::MAX { 1 } else { id + 1 };
        }
        self.used.set(self.used.get() + 1);
        let mut session = Session {
            id,
            expected_epoch: 1,
            by_id,
            entries: Vec::with_capacity(entries.len()),
            index: HashMap::with_capacity(entries.len()),
            start: 0,
            last_used: now,
            _slot: Slot(self.used.clone()),
        };
        session.update(entries);
        Ok(session)
    }

    /// Takes a session out to serve request number `epoch` of it.
    pub fn resume(&mut self, id: i32, epoch: i32, by_id: bool) -> Result<Session, SessionError> {
        let session = self.resting.get_mut(&id).ok_or(SessionError::NotFound)?;
        if session.expected_epoch != epoch {
            return Err(SessionError::WrongEpoch);
        }
        if session.by_id != by_id {
            return Err(SessionError::WrongTopicKeys);
        }
        session.expected_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.resting.remove(&id).ok_or(SessionError::NotFound)
    }

    /// Puts a session back after its answer was built.
    pub fn rest(&mut self, mut session: Session, now: Instant) {
        session.last_used = now;
        self.resting.insert(session.id, session);
    }

    /// The client is done with it, or starts over.
    pub fn close(&mut self, id: i32) {
        self.resting.remove(&id);
    }

    /// Sessions held now, in use ones included.
    pub fn len(&self) -> usize {
        self.used.get()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn evict(&mut self, now: Instant) {
        let oldest = self.resting.values().min_by_key(|session| session.last_used);
        if let Some(session) = oldest
            && now - session.last_used >= EVICTABLE_AFTER
        {
            let id = session.id;
            self.resting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    fn entry(topic: &str, partition: i32, offset: i64) -> Entry {
        let wanted = Wanted {
            offset,
            max_bytes: 1 << 20,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        Entry::new(TopicKey::Name(topic.into()), partition, wanted)
    }

    #[test]
    fn a_session_goes_on_only_with_the_next_epoch() {
        let mut cache = SessionCache::new(10);
        let now = rt::now();
        let session = cache
            .begin(false, vec![entry("a", 0, 0)], now, 77 << 33)
            .unwrap_or_else(|_| panic!("there is room"));
        let id = session.id();
        assert_eq!(
            cache.resume(id, 1, false).err(),
            Some(SessionError::NotFound),
            "in use"
        );
        cache.rest(session, now);
        assert_eq!(cache.resume(id, 2, false).err(), Some(SessionError::WrongEpoch));
        assert_eq!(
            cache.resume(id, 1, true).err(),
            Some(SessionError::WrongTopicKeys)
        );
        let session = cache.resume(id, 1, false).expect("next epoch");
        cache.rest(session, now);
        assert!(cache.resume(id, 2, false).is_ok());
    }

    #[test]
    fn forgetting_keeps_the_others_reachable() {
        let mut cache = SessionCache::new(1);
        let entries = vec![entry("a", 0, 0), entry("a", 1, 0), entry("b", 0, 0)];
        let mut session = cache
            .begin(false, entries, rt::now(), 1)
            .unwrap_or_else(|_| panic!("there is room"));
        session.forget([(TopicKey::Name("a".into()), 0)]);
        session.update(vec![entry("b", 0, 9)]);
        assert_eq!(session.entries().len(), 2);
        let b = session
            .entries()
            .iter()
            .find(|e| e.topic == TopicKey::Name("b".into()))
            .expect("still there");
        assert_eq!(b.wanted.offset, 9);
    }

    #[test]
    fn a_full_cache_evicts_only_the_old() {
        let mut cache = SessionCache::new(1);
        let now = rt::now();
        let first = cache
            .begin(false, vec![entry("a", 0, 0)], now, 1)
            .unwrap_or_else(|_| panic!("there is room"));
        cache.rest(first, now);
        assert!(cache.begin(false, vec![], now, 2).is_err());
        assert!(cache.begin(false, vec![], now + EVICTABLE_AFTER, 2).is_ok());
    }

    #[test]
    fn an_answer_repeats_only_news() {
        let mut entry = entry("a", 0, 0);
        let calm = Told {
            high_watermark: 5,
            log_start: 0,
            error_code: 0,
        };
        assert!(entry.tell(calm), "the first answer names every partition");
        assert!(!entry.tell(calm));
        assert!(entry.tell(Told {
            high_watermark: 6,
            ..calm
        }));
        assert!(entry.tell(Told {
            error_code: 6,
            ..calm
        }));
        assert!(
            entry.tell(Told {
                error_code: 6,
                ..calm
            }),
            "an error is told every time"
        );
        assert!(entry.tell(calm), "and its end");
    }

    #[test]
    fn a_dropped_session_frees_its_slot() {
        let mut cache = SessionCache::new(1);
        drop(cache.begin(false, vec![], rt::now(), 1));
        assert!(cache.begin(false, vec![], rt::now(), 2).is_ok());
    }
}
