//! Members of a group whose coordinator is lost: in the middle of a rebalance they find the next one, come to one generation
//! again, and none that was shared out is given out twice; while nothing changes they keep their generation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use bytes::Bytes;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitRequestTopicPartition, OffsetCommitResponse,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::{ErrorCode, Request, Str};

use crate::cluster::start_all;
use crate::faults::some_time;
use crate::machine::Machine;
use crate::routed::Routed;
use crate::seeds::{wanted, with_seeds};

pub(crate) const GROUP: &str = "readers";
const TOPIC: &str = "orders";
/// Longer than a client may look for the next coordinator, dead brokers asked on the way included: who is there is not out.
const SESSION_MS: i32 = 30_000;
const REBALANCE_MS: i32 = 4_000;
/// Virtual, at most: each by seed, so that one hears of a rebalance long before another.
const BEAT_EVERY_MS: u64 = 600;
/// Virtual: from when somebody comes until the coordinator goes, at most. About as long as a rebalance takes.
const AMID_MS: u64 = 500;
/// Virtual: a session, a rebalance and an election of the quorum, twice.
const AGREED_WITHIN: Duration = Duration::from_secs(90);
const ROUNDS: usize = 4;
const SEEDS: u64 = 12;
/// The member with a name of its own (KIP-345), and the one that commits.
const STATIC: usize = 1;
const COMMITS: usize = 0;
const INSTANCE: &str = "static";

/// What the members know.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) over: Cell<bool>,
    /// The generation in which each member, by number, has its share.
    pub(crate) stable: RefCell<BTreeMap<usize, i32>>,
    /// Who was the leader in each generation that was shared out.
    leaders: RefCell<BTreeMap<i32, String>>,
    /// Where each member was last told that its generation stands.
    beaten: RefCell<BTreeMap<usize, SocketAddr>>,
    /// The last offset whose commit was acknowledged.
    committed: Cell<Option<i64>>,
}

impl Group {
    /// The generation that all of so many members are in.
    pub(crate) fn agreed(&self, many: usize) -> Option<i32> {
        let stable = self.stable.borrow();
        let first = *stable.values().next()?;
        let agree = stable.len() == many && stable.values().all(|generation| *generation == first);
        agree.then_some(first)
    }
}

fn join(member: &str, instance: Option<Str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_instance_id: instance,
        group_id: GROUP.into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: Str::copy_from(member),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0"),
        }],
        ..Default::default()
    }
}

/// The leader gives every member its own name as its share: the one it gave itself, if it did.
fn sync(joined: &JoinGroupResponse, instance: Option<Str>) -> SyncGroupRequest {
    let share = |member: &JoinGroupResponseMember| {
        let name = member.group_instance_id.as_ref().unwrap_or(&member.member_id);
        SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::copy_from_slice(name.as_bytes()),
        }
    };
    SyncGroupRequest {
        group_instance_id: instance,
        group_id: GROUP.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: joined.members.iter().map(share).collect(),
    }
}

pub(crate) struct Member {
    number: usize,
    client: Routed,
    id: String,
    group: Rc<Group>,
}

impl Member {
    pub(crate) fn new(number: usize, brokers: Vec<SocketAddr>, group: Rc<Group>) -> Member {
        Member {
            number,
            client: Routed::new(brokers),
            id: String::new(),
            group,
        }
    }

    fn instance(&self) -> Option<Str> {
        (self.number == STATIC).then(|| Str::from(INSTANCE))
    }

    /// One request at the coordinator; what its answer says that is no error.
    async fn ask<R>(
        &mut self,
        version: i16,
        request: &R,
        code: fn(&R::Response) -> i16,
    ) -> Option<R::Response>
    where
        R: Request<Response: Debug> + Debug,
    {
        let answer = self.client.try_coordinator(GROUP, version, request).await?;
        match ErrorCode::from_code(code(&answer)) {
            ErrorCode::None | ErrorCode::MemberIdRequired => return Some(answer),
            // Joined again, under the same name or a new one.
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => {}
            ErrorCode::UnknownMemberId => self.id.clear(),
            other => {
                assert!(other.retriable(), "{other:?}");
                self.client.forget_coordinator();
                rt::sleep(Duration::from_millis(50)).await;
            }
        }
        None
    }

    /// Joins and takes its share, once.
    async fn share(&mut self) -> Option<JoinGroupResponse> {
        let asked = join(&self.id, self.instance());
        let joined = self.ask(9, &asked, |answer| answer.error_code).await?;
        self.id = joined.member_id.to_string();
        if joined.error_code != 0 {
            return None;
        }
        let asked = sync(&joined, self.instance());
        let synced = self.ask(5, &asked, |answer| answer.error_code).await?;
        let name = self.instance().unwrap_or(joined.member_id.clone());
        assert_eq!(synced.assignment, name.as_bytes(), "each has its own share");
        Some(joined)
    }

    /// A generation has one leader, whoever asks. One with a name of its own may have got another id meanwhile.
    fn is_led(&self, generation: i32, leader: &str) {
        let leader = match leader.starts_with(INSTANCE) {
            true => INSTANCE.to_string(),
            false => leader.to_string(),
        };
        let before = self.group.leaders.borrow_mut().insert(generation, leader.clone());
        assert!(
            before.as_ref().is_none_or(|before| *before == leader),
            "generation {generation} was shared out twice: by {before:?} and {leader}"
        );
    }

