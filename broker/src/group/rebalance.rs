//! How a group gets from one generation to the next: the join phase, the sync phase, who is dropped when time is up.
//!
//! Owns the moves between the phases and the timers that bound them; requests come in through `membership.rs` and
//! `session.rs`.

use std::sync::Arc;

use protocol::messages::sync_group::SyncGroupResponse;
use protocol::{ErrorCode, Str};

use super::membership::{join_error, joined};
use super::state::{Group, InitialDelay, State};
use super::{Reply, Soft, Step, Timer, record};

/// A member came, left or changed: starts a rebalance, or ends the join phase if nobody is missing any more.
pub(super) fn prepare_or_complete(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    if group.state() == State::PreparingRebalance {
        complete_if_all_joined(step, id, group);
    } else {
        prepare(step, id, group);
    }
}

/// Ends the join phase if nobody is missing; the initial delay of a new group is waited out all the same.
pub(super) fn complete_if_all_joined(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    if group.state() == State::PreparingRebalance && group.all_joined() && !group.was_empty() {
        complete(step, id, group);
    }
}

/// Starts the join phase.
fn prepare(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    if group.state() == State::CompletingRebalance {
        abandon_sync(step, group, ErrorCode::RebalanceInProgress);
    }
    step.out.cancel_timer(Timer::Sync(id.clone()));
    let was_empty = group.state() == State::Empty;
    group.become_state(State::PreparingRebalance, step.given.now_ms);
    if was_empty {
        // More members will come in a moment: without the delay each of them would cost a rebalance.
        let delay_ms = i64::from(step.limits.initial_rebalance_delay_ms);
        let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
        group.new_member_added = false;
        group.initial_delay = Some(InitialDelay {
            delay_ms,
            remaining_ms,
        });
        step.out.set_timer(Timer::Join(id.clone()), delay_ms);
    } else if group.all_joined() {
        complete(step, id, group);
    } else {
        step.out
            .set_timer(Timer::Join(id.clone()), group.rebalance_timeout_ms());
    }
}

/// The time for joining is over, or the initial delay is.
pub(super) fn join_phase_ends(step: &mut Step<'_, '_>, soft: &mut Soft, id: &Arc<str>) {
    let Some(group) = soft.get_mut(id) else { return };
    if group.state() != State::PreparingRebalance {
        return;
    }
    match group.initial_delay {
        Some(InitialDelay {
            delay_ms,
            remaining_ms,
        }) if group.new_member_added && remaining_ms > 0 => {
            // Somebody came during the delay, so others may be about to: once more, but never beyond what members
            // are willing to wait.
            group.new_member_added = false;
            let next_ms = i64::from(step.limits.initial_rebalance_delay_ms).min(remaining_ms);
            let remaining_ms = (remaining_ms - delay_ms).max(0);
            group.initial_delay = Some(InitialDelay {
                delay_ms: next_ms,
                remaining_ms,
            });
            step.out.set_timer(Timer::Join(id.clone()), next_ms);
        }
        _ => complete(step, id, group),
    }
}

/// Ends the join phase: who did not join is out, except static members, which keep their place until their session ends.
fn complete(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    group.initial_delay = None;
    step.out.cancel_timer(Timer::Join(id.clone()));
    let missing = group
        .members()
        .filter(|member| !member.is_joining() && member.instance.is_none());
    for member in missing.map(|member| member.id.clone()).collect::<Vec<_>>() {
        drop_member(step, id, group, &member);
    }
    if !group.elect_leader_among_joined() && !group.is_empty() {
        // Only static members are left and none of them joined. Their sessions decide, so wait on.
        let again_ms = group.rebalance_timeout_ms().max(1);
        step.out.set_timer(Timer::Join(id.clone()), again_ms);
        return;
    }
    group.generation += 1;
    group.pending_sync.clear();
    if group.is_empty() {
        group.protocol = None;
        group.leader = None;
        group.learn_subscriptions();
        group.become_state(State::Empty, step.given.now_ms);
        step.out.records.push(record::group_record(id, group));
    } else {
        begin_sync(step, id, group);
    }
}

