//! The runtime seam: everything the data plane may ask of a runtime, and the only folder that names glommio.
//!
//! Owns: executors (one thread per shard), tasks, timers, the clock, randomness, TCP, files, the blocking pool,
//! and the channels that cross threads. Leaves to others: what any of it is used for; nothing here knows Kafka.
//!
//! ```text
//!   shard 0 (thread)          shard 1 (thread)             control plane (tokio threads)
//!   ┌────────────────┐        ┌────────────────┐           ┌────────────────────────────┐
//!   │ tasks, timers, │──mesh──│ tasks, timers, │◀─doorbell─│ quorum, gRPC, health       │
//!   │ tcp, files     │        │ tcp, files     │──Fn(..)──▶│ (`control`: Send futures)  │
//!   └───────┬────────┘        └───────┬────────┘           └────────────────────────────┘
//!        ring, blocking pool       ring, blocking pool
//! ```
//!
//! # Rules every caller can rely on (all engines)
//! - [`spawn`] never polls the new task before it returns, so a `RefCell` borrowed across `spawn` is safe.
//! - Dropping a [`Task`] drops its future at once. A detached task is dropped when its shard's `main` returns.
//! - A file operation or a [`blocking`] call that has started runs to its end even when its future is dropped.
//! - No waker ever leaves its thread. Crossing threads goes through [`doorbell`] or [`mesh`] and nothing else.
//!   Never await another runtime's or crate's cross-thread channel on a shard: glommio 0.9 has a race in task wakers
//!   that frees a task twice, in entirely safe Rust. (`tokio::sync` senders' non-async `send` is fine.)
//! - One task must not hold more than 32,767 clones of its own waker (glommio aborts): await many things through
//!   `FuturesUnordered` or one task each, not through a plain `join_all`.
//! - A panic in a task or in a blocking call ends the process (see [`on_shard_panic`]): the shard's state is unknown.
//!
//! # The third engine
//! [`sim`] runs whole brokers on one thread in virtual time, for tests. The engines meet the rest of `rt` in few places,
//! each a `match` on [`Engine`]; where there is no shard (the control plane, the clock, randomness) the question is
//! whether the thread runs a simulated world.

pub mod control;
pub mod cores;
pub mod doorbell;
mod engine;
pub mod file;
pub mod limits;
pub mod local;
pub mod mesh;
pub mod net;
mod posix;
pub mod probe;
mod random;
pub mod recorder;
mod shards;
pub mod sim;
mod slices;
mod task;
#[cfg(test)]
mod tests;
mod time;
mod uring;

pub use engine::{blocking, spawn, yield_if_needed, yield_now};
pub use probe::{EngineChoice, EngineReason, EngineRefused};
pub use random::{Hashing, random_u64, random_uuid};
pub use shards::{Executors, PanicPolicy, ShardPanicked, on_shard_panic, start};
pub use task::Task;
pub use time::{Elapsed, Instant, now, sleep, sleep_until, timeout, wall_ms};

use std::fmt;

pub use futures::future::LocalBoxFuture;

/// What runs the shards of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// glommio: readiness and file IO through io_uring.
    Uring,
    /// tokio current-thread per shard, files on a bounded pool of threads.
    Posix,
    /// Virtual time on one thread, for tests: see [`sim`].
    Sim,
}

impl Engine {
    /// The word used in logs, metrics, the admin API and the property `io.engine`.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::Posix => "posix",
            Engine::Sim => "sim",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the operator of the broker asks for (property `io.engine`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoEngine {
    /// `uring` where the machine allows it, `posix` otherwise.
    #[default]
    Auto,
    /// `uring` or a start-up error that says how to allow it.
    Uring,
    /// `posix`, without asking the kernel.
    Posix,
}

impl std::str::FromStr for IoEngine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(IoEngine::Auto),
            "uring" => Ok(IoEngine::Uring),
            "posix" => Ok(IoEngine::Posix),
            other => Err(format!("`{other}` is none of auto, uring, posix")),
        }
    }
}

/// Index of a shard, `0..shards`. One shard is one executor thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
