//! The follower's side of one partition: what it tells its leader about itself, and what it does when the leader says that
//! their histories part.
//!
//! Pure values and decisions. Leaves carrying them to the transport, and cutting the log to `shard/follow.rs`.

use protocol::ids::{LeaderEpoch, NodeId, Offset};

use super::epochs::EpochEnd;

/// What a replica that follows would ask its leader for now. A copy: true at the moment it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Whom it follows.
    pub leader: NodeId,
    /// Under which epoch of the leader, as the image says.
    pub leader_epoch: LeaderEpoch,
    /// The first offset it lacks: its log end.
    pub fetch_offset: Offset,
    /// Epoch of the last record it has, -1 if it has none. The leader compares histories by it (KIP-320).
    pub last_fetched_epoch: i32,
    /// First offset of its log.
    pub log_start: Offset,
    /// Offsets below it are as durable here as the topic's `flush.policy` asks.
    pub synced: Offset,
}

/// What a follower tells its leader when it asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerPosition {
    /// The leader epoch it follows under.
    pub leader_epoch: LeaderEpoch,
    /// First offset it lacks.
    pub fetch_offset: Offset,
    /// Epoch of the last record it has, or -1.
    pub last_fetched_epoch: i32,
    /// First offset of its log.
    pub log_start: Offset,
    /// Bytes it takes at most; the first batch comes however large it is.
    pub max_bytes: usize,
}

impl Following {
    /// The same as a question for at most `max_bytes`.
    pub fn position(&self, max_bytes: usize) -> FollowerPosition {
        FollowerPosition {
            leader_epoch: self.leader_epoch,
            fetch_offset: self.fetch_offset,
            last_fetched_epoch: self.last_fetched_epoch,
            log_start: self.log_start,
            max_bytes,
        }
    }
}

/// Where a follower cuts its log when the leader answered that their histories part: `leader` is the largest epoch of the
/// leader's that is not newer than the follower's last one, `mine` the same question put to the follower's own log with
/// the leader's epoch. Never by high watermark: that loses what was acknowledged (KIP-101, KIP-279).
///
/// One answer may not be enough (the follower may hold several epochs that the leader never had); then the next fetch, with
/// the epoch that is the last one after this cut, is answered with a divergence again, further down.
pub fn cut_at(leader: EpochEnd, mine: Option<EpochEnd>, log_end: Offset) -> Offset {
    match mine {
        // Both had the epoch: it ended where the one who had less of it says.
        Some(mine) if mine.epoch == leader.epoch => mine.end_offset.min(leader.end_offset).min(log_end),
        // The leader names an epoch that this log never had: all of ours above the one before it goes.
        Some(mine) => mine.end_offset.min(log_end),
        None => leader.end_offset.min(log_end),
    }
}

/// What a follower does when the leader has nothing at the offset it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// The leader's log begins above all of ours: ours is given up, and begins again where the leader's does.
    StartAnew(Offset),
    /// The leader's log ends below ours.
    Truncate(Offset),
    /// By now it is in range again: ask again.
    AskAgain,
}

/// Decides by where the leader's log begins and ends.
pub fn out_of_range(fetch_offset: Offset, leader_start: Offset, leader_end: Offset) -> OutOfRange {
    if fetch_offset < leader_start {
        OutOfRange::StartAnew(leader_start)
    } else if fetch_offset > leader_end {
        OutOfRange::Truncate(leader_end)
    } else {
        OutOfRange::AskAgain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(epoch: i32, offset: i64) -> EpochEnd {
        EpochEnd {
            epoch: LeaderEpoch(epoch),
            end_offset: Offset(offset),
        }
    }

    #[test]
    fn the_table_of_cuts() {
        for (leader, mine, log_end, expected, why) in [
            (
                end(2, 50),
                Some(end(2, 60)),
                60,
                50,
                "the leader had less of the epoch",
            ),
            (
                end(2, 50),
                Some(end(2, 40)),
                60,
                40,
                "we had less of it before we went on without it",
            ),
            (
                end(3, 50),
                Some(end(2, 30)),
                60,
                30,
                "an epoch that we never had: back to the one before",
            ),
            (end(0, 0), None, 60, 0, "nothing in common"),
            (end(5, 90), None, 60, 60, "never beyond our own end"),
        ] {
            assert_eq!(cut_at(leader, mine, Offset(log_end)), Offset(expected), "{why}");
        }
    }

    #[test]
    fn out_of_range_by_side() {
        let decide = |at, start, end| out_of_range(Offset(at), Offset(start), Offset(end));
        assert_eq!(decide(5, 10, 20), OutOfRange::StartAnew(Offset(10)));
        assert_eq!(decide(25, 10, 20), OutOfRange::Truncate(Offset(20)));
        assert_eq!(decide(10, 10, 20), OutOfRange::AskAgain);
        assert_eq!(decide(20, 10, 20), OutOfRange::AskAgain);
    }
}
