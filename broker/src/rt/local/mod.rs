//! Waiting within one shard: `Rc`-based, no atomics, wakers never leave the thread. Everything here is `!Send`, works
//! on every engine, and is safe to cancel: a dropped future gives back what it was about to get.

mod budget;
mod notify;
mod oneshot;
mod queue;

pub use budget::{Budget, Permit};
pub use notify::{Event, EventWait, Notified, Notify};
pub use oneshot::{Answer, Dropped, Question, oneshot};
pub use queue::{Closed, QueueFull, QueueReceiver, QueueSender, queue};
