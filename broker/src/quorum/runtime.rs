//! The runtime that openraft takes as a type: everything through `rt::control`, so that the quorum runs on tokio in
//! production and in virtual time in a simulated world. Channels are tokio's: they know no runtime.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::async_runtime::{AsyncRuntime, Instant};
use openraft::{OptionalSend, TokioRuntime};
use rand_core::TryRng;

use crate::rt::control::{self, ControlTask, Joined, Sleep, TaskEnded};
use crate::rt::{self, Elapsed};

/// See the module.
#[derive(Debug)]
pub(super) struct ControlRuntime;

/// A point on the clock of `rt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(rt::Instant);

impl Moment {
    /// The time since then.
    pub(super) fn silent_for(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Random bits of `rt`: seeded in a simulated world.
pub(super) struct Bits;

impl TryRng for Bits {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((rt::random_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(rt::random_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&rt::random_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl AsyncRuntime for ControlRuntime {
    type JoinError = TaskEnded;
    type JoinHandle<T: OptionalSend + 'static> = Joined<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Bits;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let task: ControlTask<T::Output> = control::spawn(future);
        task.joined()
    }

    fn sleep(duration: Duration) -> Sleep {
        Sleep::lasting(duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        Sleep::lasting(deadline - Moment::now())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        Timeout {
            future: Box::pin(future),
            timer: Sleep::lasting(duration),
        }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Moment, future: F) -> Timeout<F> {
        Self::timeout(deadline - Moment::now(), future)
    }

    fn is_panic(error: &TaskEnded) -> bool {
        matches!(error, TaskEnded::Panicked(_))
    }

    fn thread_rng() -> Bits {
        Bits
    }

    fn new(_threads: usize) -> Self {
        ControlRuntime
    }

    /// Nobody calls it: the control plane has its own threads.
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        futures::executor::block_on(future)
    }
}

/// A future with a deadline.
pub(super) struct Timeout<F> {
    future: Pin<Box<F>>,
    timer: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut self.timer).poll(cx).map(|()| Err(Elapsed))
    }
}

impl Instant for Moment {
    fn now() -> Moment {
        Moment(rt::now())
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, duration: Duration) -> Moment {
        Moment(self.0 + duration)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.before(duration))
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Moment) -> Duration {
        self.0 - earlier.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
