//! The timers of one state machine, by name: setting one again moves it, so there are never more than names.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::rt::Instant;

/// Named deadlines in order. Core-local; whoever owns it sleeps until [`Timers::next`].
pub(super) struct Timers<T> {
    by_deadline: BTreeMap<(Instant, u64), T>,
    by_name: HashMap<T, (Instant, u64)>,
    /// Tells equal deadlines apart; those fire in the order in which they were set.
    number: u64,
}

impl<T: Clone + Eq + Hash> Timers<T> {
    pub(super) fn new() -> Timers<T> {
        Timers {
            by_deadline: BTreeMap::new(),
            by_name: HashMap::new(),
            number: 0,
        }
    }

    pub(super) fn set(&mut self, name: T, deadline: Instant) {
        self.cancel(&name);
        let place = (deadline, self.number);
        self.number += 1;
        self.by_deadline.insert(place, name.clone());
        self.by_name.insert(name, place);
    }

    pub(super) fn cancel(&mut self, name: &T) {
        if let Some(place) = self.by_name.remove(name) {
            self.by_deadline.remove(&place);
        }
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_deadline.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Takes one that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        let place = *self
            .by_deadline
            .keys()
            .next()
            .filter(|(deadline, _)| *deadline <= now)?;
        let name = self.by_deadline.remove(&place)?;
        self.by_name.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timers;
    use crate::rt;

    #[test]
    fn a_timer_set_again_moves_and_a_cancelled_one_never_fires() {
        let start = rt::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set("session", at(10));
        timers.set("join", at(20));
        timers.set("sync", at(20));
        timers.set("session", at(30));
        timers.set("gone", at(5));
        timers.cancel(&"gone");
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.take_due(at(19)), None);
        assert_eq!(timers.take_due(at(20)), Some("join"));
        assert_eq!(timers.take_due(at(20)), Some("sync"));
        assert_eq!(timers.take_due(at(20)), None);
        assert_eq!(timers.take_due(at(30)), Some("session"));
        assert_eq!(timers.next(), None);
    }
}
