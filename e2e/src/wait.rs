//! Waiting for a condition with a deadline: the only way a story lets time pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the answer is `Ok`, and gives the last error when the deadline passes first.
pub(crate) fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() > deadline => {
                return Err(error).with_context(|| format!("waited {} s for: {what}", deadline.as_secs()));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Asks again and again for the whole time, and fails at the first error: for what must stay as it is.
pub(crate) fn stays(what: &str, time: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        ask().with_context(|| {
            format!(
                "after {:.1} s it no longer holds: {what}",
                start.elapsed().as_secs_f32()
            )
        })?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