    /// Commits the next offset as a member of its generation.
    async fn commit(&mut self, joined: &JoinGroupResponse) {
        let offset = self.group.committed.get().unwrap_or(0) + 1;
        let request = OffsetCommitRequest {
            group_id: GROUP.into(),
            generation_id_or_member_epoch: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: self.instance(),
            topics: vec![OffsetCommitRequestTopic {
                name: TOPIC.into(),
                partitions: vec![OffsetCommitRequestTopicPartition {
                    committed_offset: offset,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let code = |answer: &OffsetCommitResponse| answer.topics[0].partitions[0].error_code;
        if self.ask(8, &request, code).await.is_some() {
            self.group.committed.set(Some(offset));
        }
    }

    pub(crate) async fn live(mut self) {
        let mut last = -1;
        while !self.group.over.get() {
            let Some(joined) = self.share().await else {
                continue;
            };
            let generation = joined.generation_id;
            assert!(generation >= last, "generation {generation} after {last}");
            last = generation;
            self.is_led(generation, &joined.leader);
            self.group.stable.borrow_mut().insert(self.number, generation);
            self.beat(&joined).await;
            self.group.stable.borrow_mut().remove(&self.number);
        }
    }

    /// Beats until it has to join again.
    async fn beat(&mut self, joined: &JoinGroupResponse) {
        let beat = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: self.instance(),
        };
        while !self.group.over.get() {
            some_time(BEAT_EVERY_MS).await;
            let (known, coordinator) = (self.id.clone(), self.client.known_coordinator());
            let beaten = self.ask(4, &beat, |answer| answer.error_code).await;
            match (beaten, self.client.known_coordinator()) {
                (Some(_), Some(at)) => {
                    self.group.beaten.borrow_mut().insert(self.number, at);
                    if self.number == COMMITS {
                        self.commit(joined).await;
                    }
                }
                _ if known != self.id => return,
                // A coordinator that is gone says nothing about the generation: the next one knows it.
                (None, Some(_)) if coordinator.is_some() => return,
                _ => {}
            }
        }
    }
}

/// The machine that coordinates now.
async fn coordinator<'a>(looks: &mut Routed, machines: &'a [Machine]) -> &'a Machine {
    looks.forget_coordinator();
    let address = looks.coordinator(GROUP).await;
    let found = machines.iter().find(|machine| machine.address() == address);
    found.expect("one of them")
}

async fn lose(machine: &Machine, seed: u64) {
    match rt::random_u64() % 3 {
        0 => machine.stop().await,
        1 => machine.kill(),
        _ => machine.power_off(seed),
    }
}

async fn within<T>(group: &Group, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(done) = done() {
                return done;
            }
            rt::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = rt::timeout(AGREED_WITHIN, looks).await;
    outcome.unwrap_or_else(|_| panic!("{what}: {:?}", group.stable.borrow()))
}

/// Counts in `amid` the coordinators that were lost in the middle of a rebalance.
async fn coordinator_lost(seed: u64, amid: Rc<Cell<usize>>) {
    let machines: Vec<Machine> = Machine::several(3, 1 + (seed % 2) as u16)
        .into_iter()
        .map(|machine| {
            machine
                .with("offsets.topic.replication.factor", "3")
                .with("offsets.topic.num.partitions", "1")
                .with("min.insync.replicas", "2")
                .with("group.initial.rebalance.delay.ms", "100")
        })
        .collect();
    start_all(&machines).await;
    let addresses: Vec<_> = machines.iter().map(Machine::address).collect();
    let group: Rc<Group> = Rc::default();
    let mut looks = Routed::new(addresses.clone());
    looks.create(TOPIC, 1).await;
    let mut members = Vec::new();
    for round in 0..ROUNDS {
        // Whoever comes makes the others rebalance; the coordinator goes somewhere in that.
        let lost = coordinator(&mut looks, &machines).await;
        let member = Member::new(round, addresses.clone(), group.clone());
        members.push(rt::spawn(member.live()));
        some_time(AMID_MS).await;
        if group.agreed(members.len()).is_none() {
            amid.update(|amid| amid + 1);
        }
        lose(lost, seed + round as u64).await;
        within(&group, "one generation", || group.agreed(members.len())).await;
        lost.start().await;

        // Nobody comes and nobody goes: the next coordinator goes on with the generation that the log has.
        let generation = within(&group, "one generation", || group.agreed(members.len())).await;
        let lost = coordinator(&mut looks, &machines).await;
        group.beaten.borrow_mut().clear();
        lose(lost, seed + round as u64).await;
        let beaten_elsewhere = || {
            for (member, now) in group.stable.borrow().iter() {
                assert_eq!(*now, generation, "member {member} lost its generation");
            }
            let beaten = group.beaten.borrow();
            let elsewhere = beaten.values().filter(|at| **at != lost.address());
            (elsewhere.count() == members.len()).then_some(())
        };
        within(&group, "the next coordinator knows everybody", beaten_elsewhere).await;
        assert_eq!(
            group.agreed(members.len()),
            Some(generation),
            "nobody had to join again"
        );
        lost.start().await;
    }
    group.over.set(true);
    for member in members {
        rt::timeout(AGREED_WITHIN, member).await.expect("it ends");
    }
    let acknowledged = group.committed.get().expect("somebody commits");
    let found = loop {
        if let Some(found) = looks.try_committed(GROUP, TOPIC).await {
            break found;
        }
    };
    // One more may have been on its way.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&found),
        "{found} is committed, {acknowledged} was acknowledged"
    );
}

#[test]
fn a_coordinator_lost_in_the_middle_of_a_rebalance_is_replaced() {
    let amid: Rc<Cell<usize>> = Rc::default();
    with_seeds(SEEDS, |seed| coordinator_lost(seed, amid.clone()));
    let of = SEEDS as usize * ROUNDS;
    println!(
        "{} of {of} coordinators were lost in the middle of a rebalance",
        amid.get()
    );
    assert!(wanted().is_some() || amid.get() * 4 > of, "too few");
}
