//! JoinGroup: who may become or stay a member, and what a member that joins again sets off.
//!
//! Owns the decision; the rebalance it may start is in `rebalance.rs`.

use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use protocol::{ErrorCode, Str};

use super::record::{self, LONGEST_TEXT};
use super::state::{Group, Member, State};
use super::{Client, Limits, Reply, Soft, Step, Timer, is_group_id, rebalance};
use crate::state_machine::Ticket;

/// From this version on a member is told its id before it may join (KIP-394).
const MEMBER_ID_FIRST: i16 = 4;
/// From this version on a leader understands that it need not assign (KIP-814).
const SKIPS_ASSIGNMENT: i16 = 9;
/// How long a new member may stay parked. It cannot send heartbeats before it knows its id, and a client that gave up and
/// joined again under another id would otherwise hold the group up for ever.
const NEW_MEMBER_TIMEOUT_MS: i64 = 5 * 60_000;
/// Room that the uuid behind `client.id` or `group.instance.id` takes in a member id.
const ID_SUFFIX: usize = 37;

/// One JoinGroup on its way through.
pub(super) struct Join {
    pub(super) version: i16,
    pub(super) client: Client,
    pub(super) body: JoinGroupRequest,
    pub(super) ticket: Ticket,
}

/// Decides on a JoinGroup; it is answered now or parked until the join phase ends.
pub(super) fn join(step: &mut Step<'_, '_>, soft: &mut Soft, join: Join) {
    if let Some(error) = unacceptable(step.limits, &join) {
        return refuse(step, &join, error);
    }
    if !join.body.member_id.is_empty() && !soft.contains_key(join.body.group_id.as_str()) {
        return refuse(step, &join, ErrorCode::UnknownMemberId);
    }
    let id: Arc<str> = match soft.get_key_value(join.body.group_id.as_str()) {
        Some((id, _)) => id.clone(),
        None => Arc::from(join.body.group_id.as_str()),
    };
    let now_ms = step.given.now_ms;
    let group = soft.entry(id.clone()).or_insert_with(|| Group::new(now_ms));
    if !has_room(group, &join.body.member_id, step.limits.max_size) {
        group.remove(&join.body.member_id);
        let reply = JoinGroupResponse {
            member_id: Str::EMPTY,
            ..error(&join, ErrorCode::GroupMaxSizeReached)
        };
        return step.out.reply(join.ticket, Reply::Join(reply));
    }
    let offered = join.body.protocols.iter().map(|protocol| protocol.name.as_str());
    if !group.supports(&join.body.protocol_type, offered) {
        return refuse(step, &join, ErrorCode::InconsistentGroupProtocol);
    }
    if join.body.member_id.is_empty() {
        join_new(step, &id, group, join);
    } else if group.pending.contains(join.body.member_id.as_str()) {
        if join.body.group_instance_id.is_some() {
            // Static members are not given an id to come back with: this is somebody else's.
            return refuse(step, &join, ErrorCode::UnknownMemberId);
        }
        let member = Arc::from(join.body.member_id.as_str());
        add(step, &id, group, join, member);
    } else {
        join_again(step, &id, group, join);
    }
}

/// What is wrong with the request, whatever the group's state.
fn unacceptable(limits: &Limits, join: &Join) -> Option<ErrorCode> {
    let body = &join.body;
    let texts = [
        join.client.id.len() + ID_SUFFIX,
        body.group_instance_id.as_ref().map_or(0, |id| id.len()) + ID_SUFFIX,
        body.member_id.len(),
        body.protocol_type.len(),
        body.protocols
            .iter()
            .map(|protocol| protocol.name.len())
            .max()
            .unwrap_or(0),
    ];
    if !is_group_id(&body.group_id) {
        Some(ErrorCode::InvalidGroupId)
    } else if !(limits.min_session_timeout_ms..=limits.max_session_timeout_ms)
        .contains(&body.session_timeout_ms)
    {
        Some(ErrorCode::InvalidSessionTimeout)
    } else if texts.into_iter().any(|length| length > LONGEST_TEXT) {
        Some(ErrorCode::InvalidRequest)
    } else {
        None
    }
}

