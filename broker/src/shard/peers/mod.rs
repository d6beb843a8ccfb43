//! Replication between brokers: one session per (following core, leading broker, leading core), over one TCP connection
//! that the follower opens.
//!
//! ```text
//! follower's core                                              leader's core
//! follow_changed ─▶ following ─▶ fetching ══ replication.listener ══▶ door ─(mesh)─▶ serving ─▶ read_for_follower
//! synced_progress ─▶           ◀═ records as they are appended ═                  ◀─ feed of appended partitions
//! ```
//! The leader sends what is appended at once, while the follower has credit; the follower appends, syncs and says so at
//! once. Nothing is polled: an idle session is silent but for a sign of life.
//!
//! Owns sockets, tasks and time limits. Leaves frames and session state to `replication/`, records to `follow.rs` and
//! `lead.rs`.

mod door;
mod fetching;
mod following;
mod frames;
mod pulse;
mod serving;
mod throttles;

use std::rc::Rc;

pub use door::{Arrival, Followers, welcome};
pub use throttles::Throttles;

use super::Shard;
use crate::rt::net::TcpListener;
use crate::rt::{self, Task};

/// The replication of one core; ends when dropped.
pub struct Peers {
    _accepting: Task<()>,
    _following: Task<()>,
    shard: Rc<Shard>,
}

/// Serves followers that come in at `listener`, and follows what this core is to follow.
pub fn start(shard: &Rc<Shard>, listener: TcpListener) -> Peers {
    Peers {
        _accepting: rt::spawn(door::accept(shard.clone(), listener)),
        _following: rt::spawn(following::follow(shard.clone())),
        shard: shard.clone(),
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.shard.followers.end();
    }
}
