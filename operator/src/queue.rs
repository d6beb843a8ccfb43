//! A queue of keys to look at: many reasons to look become one look, a key is never looked at twice at once, and a look can
//! be wanted later. Both controllers use it; nothing in it grows beyond the number of resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Keys and when they are due. Any thread may add.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    due: BTreeMap<K, Instant>,
    active: BTreeSet<K>,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Queue {
            state: Mutex::new(State {
                due: BTreeMap::new(),
                active: BTreeSet::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Look at it now.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Look at it then, or earlier when something asks for it.
    pub fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self
            .state
            .lock()
            .expect("no code panics while it holds the queue");
        let due = state.due.entry(key).or_insert(at);
        *due = at.min(*due);
        drop(state);
        self.changed.notify_one();
    }

    /// The next key that is due and not being looked at. It counts as being looked at until [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let wake = match self.take() {
                Ok(key) => return key,
                Err(wake) => wake,
            };
            match wake {
                None => self.changed.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    fn take(&self) -> Result<K, Option<Instant>> {
        let now = Instant::now();
        let mut state = self
            .state
            .lock()
            .expect("no code panics while it holds the queue");
        let idle = state.due.iter().filter(|(key, _)| !state.active.contains(*key));
        let Some((key, at)) = idle.min_by_key(|(_, at)| **at) else {
            return Err(None);
        };
        if *at > now {
            return Err(Some(*at));
        }
        let key = key.clone();
        state.due.remove(&key);
        state.active.insert(key.clone());
        Ok(key)
    }

    /// The look is over.
    pub fn done(&self, key: &K) {
        let mut state = self
            .state
            .lock()
            .expect("no code panics while it holds the queue");
        state.active.remove(key);
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reasons_coalesce_and_a_key_is_looked_at_once_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert!(
            tokio::time::timeout(Duration::from_secs(60), queue.next())
                .await
                .is_err(),
            "it is being looked at"
        );
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_look_is_brought_forward() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(3600));
        queue.add("a");
        let before = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert!(before.elapsed() < Duration::from_secs(1));
    }
}
