//! Scenarios of groups: a coordinator with a clock of its own, and clients that say what consumers say.

mod commits;
mod joining;
mod random;
mod statics;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::describe_groups::DescribeGroupsResponseGroup;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitRequestTopicPartition,
};
use protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use protocol::{ErrorCode, Str};

use super::{Client, Groups, Limits, Reply, Request, Timer};
use crate::state_machine::{Given, OutcomeOf, Record, StateMachine, Ticket, TimerChange};

/// The group of most scenarios.
const GROUP: &str = "readers";
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;

/// A coordinator whose log is a vector and whose clock stands still until told.
struct Scene {
    limits: Limits,
    groups: Groups,
    log: Vec<Record>,
    now_ms: i64,
    timers: HashMap<Timer, i64>,
    answers: HashMap<Ticket, Reply>,
    tickets: u64,
    ids: u64,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(Limits::default())
    }

    fn with(limits: Limits) -> Scene {
        let groups = Groups::new(limits.clone());
        let mut scene = Scene {
            limits,
            groups,
            log: Vec::new(),
            now_ms: 1_000_000,
            timers: HashMap::new(),
            answers: HashMap::new(),
            tickets: 0,
            ids: 0,
        };
        scene.run(|groups, given| groups.start(given));
        scene
    }

    /// Loses everything but the log.
    fn restart(&mut self) {
        self.groups = Groups::new(self.limits.clone());
        for record in &self.log {
            self.groups.replay(record).unwrap();
        }
        self.timers.clear();
        self.answers.clear();
        self.run(|groups, given| groups.start(given));
    }

    fn run(&mut self, decide: impl FnOnce(&mut Groups, &mut Given<'_>) -> OutcomeOf<Groups>) {
        let ids = &mut self.ids;
        let mut fresh_id = || {
            *ids += 1;
            u128::from(*ids).to_be_bytes()
        };
        let outcome = decide(
            &mut self.groups,
            &mut Given {
                now_ms: self.now_ms,
                fresh_id: &mut fresh_id,
            },
        );
        for record in outcome.records {
            self.groups.replay(&record).unwrap();
            self.log.push(record);
        }
        for change in outcome.timers {
            match change {
                TimerChange::Set { timer, after_ms } => {
                    self.timers.insert(timer, self.now_ms + after_ms);
                }
                TimerChange::Cancel(timer) => {
                    self.timers.remove(&timer);
                }
            }
        }
        for (ticket, reply) in outcome.replies {
            let doubled = self.answers.insert(ticket, reply);
            assert_eq!(doubled, None, "a request is answered once");
        }
    }

    /// Lets time pass; timers fire when they are due.
    fn pass(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        loop {
            let due = self
                .timers
                .iter()
                .map(|(timer, at)| (*at, format!("{timer:?}"), timer.clone()));
            let Some((at, _, timer)) = due
                .filter(|(at, ..)| *at <= end)
                .min_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)))
            else {
                break;
            };
            self.now_ms = self.now_ms.max(at);
            self.timers.remove(&timer);
            self.run(|groups, given| groups.fire(given, timer));
        }
        self.now_ms = end;
    }

    fn ask(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.run(|groups, given| groups.handle(given, ticket, request));
        ticket
    }

    fn take(&mut self, ticket: Ticket) -> Reply {
        self.answers.remove(&ticket).expect("the request was answered")
    }

    fn is_parked(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    fn join(&mut self, who: &Joiner) -> Ticket {
        let protocols = who
            .protocols
            .iter()
            .map(|(name, metadata)| JoinGroupRequestProtocol {
                name: (*name).into(),
                metadata: metadata.clone(),
            });
        self.ask(Request::Join {
            version: who.version,
            client: Client {
                id: "client".into(),
                host: "/10.0.0.1".into(),
            },
            body: JoinGroupRequest {
                group_id: who.group.into(),
                session_timeout_ms: who.session_ms,
                rebalance_timeout_ms: REBALANCE_MS,
                member_id: Str::copy_from(&who.member),
                group_instance_id: who.instance.map(Str::from),
                protocol_type: who.kind.into(),
                protocols: protocols.collect(),
                reason: None,
            },
        })
    }

    fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.take(ticket) {
            Reply::Join(reply) => reply,
            other => panic!("not an answer to a join: {other:?}"),
        }
    }

    /// Asks for a member id, as clients do first.
    fn member_id(&mut self, who: &Joiner) -> String {
        let ticket = self.join(&Joiner {
            member: String::new(),
            ..who.clone()
        });
        let reply = self.joined(ticket);
        assert_eq!(reply.error_code, ErrorCode::MemberIdRequired.code());
        reply.member_id.to_string()
    }

    fn sync_as(&mut self, member: &str, generation: i32, plan: &[(&str, &str)]) -> Ticket {
        let assignments = plan.iter().map(|(member, work)| SyncGroupRequestAssignment {
            member_id: Str::copy_from(member),
            assignment: Bytes::copy_from_slice(work.as_bytes()),
        });
        self.ask(Request::Sync(SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: Str::copy_from(member),
            assignments: assignments.collect(),
            ..Default::default()
        }))
    }

    fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.take(ticket) {
            Reply::Sync(reply) => reply,
            other => panic!("not an answer to a sync: {other:?}"),
        }
    }

    fn beat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let ticket = self.ask(Request::Heartbeat(HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: Str::copy_from(member),
            group_instance_id: None,
        }));
        match self.take(ticket) {
            Reply::Heartbeat(code) => code,
            other => panic!("not an answer to a heartbeat: {other:?}"),
        }
    }

    fn leave(&mut self, members: &[(&str, Option<&'static str>)]) -> Vec<i16> {
        let members = members.iter().map(|(member, instance)| LeaveGroupRequestMember {
            member_id: Str::copy_from(member),
            group_instance_id: instance.map(Str::from),
            reason: None,
        });
        let body = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: members.collect(),
            ..Default::default()
        };
        let ticket = self.ask(Request::Leave(body));
        match self.take(ticket) {
            Reply::Leave(reply) => reply.members.iter().map(|member| member.error_code).collect(),
            other => panic!("not an answer to a leave: {other:?}"),
        }
    }

    fn commit(&mut self, commit: &Commit) -> ErrorCode {
        let partition = OffsetCommitRequestTopicPartition {
            partition_index: commit.partition,
            committed_offset: commit.offset,
            committed_leader_epoch: 3,
            committed_metadata: Some(Str::copy_from(&commit.metadata)),
        };
        let topic = OffsetCommitRequestTopic {
            topic_id: [commit.topic_id; 16],
            name: commit.topic.into(),
            partitions: vec![partition],
        };
        let ticket = self.ask(Request::Commit {
            version: commit.version,
            body: OffsetCommitRequest {
                group_id: GROUP.into(),
                generation_id_or_member_epoch: commit.generation,
                member_id: Str::copy_from(&commit.member),
                retention_time_ms: commit.retention_ms,
                topics: vec![topic],
                ..Default::default()
            },
        });
        match self.take(ticket) {
            Reply::Commit(reply) => ErrorCode::from_code(reply.topics[0].partitions[0].error_code),
            other => panic!("not an answer to a commit: {other:?}"),
        }
    }

    /// The committed offset of partition 0, -1 if there is none.
    fn committed(&mut self, topic: &'static str, topic_id: u8) -> i64 {
        let topic = OffsetFetchRequestGroupTopic {
            topic_id: [topic_id; 16],
            name: topic.into(),
            partition_indexes: vec![0],
        };
        let body = OffsetFetchRequestGroup {
            group_id: GROUP.into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let ticket = self.ask(Request::Fetch(body));
        match self.take(ticket) {
            Reply::Fetch(reply) => reply.topics[0].partitions[0].committed_offset,
            other => panic!("not an answer to a fetch: {other:?}"),
        }
    }

    fn describe(&mut self) -> DescribeGroupsResponseGroup {
        let ticket = self.ask(Request::Describe {
            version: 6,
            group: GROUP.into(),
        });
        match self.take(ticket) {
            Reply::Describe(reply) => reply,
            other => panic!("not a description: {other:?}"),
        }
    }

    fn state(&mut self) -> String {
        self.describe().group_state.to_string()
    }

    /// One member joins, waits out the initial delay and syncs. Returns its id.
    fn stable_with(&mut self, who: &Joiner) -> String {
        let member = self.member_id(who);
        let ticket = self.join(&Joiner {
            member: member.clone(),
            ..who.clone()
        });
        self.pass(i64::from(self.limits.initial_rebalance_delay_ms));
        let generation = self.joined(ticket).generation_id;
        let ticket = self.sync_as(&member, generation, &[(&member, "all of it")]);
        assert_eq!(self.synced(ticket).error_code, 0);
        member
    }

    /// Two members of generation 2, the first one leads. Returns their ids.
    fn stable_with_two(&mut self) -> (String, String) {
        let first = self.stable_with(&consumer());
        let second = self.member_id(&consumer());
        let joining = self.join(&consumer().called(&second));
        let again = self.join(&consumer().called(&first));
        assert_eq!(self.joined(again).generation_id, 2);
        assert_eq!(self.joined(joining).generation_id, 2);
        let waiting = self.sync_as(&second, 2, &[]);
        assert!(self.is_parked(waiting), "a follower waits for the leader's plan");
        let leading = self.sync_as(&first, 2, &[(&first, "p0"), (&second, "p1")]);
        assert_eq!(&*self.synced(leading).assignment, b"p0");
        assert_eq!(&*self.synced(waiting).assignment, b"p1");
        (first, second)
    }
}

/// A consumer about to join.
#[derive(Clone)]
struct Joiner {
    version: i16,
    group: &'static str,
    member: String,
    instance: Option<&'static str>,
    session_ms: i32,
    kind: &'static str,
    protocols: Vec<(&'static str, Bytes)>,
}

/// A consumer of topic `orders`, JoinGroup version 9, without an id yet.
fn consumer() -> Joiner {
    Joiner {
        version: 9,
        group: GROUP,
        member: String::new(),
        instance: None,
        session_ms: SESSION_MS,
        kind: "consumer",
        protocols: vec![("range", subscription("orders"))],
    }
}

impl Joiner {
    fn called(mut self, member: &str) -> Joiner {
        self.member = member.to_owned();
        self
    }

    fn instance(mut self, instance: &'static str) -> Joiner {
        self.instance = Some(instance);
        self
    }

    fn version(mut self, version: i16) -> Joiner {
        self.version = version;
        self
    }

    fn offers(mut self, protocols: &[&'static str]) -> Joiner {
        self.protocols = protocols
            .iter()
            .map(|name| (*name, subscription("orders")))
            .collect();
        self
    }
}

fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend((-1i32).to_be_bytes());
    Bytes::from(bytes)
}

/// A commit about to be made.
#[derive(Clone)]
struct Commit {
    version: i16,
    member: String,
    generation: i32,
    topic: &'static str,
    topic_id: u8,
    partition: i32,
    offset: i64,
    metadata: String,
    retention_ms: i64,
}

/// A commit of somebody who is no member.
fn offset(offset: i64) -> Commit {
    Commit {
        version: 9,
        member: String::new(),
        generation: -1,
        topic: "orders",
        topic_id: 7,
        partition: 0,
        offset,
        metadata: String::new(),
        retention_ms: -1,
    }
}

impl Commit {
    fn by(mut self, member: &str, generation: i32) -> Commit {
        self.member = member.to_owned();
        self.generation = generation;
        self
    }

    fn of(mut self, topic: &'static str) -> Commit {
        self.topic = topic;
        self
    }
}

/// Which kinds of records were written since `from`: (record type, whether it deletes).
fn kinds(log: &[Record]) -> Vec<(u8, bool)> {
    log.iter()
        .map(|record| (record.key[1], record.value.is_none()))
        .collect()
}

fn arc(text: &str) -> Arc<str> {
    Arc::from(text)
}