/// The generation is known: members get its answer, the leader also who is in it.
fn begin_sync(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    group.protocol = group.elect_protocol();
    group.learn_subscriptions();
    group.become_state(State::CompletingRebalance, step.given.now_ms);
    for member in group.member_ids() {
        if let Some(ticket) = group.unpark_join(&member) {
            let reply = joined(group, &member, group.is_leader(&member));
            step.out.reply(ticket, Reply::Join(reply));
        }
        if let Some(member) = group.member_mut(&member) {
            member.is_new = false;
        }
        expect_heartbeat(step, id, group, &member);
        group.pending_sync.insert(member);
    }
    step.out
        .set_timer(Timer::Sync(id.clone()), group.rebalance_timeout_ms());
}

/// Members that did not ask for their assignment in time are out, and the others start again.
pub(super) fn sync_phase_ends(step: &mut Step<'_, '_>, soft: &mut Soft, id: &Arc<str>) {
    let Some(group) = soft.get_mut(id) else { return };
    if !matches!(group.state(), State::CompletingRebalance | State::Stable) || group.pending_sync.is_empty() {
        return;
    }
    for member in std::mem::take(&mut group.pending_sync) {
        drop_member(step, id, group, &member);
    }
    prepare(step, id, group);
}

/// A member was silent for as long as it said it would never be, or did not use the id it was given.
pub(super) fn session_ends(step: &mut Step<'_, '_>, soft: &mut Soft, id: &Arc<str>, name: &Arc<str>) {
    let Some(group) = soft.get_mut(id) else { return };
    if group.pending.remove(name) {
        return complete_if_all_joined(step, id, group);
    }
    let Some(member) = group.member(name) else { return };
    // A parked member cannot send heartbeats. One that is new is dropped even so: its client may be long gone.
    if !member.is_new && (member.is_joining() || member.syncing.is_some()) {
        return;
    }
    drop_member(step, id, group, name);
    prepare_or_complete(step, id, group);
}

/// Takes a member out; whatever it has parked is answered with UNKNOWN_MEMBER_ID, so that a client that is alive joins as
/// a new one.
pub(super) fn drop_member(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, name: &Arc<str>) {
    answer_parked(step, group, name, &Str::EMPTY, ErrorCode::UnknownMemberId);
    group.remove(name);
    step.out.cancel_timer(Timer::Session {
        group: id.clone(),
        member: name.clone(),
    });
}

/// The process of a static member is replaced: whatever it has parked is answered with FENCED_INSTANCE_ID.
pub(super) fn fence(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group, name: &Arc<str>) {
    answer_parked(
        step,
        group,
        name,
        &Str::copy_from(name),
        ErrorCode::FencedInstanceId,
    );
    step.out.cancel_timer(Timer::Session {
        group: id.clone(),
        member: name.clone(),
    });
}

fn answer_parked(step: &mut Step<'_, '_>, group: &mut Group, name: &str, called: &Str, code: ErrorCode) {
    if let Some(ticket) = group.unpark_join(name) {
        step.out.reply(ticket, Reply::Join(join_error(called, code)));
    }
    if let Some(ticket) = group.member_mut(name).and_then(|member| member.syncing.take()) {
        step.out.reply(ticket, Reply::Sync(sync_error(code)));
    }
}

/// Those who wait for an assignment of this generation will not get one.
fn abandon_sync(step: &mut Step<'_, '_>, group: &mut Group, code: ErrorCode) {
    for name in group.member_ids() {
        let Some(member) = group.member_mut(&name) else {
            continue;
        };
        member.assignment.clear();
        if let Some(ticket) = member.syncing.take() {
            step.out.reply(ticket, Reply::Sync(sync_error(code)));
        }
    }
}

/// From now on the member has its session timeout to be heard of again.
pub(super) fn expect_heartbeat(step: &mut Step<'_, '_>, id: &Arc<str>, group: &Group, name: &str) {
    let Some(member) = group.member(name) else { return };
    let timer = Timer::Session {
        group: id.clone(),
        member: member.id.clone(),
    };
    step.out.set_timer(timer, i64::from(member.session_timeout_ms));
}

/// A group as it was read back: its members get their full session timeout, since nobody knows when they were last heard.
pub(super) fn resume(step: &mut Step<'_, '_>, id: &Arc<str>, group: &mut Group) {
    for member in group.member_ids() {
        expect_heartbeat(step, id, group, &member);
    }
    if group.len() > step.limits.max_size {
        prepare(step, id, group);
    }
}

/// A SyncGroup answer that is an error.
pub(super) fn sync_error(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: code.code(),
        ..Default::default()
    }
}
