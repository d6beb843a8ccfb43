//! Which segments to drop: by age and by size. Pure: values in, a number out. Leaves the dropping to `mod.rs`.

use protocol::Offset;

/// What retention needs to know of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// First offset after the segment.
    pub end: Offset,
    /// Bytes of its log file.
    pub size: u64,
    /// Largest record timestamp (ms since the epoch); `None` when no record has one.
    pub newest_ms: Option<i64>,
    /// When this process first saw the segment (ms since the epoch): the age of a segment without timestamps.
    pub seen_ms: i64,
}

/// `retention.ms` and `retention.bytes`; `None` is "no limit" (-1 in the properties).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionLimits {
    pub age_ms: Option<i64>,
    pub bytes: Option<u64>,
}

/// How many of the oldest segments may go. `segments` is in offset order and its last is the active one, which always
/// stays: its file is where the next append goes (the log rolls it by `segment.ms`, so that age reaches it too).
/// Nothing at or above the high watermark goes, or consumers would miss records never shown to them.
///
/// A timestamp further in the future than `guard_ms` from `now_ms` says nothing about age (one record from the year
/// 3000 must not pin the log for ever): such a segment counts from when it was first seen.
pub fn expired(
    segments: &[SegmentFacts],
    limits: RetentionLimits,
    high_watermark: Offset,
    now_ms: i64,
    guard_ms: i64,
) -> usize {
    let closed = &segments[..segments.len().saturating_sub(1)];
    let mut bytes: u64 = segments.iter().map(|segment| segment.size).sum();
    let mut count = 0;
    for segment in closed {
        if segment.end > high_watermark {
            break;
        }
        let too_old = limits.age_ms.is_some_and(|age_ms| {
            let born_ms = match segment.newest_ms {
                Some(newest) if newest <= now_ms.saturating_add(guard_ms) => newest,
                _ => segment.seen_ms,
            };
            now_ms.saturating_sub(born_ms) > age_ms
        });
        // By size a segment goes only if what remains still fills the limit: `retention.bytes` is kept at least.
        let too_much = limits
            .bytes
            .is_some_and(|limit| bytes.saturating_sub(segment.size) >= limit);
        if !too_old && !too_much {
            break;
        }
        bytes -= segment.size;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000 * HOUR;

    fn segment(end: i64, size: u64, newest_ms: i64) -> SegmentFacts {
        SegmentFacts {
            end: Offset(end),
            size,
            newest_ms: Some(newest_ms),
            seen_ms: NOW,
        }
    }

    fn by(age_ms: Option<i64>, bytes: Option<u64>) -> RetentionLimits {
        RetentionLimits { age_ms, bytes }
    }

    #[test]
    fn table() {
        let log = [
            segment(10, 100, NOW - 9 * HOUR),
            segment(20, 100, NOW - 8 * HOUR),
            segment(30, 100, NOW - HOUR),
            segment(40, 100, NOW - 20 * HOUR),
        ];
        for (limits, high_watermark, expected, why) in [
            (by(None, None), 40, 0, "no limit keeps all"),
            (
                by(Some(2 * HOUR), None),
                40,
                2,
                "age stops at the first young segment",
            ),
            (by(Some(0), None), 40, 3, "the active segment stays, however old"),
            (by(Some(0), None), 20, 2, "nothing above the high watermark"),
            (by(Some(0), None), 19, 1, "not a segment that is partly above it"),
            (
                by(Some(8 * HOUR), None),
                40,
                1,
                "exactly the limit is not over it",
            ),
            (by(None, Some(400)), 40, 0, "size: at the limit"),
            (
                by(None, Some(399)),
                40,
                0,
                "size: dropping one would go below the limit",
            ),
            (by(None, Some(300)), 40, 1, "size: one too many"),
            (by(None, Some(0)), 40, 3, "size: the active segment stays"),
            (by(Some(2 * HOUR), Some(100)), 40, 3, "either limit drops"),
        ] {
            assert_eq!(
                expired(&log, limits, Offset(high_watermark), NOW, HOUR),
                expected,
                "{why}"
            );
        }
        assert_eq!(expired(&[], by(Some(0), Some(0)), Offset(0), NOW, HOUR), 0);
    }

    #[test]
    fn a_timestamp_from_the_future_does_not_pin_the_log() {
        let mut log = [segment(10, 1, NOW + 1000 * HOUR), segment(20, 1, NOW)];
        let limits = by(Some(HOUR), None);
        assert_eq!(
            expired(&log, limits, Offset(20), NOW, HOUR),
            0,
            "first seen just now"
        );
        log[0].seen_ms = NOW - 2 * HOUR;
        assert_eq!(
            expired(&log, limits, Offset(20), NOW, HOUR),
            1,
            "its age counts from when it was seen"
        );
        log[0].newest_ms = Some(NOW + HOUR / 2);
        assert_eq!(
            expired(&log, limits, Offset(20), NOW, HOUR),
            0,
            "clocks may differ by the guard"
        );
        log[0].newest_ms = None;
        assert_eq!(
            expired(&log, limits, Offset(20), NOW, HOUR),
            1,
            "no timestamps at all"
        );
    }
}
