//! The group coordinators of one core. No group request is served, and so none is advertised, until they are plugged in.

use std::rc::Rc;

use super::Shard;

/// Nothing can be asked yet.
pub enum Request {}

/// Nothing is answered yet.
pub enum Reply {}

/// Coordinators of the `__consumer_offsets` partitions that this core leads.
#[derive(Default)]
pub struct Coordinators;

impl Coordinators {
    /// Answers a question from this or another core.
    pub async fn serve(&self, _shard: &Rc<Shard>, request: Request) -> Reply {
        match request {}
    }
}
