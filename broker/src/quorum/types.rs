//! The quorum's own words for what a Raft log holds. Free of openraft, so that formats and files outlive a change of
//! library; `raft.rs` translates.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use protocol::ids::uuid_text;

use crate::metadata::Record;

/// A voter is a node with one particular directory: a node whose disk was emptied is another voter, and must be added
/// before it has a vote.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Voter {
    pub node: i32,
    pub directory: [u8; 16],
}

impl fmt::Display for Voter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.node, uuid_text(&self.directory))
    }
}

/// Names one entry of the log: with one leader per term, term and index are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) term: u64,
    pub(super) index: u64,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) payload: Payload,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Payload {
    /// A new leader's first entry.
    Blank,
    /// Metadata records, committed together.
    Records(Arc<Vec<Record>>),
    Membership(Membership),
}

/// Who votes; two configs while one is being replaced by the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Membership {
    pub(super) configs: Vec<BTreeSet<Voter>>,
    /// Address of everybody named above (and of learners).
    pub(super) nodes: BTreeMap<Voter, String>,
}

/// The vote of this voter, as it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SavedVote {
    pub(super) term: u64,
    /// Whom it was given to.
    pub(super) voter: Voter,
    /// Whether that voter won.
    pub(super) committed: bool,
}
