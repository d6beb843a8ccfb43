//! What members say between joins: SyncGroup, Heartbeat, LeaveGroup.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember};
use protocol::messages::leave_group::{LeaveGroupResponse, LeaveGroupResponseMember};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use protocol::{ErrorCode, Str};

use super::membership::check_member;
use super::rebalance::{self, expect_heartbeat, sync_error};
use super::state::{Group, State};
use super::{Reply, Soft, Step, Timer, is_group_id, record};
use crate::state_machine::Ticket;

/// The group of this name with the name to keep.
pub(super) fn find<'s>(soft: &'s mut Soft, id: &str) -> Option<(Arc<str>, &'s mut Group)> {
    let name = soft.get_key_value(id)?.0.clone();
    soft.get_mut(id).map(|group| (name, group))
}

/// SyncGroup: the leader brings the assignment, the others fetch theirs; parked until it is stored.
pub(super) fn sync(step: &mut Step<'_, '_>, soft: &mut Soft, ticket: Ticket, body: &SyncGroupRequest) {
    if let Err(code) = try_sync(step, soft, ticket, body) {
        step.out.reply(ticket, Reply::Sync(sync_error(code)));
    }
}

fn try_sync(
    step: &mut Step<'_, '_>,
    soft: &mut Soft,
    ticket: Ticket,
    body: &SyncGroupRequest,
) -> Result<(), ErrorCode> {
    if !is_group_id(&body.group_id) {
        return Err(ErrorCode::InvalidGroupId);
    }
    let (id, group) = find(soft, &body.group_id).ok_or(ErrorCode::UnknownMemberId)?;
    check_member(group, &body.member_id, body.group_instance_id.as_deref())?;
    if body.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let differs = |said: &Option<Str>, is: &Option<Arc<str>>| match (said, is) {
        (Some(said), Some(is)) => said.as_str() != &**is,
        _ => false,
    };
    if differs(&body.protocol_type, &group.protocol_type) || differs(&body.protocol_name, &group.protocol) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    match group.state() {
        State::Empty => return Err(ErrorCode::UnknownMemberId),
        State::PreparingRebalance => return Err(ErrorCode::RebalanceInProgress),
        State::CompletingRebalance => {
            has_synced(step, &id, group, &body.member_id);
            park_sync(step, group, &body.member_id, ticket);
            if group.is_leader(&body.member_id) {
                assign(step, &id, group, body);
            }
        }
        State::Stable => {
            has_synced(step, &id, group, &body.member_id);
            step.out
                .reply(ticket, Reply::Sync(assignment(group, &body.member_id)));
        }
    }
    Ok(())
}

fn has_synced(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, member: &str) {
    group.pending_sync.remove(member);
    if group.pending_sync.is_empty() {
        step.out.cancel_timer(Timer::Sync(id.clone()));
    }
}

fn park_sync(step: &mut Step<'_, '_>, group: &mut Group, member: &str, ticket: Ticket) {
    let before = group
        .member_mut(member)
        .and_then(|member| member.syncing.replace(ticket));
    if let Some(before) = before {
        step.out
            .reply(before, Reply::Sync(sync_error(ErrorCode::RebalanceInProgress)));
    }
}

/// The leader has assigned: stores the generation. The runtime sends the answers once the record is committed, so that no
/// member works on an assignment that a restart would not know.
fn assign(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, body: &SyncGroupRequest) {
    let mut given: HashMap<&str, &Bytes> = body
        .assignments
        .iter()
        .map(|each| (each.member_id.as_str(), &each.assignment))
        .collect();
    for name in group.member_ids() {
        let Some(member) = group.member_mut(&name) else {
            continue;
        };
        // A member the leader says nothing about has nothing to do.
        member.assignment = given
            .remove(&*name)
            .map(|bytes| Bytes::copy_from_slice(bytes))
            .unwrap_or_default();
    }
    group.become_state(State::Stable, step.given.now_ms);
    step.out.records.push(record::group_record(id, group));
    for name in group.member_ids() {
        if let Some(ticket) = group.member_mut(&name).and_then(|member| member.syncing.take()) {
            step.out.reply(ticket, Reply::Sync(assignment(group, &name)));
            // Its session did not run while it was parked.
            expect_heartbeat(step, id, group, &name);
        }
    }
}

