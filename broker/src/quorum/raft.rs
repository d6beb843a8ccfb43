//! openraft's types, and the state machine it drives: committed entries become the image.
//!
//! This file, `log_store.rs`, `network.rs` and `proposer.rs` are the only ones that name openraft; none of its types
//! leaves this folder. The runtime is a type: `runtime.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};

use super::handle::Publisher;
use super::log_format::SnapshotHead;
use super::log_store::LogGauge;
use super::snapshot::Snapshots;
use super::types::{self, EntryId, Voter};
use crate::metadata::{MetadataImage, Record};
use crate::rt::control;

openraft::declare_raft_types!(
    /// The metadata quorum's types.
    pub(super) Config:
        D = Proposal,
        R = Applied,
        NodeId = Voter,
        Node = Address,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, Voter>,
        AsyncRuntime = super::runtime::ControlRuntime,
);

pub(super) type RaftMetrics = openraft::RaftMetrics<Config>;
pub(super) type Raft = openraft::Raft<Config, StateMachine>;
pub(super) type LogId = openraft::type_config::alias::LogIdOf<Config>;
pub(super) type Entry = openraft::type_config::alias::EntryOf<Config>;
pub(super) type Vote = openraft::type_config::alias::VoteOf<Config>;
type Membership = openraft::Membership<Voter, Address>;
type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Config>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Config>;
type Snapshot = openraft::type_config::alias::SnapshotOf<Config, Bytes>;

/// Where a voter answers other voters: host:port of its control listener; empty while there is a single voter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Address(pub(super) String);

/// Metadata records to commit together: those of all requests that were decided in one turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    pub(super) records: Arc<Vec<Record>>,
}

impl fmt::Display for Proposal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} metadata records", self.records.len())
    }
}

/// A committed entry is in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    /// Number of the published image; 0 when the entry changed nothing.
    pub(super) published: u64,
}

pub(super) fn log_id(id: EntryId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(super) fn entry_id(id: &LogId) -> EntryId {
    EntryId {
        term: id.committed_leader_id().term,
        index: id.index(),
    }
}

pub(super) fn to_openraft(entry: types::Entry) -> io::Result<Entry> {
    use openraft::EntryPayload;
    let payload = match entry.payload {
        types::Payload::Blank => EntryPayload::Blank,
        types::Payload::Records(records) => EntryPayload::Normal(Proposal { records }),
        types::Payload::Membership(membership) => EntryPayload::Membership(openraft_membership(membership)?),
    };
    Ok(Entry {
        log_id: log_id(entry.id),
        payload,
    })
}

pub(super) fn from_openraft(entry: &Entry) -> types::Entry {
    use openraft::EntryPayload;
    let payload = match &entry.payload {
        EntryPayload::Blank => types::Payload::Blank,
        EntryPayload::Normal(proposal) => types::Payload::Records(proposal.records.clone()),
        EntryPayload::Membership(membership) => types::Payload::Membership(own_membership(membership)),
    };
    types::Entry {
        id: entry_id(&entry.log_id),
        payload,
    }
}

fn openraft_membership(membership: types::Membership) -> io::Result<Membership> {
    let nodes: BTreeMap<Voter, Address> = membership
        .nodes
        .into_iter()
        .map(|(voter, address)| (voter, Address(address)))
        .collect();
    Membership::new(membership.configs, nodes).map_err(|error| io::Error::other(error.to_string()))
}

fn own_membership(membership: &Membership) -> types::Membership {
    types::Membership {
        configs: membership.get_joint_config().clone(),
        nodes: membership
            .nodes()
            .map(|(voter, address)| (*voter, address.0.clone()))
            .collect(),
    }
}

/// Committed entries in, image out. Owned by openraft's state machine task.
pub(super) struct StateMachine {
    image: MetadataImage,
    applied: Option<LogId>,
    membership: StoredMembership,
    publisher: Arc<Publisher>,
    snapshots: Snapshots,
    gauge: LogGauge,
}

impl StateMachine {
    /// From the last snapshot, or from nothing.
    pub(super) fn new(
        loaded: Option<(SnapshotHead, MetadataImage)>,
        publisher: Arc<Publisher>,
        snapshots: Snapshots,
        gauge: LogGauge,
    ) -> io::Result<StateMachine> {
        let mut machine = StateMachine {
            image: MetadataImage::default(),
            applied: None,
            membership: StoredMembership::default(),
            publisher,
            snapshots,
            gauge,
        };
        if let Some((head, image)) = loaded {
            machine.applied = head.last.map(log_id);
            machine.membership = stored_membership(&head)?;
            machine.image = image;
        }
        Ok(machine)
    }

    fn head(&self) -> SnapshotHead {
        SnapshotHead {
            last: self.applied.as_ref().map(entry_id),
            membership_at: self.membership.log_id().as_ref().map(entry_id),
            membership: own_membership(self.membership.membership()),
        }
    }

    fn apply_one(&mut self, entry: &Entry) -> io::Result<Applied> {
        use openraft::EntryPayload;
        self.applied = Some(entry.log_id);
        self.image.offset = entry.log_id.index();
        match &entry.payload {
            EntryPayload::Blank => Ok(Applied { published: 0 }),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Ok(Applied { published: 0 })
            }
            EntryPayload::Normal(proposal) => {
                self.image
                    .apply_each(proposal.records.iter())
                    .map_err(io::Error::other)?;
                let image = self.image.clone();
                // Who leads is not in the log: it stays as the last publication had it.
                let published = self.publisher.change(|latest| image.led_by(latest.controller));
                Ok(Applied { published })
            }
        }
    }
}