/// Whether `group.max.size` leaves room. During a join phase those who have joined count, so that the last to come back
/// are the ones to go when the limit was lowered; otherwise the members count.
fn has_room(group: &Group, member: &str, max_size: usize) -> bool {
    match group.state() {
        State::Empty => true,
        State::PreparingRebalance => {
            group.member(member).is_some_and(Member::is_joining) || group.joining() < max_size
        }
        State::CompletingRebalance | State::Stable => {
            group.member(member).is_some() || group.len() < max_size
        }
    }
}

/// A client without a member id.
fn join_new(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, join: Join) {
    let prefix = join.body.group_instance_id.as_ref().unwrap_or(&join.client.id);
    let uuid = uuid::Builder::from_random_bytes((step.given.fresh_id)()).into_uuid();
    let member: Arc<str> = Arc::from(format!("{prefix}-{uuid}"));
    if let Some(instance) = &join.body.group_instance_id {
        match group.static_member(instance) {
            Some(old) => replace_static(step, id, group, join, &old, member),
            None => add(step, id, group, join, member),
        }
    } else if join.version >= MEMBER_ID_FIRST {
        group.pending.insert(member.clone());
        let timer = Timer::Session {
            group: id.clone(),
            member: member.clone(),
        };
        step.out.set_timer(timer, i64::from(join.body.session_timeout_ms));
        let reply = JoinGroupResponse {
            member_id: member.into(),
            ..error(&join, ErrorCode::MemberIdRequired)
        };
        step.out.reply(join.ticket, Reply::Join(reply));
    } else {
        add(step, id, group, join, member);
    }
}

/// A client that says who it is.
fn join_again(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, join: Join) {
    let name = join.body.member_id.clone();
    if let Err(code) = check_member(group, &name, join.body.group_instance_id.as_deref()) {
        return refuse(step, &join, code);
    }
    let unchanged = group
        .member(&name)
        .is_some_and(|member| same_protocols(member, &join.body));
    match group.state() {
        // Its answer was lost, or a follower asks needlessly: the generation as it is. A leader that joins a stable group
        // again wants to assign anew.
        State::CompletingRebalance if unchanged => answer_as_is(step, group, &join),
        State::Stable if unchanged && !group.is_leader(&name) => answer_as_is(step, group, &join),
        State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
            update(step, group, &name, &join);
            rebalance::prepare_or_complete(step, id, group);
        }
        State::Empty => refuse(step, &join, ErrorCode::UnknownMemberId),
    }
}

fn answer_as_is(step: &mut Step<'_, '_>, group: &Group, join: &Join) {
    let member = &join.body.member_id;
    let reply = joined(group, member, group.is_leader(member));
    step.out.reply(join.ticket, Reply::Join(reply));
}

/// Whether the member exists and, if it is static, is the current process of its instance.
pub(super) fn check_member(group: &Group, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
    if let Some(instance) = instance {
        match group.static_member(instance) {
            None => return Err(ErrorCode::UnknownMemberId),
            Some(current) if *current != *member => return Err(ErrorCode::FencedInstanceId),
            Some(_) => {}
        }
    }
    group.member(member).map(|_| ()).ok_or(ErrorCode::UnknownMemberId)
}

/// Takes in a new member, which starts a rebalance or joins the one under way.
fn add(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, join: Join, name: Arc<str>) {
    if group.state() == State::PreparingRebalance && group.was_empty() {
        group.new_member_added = true;
    }
    let instance = join.body.group_instance_id.as_deref().map(Arc::from);
    let mut member = Member::new(name.clone(), instance);
    member.client_id = Arc::from(join.client.id.as_str());
    member.client_host = Arc::from(join.client.host.as_str());
    member.is_new = true;
    member.session_timeout_ms = join.body.session_timeout_ms;
    member.rebalance_timeout_ms = rebalance_timeout_ms(&join.body);
    member.protocols = protocols(&join.body);
    if group.is_empty() {
        group.protocol_type = Some(Arc::from(join.body.protocol_type.as_str()));
    }
    group.add(member);
    group.park_join(&name, join.ticket);
    step.out.set_timer(
        Timer::Session {
            group: id.clone(),
            member: name,
        },
        NEW_MEMBER_TIMEOUT_MS,
    );
    rebalance::prepare_or_complete(step, id, group);
}

