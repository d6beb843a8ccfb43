//! Which leader epoch began at which offset of one partition (KIP-101, KIP-320). Pure. Owns: the history and questions to
//! it. Leaves to others: the file it is kept in (`checkpoint.rs`), and what to do about a divergence (`replication/`).

use protocol::{LeaderEpoch, Offset};

/// The epochs of one log, oldest first; epochs strictly increase, start offsets never decrease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    /// A history as a checkpoint had it.
    pub(super) fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> Epochs {
        Epochs(entries)
    }

    /// All entries.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// Those of which there are records in a log that ends at `log_end`: what is kept on disk. An election writes nothing.
    pub(super) fn with_records(&self, log_end: Offset) -> &[(LeaderEpoch, Offset)] {
        &self.0[..self.0.partition_point(|(_, start)| *start < log_end)]
    }

    /// The first offset at which it and `other` differ.
    pub(super) fn first_difference(&self, other: &Epochs) -> Option<Offset> {
        let alike = self.0.iter().zip(&other.0).take_while(|(one, two)| one == two);
        let at = alike.count();
        let starts = [self.0.get(at), other.0.get(at)].into_iter().flatten();
        starts.map(|(_, start)| *start).min()
    }

    /// Whether records of the newest epoch begin at `offset`.
    pub(super) fn newest_begins_at(&self, offset: Offset) -> bool {
        self.0.last().is_some_and(|(_, start)| *start == offset)
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// Notes that records of `epoch` begin at `start`. Says whether that was news. Epochs below the newest say nothing
    /// (batches before epochs existed carry -1).
    pub(super) fn begin(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        // An epoch in which nothing was appended has no records: the newer one takes its place.
        while self.0.last().is_some_and(|(_, last)| *last >= start) {
            self.0.pop();
        }
        self.0.push((epoch, start));
        true
    }

    /// The largest epoch not above `asked` and the offset after its last record, or `None` when `asked` is newer than
    /// anything here (the asker knows more than this log).
    pub fn end_offset(&self, asked: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if asked >= latest {
            return (asked == latest).then_some((asked, log_end));
        }
        let above = self.0.partition_point(|(epoch, _)| *epoch <= asked);
        let end = self.0[above].1;
        let epoch = above.checked_sub(1).map_or(asked, |at| self.0[at].0);
        Some((epoch, end))
    }

    /// Forgets what begins at or after `end`. Says whether there was any.
    pub(super) fn cut_end(&mut self, end: Offset) -> bool {
        let before = self.0.len();
        self.0.retain(|(_, start)| *start < end);
        self.0.len() != before
    }

    /// Forgets what ended at or before `start`; the epoch that contains `start` begins there now.
    pub(super) fn cut_start(&mut self, start: Offset) -> bool {
        let before = self.0.clone();
        let below = self.0.partition_point(|(_, begun)| *begun <= start);
        if below > 1 {
            self.0.drain(..below - 1);
        }
        if let Some(first) = self.0.first_mut().filter(|first| first.1 < start) {
            first.1 = start;
        }
        self.0 != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: &[(i32, i64)]) -> Epochs {
        Epochs(
            entries
                .iter()
                .map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start)))
                .collect(),
        )
    }

    #[test]
    fn end_offsets() {
        let epochs = history(&[(1, 0), (3, 10), (4, 25)]);
        for (asked, expected) in [
            (0, Some((0, 0))),
            (1, Some((1, 10))),
            (2, Some((1, 10))),
            (3, Some((3, 25))),
            (4, Some((4, 40))),
            (5, None),
        ] {
            let expected = expected.map(|(epoch, end): (i32, i64)| (LeaderEpoch(epoch), Offset(end)));
            assert_eq!(
                epochs.end_offset(LeaderEpoch(asked), Offset(40)),
                expected,
                "epoch {asked}"
            );
        }
        assert_eq!(Epochs::default().end_offset(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn beginnings_and_cuts() {
        let mut epochs = Epochs::default();
        assert!(!epochs.begin(LeaderEpoch(-1), Offset(0)));
        assert!(epochs.begin(LeaderEpoch(0), Offset(0)));
        assert!(!epochs.begin(LeaderEpoch(0), Offset(5)));
        assert!(epochs.begin(LeaderEpoch(2), Offset(5)));
        assert!(epochs.begin(LeaderEpoch(3), Offset(5)), "epoch 2 had no records");
        assert_eq!(epochs, history(&[(0, 0), (3, 5)]));
        let mut cut = history(&[(1, 0), (3, 10), (4, 25)]);
        assert!(cut.cut_end(Offset(25)));
        assert_eq!(cut, history(&[(1, 0), (3, 10)]));
        assert!(cut.cut_start(Offset(12)));
        assert_eq!(cut, history(&[(3, 12)]));
        assert!(!cut.cut_start(Offset(12)));
    }
}