fn stored_membership(head: &SnapshotHead) -> io::Result<StoredMembership> {
    let membership = if head.membership.configs.is_empty() {
        Membership::default()
    } else {
        openraft_membership(head.membership.clone())?
    };
    Ok(StoredMembership::new(head.membership_at.map(log_id), membership))
}

impl RaftStateMachine<Config> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<openraft::storage::EntryResponder<Config>, io::Error>>
            + Unpin
            + openraft::OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = self.apply_one(&entry)?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            head: self.head(),
            image: self.image.clone(),
            snapshots: self.snapshots.clone(),
            gauge: self.gauge.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        let bytes = snapshot.clone();
        let (head, mut image) = control::blocking(move || snapshots.install(&bytes))
            .await
            .map_err(io::Error::other)?;
        if head.last.map(log_id) != meta.last_log_id {
            return Err(io::Error::other(
                "a metadata snapshot is not what its sender says it is",
            ));
        }
        self.applied = head.last.map(log_id);
        self.membership = stored_membership(&head)?;
        image.controller = self.publisher.image().controller;
        self.image = image.clone();
        self.publisher.publish(image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.snapshots.clone();
        let latest = control::blocking(move || snapshots.latest())
            .await
            .map_err(io::Error::other)?;
        latest.map(|(head, bytes)| snapshot_of(&head, bytes)).transpose()
    }
}

pub(super) fn snapshot_of(head: &SnapshotHead, bytes: Bytes) -> io::Result<Snapshot> {
    Ok(Snapshot {
        meta: SnapshotMeta {
            last_log_id: head.last.map(log_id),
            last_membership: stored_membership(head)?,
        },
        snapshot: bytes,
    })
}

/// Writes one snapshot, from a clone of the image that costs nothing.
pub(super) struct Builder {
    head: SnapshotHead,
    image: MetadataImage,
    snapshots: Snapshots,
    gauge: LogGauge,
}

impl RaftSnapshotBuilder<Config> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (snapshots, head, image) = (self.snapshots.clone(), self.head.clone(), self.image.clone());
        let bytes = control::blocking(move || snapshots.write(&head, &image))
            .await
            .map_err(io::Error::other)?;
        self.gauge.snapshot_written(bytes.len() as u64);
        snapshot_of(&self.head, bytes)
    }
}
