//! Which seeds a scenario runs with, and the check that a seed decides everything.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use broker::rt::sim::{self, Report};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Runs a scenario with `many` seeds (or as the environment says).
pub(crate) fn with_seeds<F>(many: u64, scenario: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + 'static,
{
    for seed in wanted().unwrap_or(0..many) {
        run(seed, &scenario);
    }
}

/// Every line begins with virtual time and the process that acts.
struct History;

impl FormatTime for History {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        to.write_str(&sim::who_and_when())
    }
}

/// With `SIM_LOG=<level>` a run prints its history: what every broker logs, in virtual time.
pub(crate) fn tell_history() {
    if let Ok(level) = std::env::var("SIM_LOG") {
        let level: tracing::Level = level.parse().expect("error, warn, info, debug or trace");
        let _ = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_timer(History)
            .with_ansi(false)
            .try_init();
    }
}

/// Which seeds the environment asks for; none if it says nothing.
pub(crate) fn wanted() -> Option<Range<u64>> {
    let number = |name: &str| {
        let given = std::env::var(name).ok()?;
        Some(given.parse::<u64>().expect("a seed is a number"))
    };
    match number("SIM_SEED") {
        Some(seed) => Some(seed..seed + 1),
        None => number("SIM_SEEDS").map(|many| 0..many),
    }
}

/// Runs one seed.
pub(crate) fn one<T: 'static>(seed: u64, scenario: impl Future<Output = T> + 'static) -> T {
    tell_history();
    match catch_unwind(AssertUnwindSafe(|| sim::run(seed, scenario))) {
        Ok((outcome, _)) => outcome,
        Err(payload) => {
            println!("seed {seed} failed: SIM_SEED={seed} runs it alone, SIM_LOG=info prints its history");
            resume_unwind(payload)
        }
    }
}

fn run<F>(seed: u64, scenario: &impl Fn(u64) -> F) -> Report
where
    F: Future<Output = ()> + 'static,
{
    tell_history();
    let outcome = catch_unwind(AssertUnwindSafe(|| sim::run(seed, scenario(seed))));
    match outcome {
        Ok(((), report)) => report,
        Err(payload) => {
            println!("seed {seed} failed: SIM_SEED={seed} runs it alone, SIM_LOG=info prints its history");
            resume_unwind(payload)
        }
    }
}

/// Runs one seed twice; the runs must have decided everything alike.
pub(crate) fn twice<F>(seed: u64, scenario: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let (first, second) = (run(seed, &scenario), run(seed, &scenario));
    assert_eq!(
        first, second,
        "seed {seed}: something looks at more than the seed"
    );
}
