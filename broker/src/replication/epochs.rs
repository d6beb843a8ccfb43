//! Leader epochs as clients and followers use them: fencing a stale view, and finding where two histories part (KIP-320).
//!
//! The history itself (which epoch began at which offset) belongs to the log; here is only the comparison.

use protocol::ids::{LeaderEpoch, Offset};

/// Why a caller's idea of the leader epoch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The caller knows an older epoch than we do: it must refresh its metadata.
    Fenced,
    /// The caller knows a newer epoch than we do: we have not heard of it yet, it may retry.
    Unknown,
}

/// Compares the epoch a request carries (-1: none, an old client) with the epoch we lead under.
pub fn check(claimed: i32, current: LeaderEpoch) -> Result<(), Stale> {
    match claimed {
        c if c < 0 || c == current.0 => Ok(()),
        c if c < current.0 => Err(Stale::Fenced),
        _ => Err(Stale::Unknown),
    }
}

/// The last epoch that both logs may share, and where it ended in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of ours that is not newer than the one asked for.
    pub epoch: LeaderEpoch,
    /// First offset after the last record of that epoch.
    pub end_offset: Offset,
}

/// Whether a reader that wants to go on at `fetch_offset`, having last read records of `last_fetched_epoch`, holds
/// records that this log does not have. `ours` is the answer of our log for that epoch.
pub fn diverging(last_fetched_epoch: i32, fetch_offset: Offset, ours: EpochEnd) -> Option<EpochEnd> {
    if last_fetched_epoch < 0 {
        return None;
    }
    let same_history = ours.epoch.0 == last_fetched_epoch && fetch_offset <= ours.end_offset;
    (!same_history).then_some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_or_early_caller_is_told_apart() {
        let current = LeaderEpoch(5);
        assert_eq!(check(-1, current), Ok(()));
        assert_eq!(check(5, current), Ok(()));
        assert_eq!(check(4, current), Err(Stale::Fenced));
        assert_eq!(check(6, current), Err(Stale::Unknown));
    }

    #[test]
    fn histories_part_where_the_epoch_differs_or_ended_earlier() {
        let ours = |epoch, end| EpochEnd {
            epoch: LeaderEpoch(epoch),
            end_offset: Offset(end),
        };
        assert_eq!(
            diverging(-1, Offset(9), ours(2, 5)),
            None,
            "old clients do not say"
        );
        assert_eq!(diverging(2, Offset(5), ours(2, 5)), None);
        assert_eq!(
            diverging(2, Offset(6), ours(2, 5)),
            Some(ours(2, 5)),
            "holds records beyond our end of that epoch"
        );
        assert_eq!(
            diverging(3, Offset(6), ours(2, 5)),
            Some(ours(2, 5)),
            "read an epoch that we never had"
        );
    }
}
