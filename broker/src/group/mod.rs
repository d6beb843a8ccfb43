//! Consumer groups of one `__consumer_offsets` partition as a replicated state machine (KIP-62 and what followed:
//! KIP-345 static members, KIP-394 member ids first, KIP-814 skipped assignments): request in, records and replies out.
//!
//! Owns what a group answers and what is stored about it. Pure: time and ids come in, and who is parked is a ticket.
//! Leaves appending, waiting and timers to `shard/coordinator`, names and ids of topics and the wire's versions to `api/`.

mod describe;
mod membership;
mod offsets;
pub mod placement;
mod rebalance;
mod record;
mod session;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::messages::delete_groups::DeleteGroupsResponseResult;
use protocol::messages::describe_groups::DescribeGroupsResponseGroup;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponseGroup};
use protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use protocol::{ErrorCode, Str};

use crate::state_machine::{Given, Outcome, OutcomeOf, Record, StateMachine, Ticket};
use record::{Durable, LONGEST_TEXT};
use state::{Group, State};

pub use record::Unreadable;

/// The broker properties that groups obey.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_ms: i64,
}

impl Default for Limits {
    /// Kafka 4.4's defaults.
    fn default() -> Limits {
        Limits {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            retention_check_ms: 600_000,
        }
    }
}

/// Who sent a JoinGroup.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// `client.id`, may be empty.
    pub id: Str,
    /// Its address as Kafka shows it: `/127.0.0.1`.
    pub host: Str,
}

/// What clients ask a group coordinator. Topics carry both name and id where the asker's version knows one of them:
/// `api/` fills in the other.
#[derive(Clone, Debug)]
pub enum Request {
    /// JoinGroup.
    Join {
        /// Of the request: 4 and later are given their member id first, 9 and later can skip the assignment.
        version: i16,
        /// Who asks.
        client: Client,
        /// The request.
        body: JoinGroupRequest,
    },
    /// SyncGroup.
    Sync(SyncGroupRequest),
    /// Heartbeat.
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup; up to version 2 `api/` turns the one member into a list.
    Leave(LeaveGroupRequest),
    /// OffsetCommit.
    Commit {
        /// Of the request: 9 and later know GROUP_ID_NOT_FOUND.
        version: i16,
        /// The request, with topics that exist.
        body: OffsetCommitRequest,
    },
    /// One group of OffsetFetch.
    Fetch(OffsetFetchRequestGroup),
    /// The groups of this partition, filtered.
    List(ListGroupsRequest),
    /// One group of DescribeGroups.
    Describe {
        /// Of the request: 6 and later are told that a group does not exist.
        version: i16,
        /// Which group.
        group: Str,
    },
    /// One group of DeleteGroups.
    Delete(Str),
    /// OffsetDelete.
    DeleteOffsets(OffsetDeleteRequest),
    /// These topics are gone, and so are the offsets committed for them. Not answered.
    ForgetTopics(Vec<Arc<str>>),
}

/// The answers, variant for variant.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`Request::Join`].
    Join(JoinGroupResponse),
    /// To [`Request::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(ErrorCode),
    /// To [`Request::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Request::Commit`].
    Commit(OffsetCommitResponse),
    /// To [`Request::Fetch`].
    Fetch(OffsetFetchResponseGroup),
    /// To [`Request::List`].
    List(Vec<ListGroupsResponseGroup>),
    /// To [`Request::Describe`].
    Describe(DescribeGroupsResponseGroup),
    /// To [`Request::Delete`].
    Delete(DeleteGroupsResponseResult),
    /// To [`Request::DeleteOffsets`].
    DeleteOffsets(OffsetDeleteResponse),
    /// To any: this coordinator cannot answer, for a reason that has nothing to do with the group.
    Refused(ErrorCode),
}

impl Request {
    /// The group it is about; none for [`Request::List`] and [`Request::ForgetTopics`], which are for every partition.
    pub fn group(&self) -> Option<&Str> {
        match self {
            Request::Join { body, .. } => Some(&body.group_id),
            Request::Sync(body) => Some(&body.group_id),
            Request::Heartbeat(body) => Some(&body.group_id),
            Request::Leave(body) => Some(&body.group_id),
            Request::Commit { body, .. } => Some(&body.group_id),
            Request::Fetch(body) => Some(&body.group_id),
            Request::Describe { group, .. } | Request::Delete(group) => Some(group),
            Request::DeleteOffsets(body) => Some(&body.group_id),
            Request::List(_) | Request::ForgetTopics(_) => None,
        }
    }
}

/// Names of the timers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The join phase of a group ends, or its initial delay does.
    Join(Arc<str>),
    /// Members that did not fetch their assignment are out.
    Sync(Arc<str>),
    /// A member was silent for too long, or did not come back with the id it was given.
    Session {
        /// Its group.
        group: Arc<str>,
        /// Its id.
        member: Arc<str>,
    },
    /// Time to look for offsets that expired.
    Expiry,
}

