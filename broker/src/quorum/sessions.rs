//! Which brokers the quorum's leader has heard of lately. Soft state of one term of one leader: a new leader gives every
//! broker a whole session before it fences anybody, less the time for which it knows the broker to be silent.
//!
//! Pure: the clock comes in. Leaves fencing to `leading.rs`, what that means to `metadata/`.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::ids::NodeId;

use crate::metadata::{Broker, MetadataImage};
use crate::rt::Instant;

/// Sessions of the brokers, by node.
pub(super) struct Sessions {
    timeout: Duration,
    brokers: BTreeMap<NodeId, Session>,
}

struct Session {
    epoch: i64,
    ends: Instant,
}

impl Sessions {
    /// Nobody was heard of yet. `timeout`: `broker.session.timeout.ms`.
    pub(super) fn new(timeout: Duration) -> Sessions {
        Sessions {
            timeout,
            brokers: BTreeMap::new(),
        }
    }

    /// Nobody has heard of this incarnation for `silence`.
    pub(super) fn silent(&mut self, node: NodeId, epoch: i64, silence: Duration, now: Instant) {
        let ends = now + self.timeout.saturating_sub(silence);
        self.brokers.entry(node).or_insert(Session { epoch, ends });
    }

    /// A sign of life of this incarnation.
    pub(super) fn heard(&mut self, node: NodeId, epoch: i64, now: Instant) {
        let ends = now + self.timeout;
        let session = self.brokers.entry(node).or_insert(Session { epoch, ends });
        if epoch >= session.epoch {
            *session = Session { epoch, ends };
        }
    }

    /// The process of this incarnation has ended.
    pub(super) fn ended(&mut self, node: NodeId, epoch: i64, now: Instant) {
        if let Some(session) = self
            .brokers
            .get_mut(&node)
            .filter(|session| session.epoch == epoch)
        {
            session.ends = now;
        }
    }

    /// Whether the process that registered so may still run. A new leader takes it that those that served do.
    pub(super) fn lives(&self, broker: &Broker, now: Instant) -> bool {
        match self.brokers.get(&broker.node) {
            Some(session) if session.epoch == broker.epoch => session.ends > now,
            _ => !broker.fenced,
        }
    }

    /// Brokers that serve and whose session is over, with the epoch to fence. Brokers never heard of begin one now.
    pub(super) fn expired(&mut self, image: &MetadataImage, now: Instant) -> Vec<(NodeId, i64)> {
        self.brokers.retain(|node, _| image.broker(*node).is_some());
        let mut expired = Vec::new();
        for broker in image.brokers.values().filter(|broker| !broker.fenced) {
            let fresh = Session {
                epoch: broker.epoch,
                ends: now + self.timeout,
            };
            let session = self.brokers.entry(broker.node).or_insert(fresh);
            if session.epoch < broker.epoch {
                *session = Session {
                    epoch: broker.epoch,
                    ends: now + self.timeout,
                };
            }
            if session.ends <= now {
                expired.push((broker.node, broker.epoch));
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures;
    use crate::rt;

    #[test]
    fn a_broker_nobody_hears_of_expires_after_one_whole_session() {
        let image = fixtures::image(3);
        let epoch = |node: i32| image.broker(NodeId(node)).unwrap().epoch;
        let (begin, timeout) = (rt::now(), Duration::from_secs(3));
        let mut sessions = Sessions::new(timeout);
        assert!(sessions.expired(&image, begin).is_empty(), "a new leader waits");
        sessions.heard(NodeId(1), epoch(1), begin + Duration::from_secs(2));
        let expired = sessions.expired(&image, begin + timeout);
        assert_eq!(expired, [(NodeId(0), epoch(0)), (NodeId(2), epoch(2))]);
        let expired = sessions.expired(&image, begin + Duration::from_secs(5));
        assert_eq!(expired.len(), 3);
    }

    #[test]
    fn who_was_silent_before_gets_the_rest_of_its_session() {
        let image = fixtures::image(2);
        let epoch = |node: i32| image.broker(NodeId(node)).unwrap().epoch;
        let (begin, timeout) = (rt::now(), Duration::from_secs(3));
        let mut sessions = Sessions::new(timeout);
        sessions.silent(NodeId(1), epoch(1), Duration::from_secs(1), begin);
        assert!(sessions.expired(&image, begin).is_empty());
        let expired = sessions.expired(&image, begin + Duration::from_secs(2));
        assert_eq!(expired, [(NodeId(1), epoch(1))]);
        sessions.heard(NodeId(1), epoch(1), begin + Duration::from_secs(2));
        let expired = sessions.expired(&image, begin + timeout);
        assert_eq!(expired, [(NodeId(0), epoch(0))]);
    }

    #[test]
    fn a_process_lives_as_long_as_its_session_unless_its_end_was_seen() {
        let image = fixtures::image(2);
        let [heard, unheard] = [0, 1].map(|node| image.broker(NodeId(node)).unwrap().clone());
        let (begin, timeout) = (rt::now(), Duration::from_secs(3));
        let mut sessions = Sessions::new(timeout);
        assert!(sessions.lives(&heard, begin), "a new leader has heard of nobody");
        sessions.heard(heard.node, heard.epoch, begin);
        assert!(sessions.lives(&heard, begin + timeout / 2));
        assert!(!sessions.lives(&heard, begin + timeout));
        sessions.ended(heard.node, heard.epoch, begin);
        assert!(!sessions.lives(&heard, begin));
        let mut fenced = Broker::clone(&unheard);
        fenced.fenced = true;
        assert!(!sessions.lives(&fenced, begin));
    }

    #[test]
    fn an_earlier_incarnation_does_not_keep_a_later_one_alive() {
        let image = fixtures::image(1);
        let epoch = image.broker(NodeId(0)).unwrap().epoch;
        let (begin, timeout) = (rt::now(), Duration::from_secs(3));
        let mut sessions = Sessions::new(timeout);
        sessions.heard(NodeId(0), epoch, begin);
        sessions.heard(NodeId(0), epoch - 1, begin + Duration::from_secs(2));
        assert_eq!(sessions.expired(&image, begin + timeout), [(NodeId(0), epoch)]);
    }
}
