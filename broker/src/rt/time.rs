//! Clock and timers. Owns the one monotonic clock all shards share; leaves deadlines and their meaning to callers.

use super::Engine;
use super::engine;
use std::future::Future;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock: nanoseconds since the process first looked at it. The same on every thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Time since the clock's zero.
    pub fn since_zero(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` earlier; the clock's beginning if there is none.
    pub fn before(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Time from this point until now.
    pub fn elapsed(self) -> Duration {
        now().saturating_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of the clock (584 years), so "never" may be a huge duration.
    fn add(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    /// Zero when `earlier` is in fact later.
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Now, on the monotonic clock. Works on any thread.
pub fn now() -> Instant {
    if super::sim::active() {
        return Instant(super::sim::now_nanos());
    }
    static BASE: OnceLock<std::time::Instant> = OnceLock::new();
    let base = *BASE.get_or_init(std::time::Instant::now);
    Instant(u64::try_from(base.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Milliseconds since the Unix epoch, as Kafka's timestamps are. May jump; never measure durations with it.
pub fn wall_ms() -> i64 {
    if super::sim::active() {
        return super::sim::wall_ms();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Timers further away than this are "never": engines differ in what they accept beyond.
const LONGEST_SLEEP: Duration = Duration::from_secs(365 * 24 * 3600);

/// Waits at least `duration` on this shard.
pub async fn sleep(duration: Duration) {
    let duration = duration.min(LONGEST_SLEEP);
    match engine::current().engine {
        Engine::Uring => super::uring::sleep(duration).await,
        Engine::Posix => super::posix::sleep(duration).await,
        Engine::Sim => super::sim::Sleep::lasting(duration).await,
    }
}

/// Waits until `deadline`; at once when it has passed.
pub async fn sleep_until(deadline: Instant) {
    let remaining = deadline - now();
    if !remaining.is_zero() {
        sleep(remaining).await;
    }
}

/// The time given to [`timeout`] ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline has passed")]
pub struct Elapsed;

/// Awaits `future` for at most `duration`, then drops it. A future that is ready wins over a timer that is due.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut timer = std::pin::pin!(sleep(duration));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        timer.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}