fn assignment(group: &Group, member: &str) -> SyncGroupResponse {
    SyncGroupResponse {
        protocol_type: group.protocol_type.as_deref().map(Str::copy_from),
        protocol_name: group.protocol.as_deref().map(Str::copy_from),
        assignment: group
            .member(member)
            .map(|member| member.assignment.clone())
            .unwrap_or_default(),
        ..Default::default()
    }
}

/// Heartbeat: a sign of life, answered with REBALANCE_IN_PROGRESS while members have to join again.
pub(super) fn heartbeat(step: &mut Step<'_, '_>, soft: &mut Soft, ticket: Ticket, body: &HeartbeatRequest) {
    let code = try_heartbeat(step, soft, body).err().unwrap_or(ErrorCode::None);
    step.out.reply(ticket, Reply::Heartbeat(code));
}

fn try_heartbeat(step: &mut Step<'_, '_>, soft: &mut Soft, body: &HeartbeatRequest) -> Result<(), ErrorCode> {
    if !is_group_id(&body.group_id) {
        return Err(ErrorCode::InvalidGroupId);
    }
    let (id, group) = find(soft, &body.group_id).ok_or(ErrorCode::UnknownMemberId)?;
    check_member(group, &body.member_id, body.group_instance_id.as_deref())?;
    if body.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    if group.state() == State::Empty {
        return Err(ErrorCode::UnknownMemberId);
    }
    expect_heartbeat(step, &id, group, &body.member_id);
    match group.state() {
        State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
        _ => Ok(()),
    }
}

/// LeaveGroup: each member by its id, or a static one by its instance alone (KIP-345, an administrator's way).
pub(super) fn leave(step: &mut Step<'_, '_>, soft: &mut Soft, ticket: Ticket, body: &LeaveGroupRequest) {
    if !is_group_id(&body.group_id) {
        let code = ErrorCode::InvalidGroupId.code();
        let reply = LeaveGroupResponse {
            error_code: code,
            ..Default::default()
        };
        return step.out.reply(ticket, Reply::Leave(reply));
    }
    let mut found = find(soft, &body.group_id);
    let mut members = Vec::with_capacity(body.members.len());
    let mut changed = false;
    for member in &body.members {
        let outcome = match &mut found {
            Some((id, group)) => leave_one(step, id, group, member),
            None => Err(ErrorCode::UnknownMemberId),
        };
        changed |= outcome == Ok(Left::Member);
        let code = outcome.err().unwrap_or(ErrorCode::None);
        members.push(LeaveGroupResponseMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            error_code: code.code(),
        });
    }
    match found {
        Some((id, group)) if changed => rebalance::prepare_or_complete(step, &id, group),
        Some((id, group)) => rebalance::complete_if_all_joined(step, &id, group),
        None => {}
    }
    step.out.reply(
        ticket,
        Reply::Leave(LeaveGroupResponse {
            members,
            ..Default::default()
        }),
    );
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Somebody the others share the work with.
    Member,
    /// Somebody who had an id and had not joined with it: nothing to rebalance for.
    Pending,
}

fn leave_one(
    step: &mut Step<'_, '_>,
    id: &Arc<str>,
    group: &mut Group,
    member: &LeaveGroupRequestMember,
) -> Result<Left, ErrorCode> {
    let instance = member.group_instance_id.as_deref();
    let name: Arc<str> = if member.member_id.is_empty() {
        let current = instance.and_then(|instance| group.static_member(instance));
        current.ok_or(ErrorCode::UnknownMemberId)?
    } else {
        if !group.pending.contains(member.member_id.as_str()) {
            check_member(group, &member.member_id, instance)?;
        }
        Arc::from(member.member_id.as_str())
    };
    let left = if group.pending.contains(&name) {
        Left::Pending
    } else {
        Left::Member
    };
    rebalance::drop_member(step, id, group, &name);
    Ok(left)
}