type Out = Outcome<Reply, Timer>;

/// What one decision works with beside the groups.
struct Step<'a, 'g> {
    limits: &'a Limits,
    durable: &'a Durable,
    given: &'a mut Given<'g>,
    out: Out,
}

type Soft = BTreeMap<Arc<str>, Group>;

/// The groups of one partition. Lives on the core that owns the partition.
#[derive(Debug)]
pub struct Groups {
    limits: Limits,
    durable: Durable,
    /// Groups at work. One that only ever stored offsets is not here.
    soft: Soft,
}

impl Groups {
    /// No groups yet: the log is to be replayed, then `start` called.
    pub fn new(limits: Limits) -> Groups {
        Groups {
            limits,
            durable: Durable::default(),
            soft: Soft::new(),
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        let only_offsets = self
            .durable
            .offsets
            .keys()
            .filter(|id| !self.soft.contains_key(*id))
            .count();
        self.soft.len() + only_offsets
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs one decision, then forgets groups that it left without anything worth keeping.
    fn step(&mut self, given: &mut Given<'_>, decide: impl FnOnce(&mut Step<'_, '_>, &mut Soft)) -> Out {
        let mut step = Step {
            limits: &self.limits,
            durable: &self.durable,
            given,
            out: Outcome::default(),
        };
        decide(&mut step, &mut self.soft);
        step.out
    }

    /// A group that nobody joined in the end leaves nothing behind.
    fn forget_if_blank(&mut self, id: &str) {
        let blank = |group: &Group| {
            group.state() == State::Empty && group.generation == 0 && group.pending.is_empty()
        };
        if self.soft.get(id).is_some_and(blank) && !self.durable.groups.contains_key(id) {
            self.soft.remove(id);
        }
    }
}

impl StateMachine for Groups {
    type Request = Request;
    type Reply = Reply;
    type Timer = Timer;
    type Unreadable = Unreadable;

    fn replay(&mut self, record: &Record) -> Result<(), Unreadable> {
        let gone = self.durable.replay(record)?;
        if let Some(id) = gone {
            // Only a group at rest is deleted, so nobody is parked in it.
            self.soft.remove(&id);
        }
        Ok(())
    }

    fn start(&mut self, given: &mut Given<'_>) -> OutcomeOf<Self> {
        self.soft = self
            .durable
            .groups
            .iter()
            .map(|(id, value)| (id.clone(), record::restored(value)))
            .collect();
        self.step(given, |step, soft| {
            for (id, group) in soft {
                rebalance::resume(step, id, group);
            }
            step.out.set_timer(Timer::Expiry, step.limits.retention_check_ms);
        })
    }

    fn handle(&mut self, given: &mut Given<'_>, ticket: Ticket, request: Request) -> OutcomeOf<Self> {
        let group = request.group().cloned();
        let out = self.step(given, |step, soft| match request {
            Request::Join {
                version,
                client,
                body,
            } => {
                let join = membership::Join {
                    version,
                    client,
                    body,
                    ticket,
                };
                membership::join(step, soft, join);
            }
            Request::Sync(body) => session::sync(step, soft, ticket, &body),
            Request::Heartbeat(body) => session::heartbeat(step, soft, ticket, &body),
            Request::Leave(body) => session::leave(step, soft, ticket, &body),
            Request::Commit { version, body } => offsets::commit(step, soft, ticket, version, &body),
            Request::Fetch(body) => offsets::fetch(step, ticket, body),
            Request::List(filter) => describe::list(step, soft, ticket, &filter),
            Request::Describe { version, group } => describe::describe(step, soft, ticket, version, group),
            Request::Delete(group) => offsets::delete_group(step, soft, ticket, group),
            Request::DeleteOffsets(body) => offsets::delete(step, soft, ticket, body),
            Request::ForgetTopics(topics) => offsets::forget_topics(step, &topics),
        });
        if let Some(group) = group {
            self.forget_if_blank(&group);
        }
        out
    }

    fn fire(&mut self, given: &mut Given<'_>, timer: Timer) -> OutcomeOf<Self> {
        let out = self.step(given, |step, soft| match &timer {
            Timer::Join(id) => rebalance::join_phase_ends(step, soft, id),
            Timer::Sync(id) => rebalance::sync_phase_ends(step, soft, id),
            Timer::Session { group, member } => rebalance::session_ends(step, soft, group, member),
            Timer::Expiry => offsets::expire(step, soft),
        });
        if let Timer::Join(id) | Timer::Session { group: id, .. } = &timer {
            self.forget_if_blank(id);
        }
        out
    }
}

/// Whether a group of this name can be joined and stored.
fn is_group_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= LONGEST_TEXT
}
