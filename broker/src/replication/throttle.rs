//! How fast replicas that are being moved are copied (KIP-73): bytes per second, and what was sent of them. Pure: time
//! comes in, as what has passed since any fixed moment.
//!
//! A debt instead of a bucket: whoever owes nothing may send one turn, whatever its size, and then waits until it is paid
//! off at the rate. So a batch larger than a second's worth passes, and the average is the rate.

use std::time::Duration;

/// A rate of zero lets nothing pass; it is looked at again so often, should nobody tell that it changed.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What was sent and is not paid off yet.
#[derive(Debug, Default)]
pub struct Throttle {
    /// In bytes and microseconds: bytes times a million.
    owed: u128,
    /// Up to when it was paid off.
    paid_at: Duration,
}

impl Throttle {
    /// How long nothing may be sent at `rate` (bytes per second); none if something may now.
    pub fn wait(&mut self, rate: u64, now: Duration) -> Option<Duration> {
        let elapsed = now.saturating_sub(self.paid_at);
        self.paid_at = now;
        self.owed = self
            .owed
            .saturating_sub(elapsed.as_micros().saturating_mul(u128::from(rate)));
        if rate == 0 {
            return Some(LOOK_AGAIN);
        }
        if self.owed == 0 {
            return None;
        }
        let micros = self.owed.div_ceil(u128::from(rate));
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(LOOK_AGAIN))
    }

    /// So many bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.owed += bytes as u128 * 1_000_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_the_rate_whatever_the_turns() {
        for (rate, turn) in [(1_000_000, 256 << 10), (1_000, 50_000), (7, 3)] {
            let (mut throttle, mut now, mut sent) = (Throttle::default(), Duration::ZERO, 0_u128);
            for _ in 0..100 {
                while let Some(wait) = throttle.wait(rate, now) {
                    now += wait;
                }
                throttle.sent(turn);
                sent += turn as u128;
            }
            let earned = now.as_micros() * u128::from(rate) / 1_000_000;
            // All but the last turn is paid off, and not long ago: waiting is in whole microseconds.
            let slack = u128::from(rate) / 1_000 + 1;
            assert!(
                earned + turn as u128 + slack >= sent,
                "{rate} bytes/s: {sent} sent, {earned} earned"
            );
            assert!(
                earned <= sent + slack,
                "{rate} bytes/s: {sent} sent, {earned} earned"
            );
        }
        let mut unlimited = Throttle::default();
        unlimited.sent(usize::MAX);
        assert_eq!(unlimited.wait(i64::MAX as u64, Duration::from_secs(3)), None);
    }

    #[test]
    fn a_changed_rate_holds_at_once_and_zero_stops() {
        let start = Duration::from_secs(1_000);
        let mut throttle = Throttle::default();
        assert_eq!(throttle.wait(10, start), None);
        throttle.sent(1_000);
        assert_eq!(throttle.wait(10, start), Some(LOOK_AGAIN), "100 s are owed");
        assert_eq!(throttle.wait(1_000, start), Some(Duration::from_secs(1)));
        assert_eq!(throttle.wait(0, start), Some(LOOK_AGAIN));
        let later = start + Duration::from_secs(1);
        assert_eq!(throttle.wait(1_000, later), None);
        assert_eq!(throttle.wait(0, later), Some(LOOK_AGAIN));
    }
}