/// A member says anew what it can do, and waits for the end of the join phase.
fn update(step: &mut Step<'_, '_>, group: &mut Group, name: &str, join: &Join) {
    group.set_protocols(name, protocols(&join.body));
    if let Some(member) = group.member_mut(name) {
        member.session_timeout_ms = join.body.session_timeout_ms;
        member.rebalance_timeout_ms = rebalance_timeout_ms(&join.body);
    }
    if let Some(before) = group.park_join(name, join.ticket) {
        // The client asked again on another connection; whoever still reads the old one is to ask again too.
        let reply = JoinGroupResponse {
            member_id: Str::copy_from(name),
            ..join_error(&Str::EMPTY, ErrorCode::RebalanceInProgress)
        };
        step.out.reply(before, Reply::Join(reply));
    }
}

/// A static member's process was started again: it takes the place of the old one, with its assignment, and the group
/// is not disturbed unless another protocol would be chosen.
fn replace_static(
    step: &mut Step<'_, '_>,
    id: &Arc<str>,
    group: &mut Group,
    join: Join,
    old: &Arc<str>,
    new: Arc<str>,
) {
    let leader_before = group.leader.clone();
    rebalance::fence(step, id, group, old);
    group.replace_static(old, new.clone());
    if let Some(member) = group.member_mut(&new) {
        member.client_id = Arc::from(join.client.id.as_str());
        member.client_host = Arc::from(join.client.host.as_str());
    }
    update(step, group, &new, &join);
    rebalance::expect_heartbeat(step, id, group, &new);
    match group.state() {
        State::Stable if group.elect_protocol() == group.protocol => {
            group.unpark_join(&new);
            step.out.records.push(record::group_record(id, group));
            let mut reply = joined(group, &new, false);
            if join.version >= SKIPS_ASSIGNMENT {
                // A leader learns who is there, and that the assignments stand.
                let leads = group.is_leader(&new);
                reply = JoinGroupResponse {
                    skip_assignment: leads,
                    ..joined(group, &new, leads)
                };
            } else {
                // An older leader would assign and sync again: it is told that the old process leads.
                reply.leader = leader_before.map(Str::from).unwrap_or_default();
            }
            step.out.reply(join.ticket, Reply::Join(reply));
        }
        // The leader may have been told of the old member id already: its assignment would miss the new one.
        _ => rebalance::prepare_or_complete(step, id, group),
    }
}

fn same_protocols(member: &Member, body: &JoinGroupRequest) -> bool {
    let offered = body
        .protocols
        .iter()
        .map(|protocol| (protocol.name.as_str(), &protocol.metadata));
    member
        .protocols
        .iter()
        .map(|(name, metadata)| (&**name, metadata))
        .eq(offered)
}

/// Copies: the member outlives the frame.
fn protocols(body: &JoinGroupRequest) -> Vec<(Arc<str>, Bytes)> {
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    let protocols = body.protocols.iter();
    protocols
        .map(|protocol| (Arc::from(protocol.name.as_str()), copy(&protocol.metadata)))
        .collect()
}

/// Version 0 has none of its own.
fn rebalance_timeout_ms(body: &JoinGroupRequest) -> i32 {
    match body.rebalance_timeout_ms {
        -1 => body.session_timeout_ms,
        given => given.max(0),
    }
}

/// The answer to a member of the current generation; a leader also learns who is in it.
pub(super) fn joined(group: &Group, member: &str, with_members: bool) -> JoinGroupResponse {
    let describe = |member: &Member| JoinGroupResponseMember {
        member_id: Str::copy_from(&member.id),
        group_instance_id: member.instance.as_deref().map(Str::copy_from),
        metadata: group
            .protocol
            .as_deref()
            .and_then(|name| member.metadata(name))
            .unwrap_or_default(),
    };
    JoinGroupResponse {
        generation_id: group.generation,
        protocol_type: group.protocol_type.as_deref().map(Str::copy_from),
        protocol_name: group.protocol.as_deref().map(Str::copy_from),
        leader: group.leader.as_deref().map(Str::copy_from).unwrap_or_default(),
        member_id: Str::copy_from(member),
        members: if with_members {
            group.members().map(describe).collect()
        } else {
            Vec::new()
        },
        ..Default::default()
    }
}

/// A JoinGroup answer that is an error.
pub(super) fn join_error(member: &Str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: code.code(),
        protocol_name: None,
        member_id: member.clone(),
        ..Default::default()
    }
}

fn error(join: &Join, code: ErrorCode) -> JoinGroupResponse {
    join_error(&join.body.member_id, code)
}

fn refuse(step: &mut Step<'_, '_>, join: &Join, code: ErrorCode) {
    step.out.reply(join.ticket, Reply::Join(error(join, code)));
}
