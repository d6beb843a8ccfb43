//! What administrators see of groups: ListGroups and DescribeGroups.

use std::sync::Arc;

use protocol::messages::describe_groups::{DescribeGroupsResponseGroup, DescribeGroupsResponseGroupMember};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponseGroup};
use protocol::{ErrorCode, Str};

use super::state::{DEAD, Group, Member, State};
use super::{Reply, Soft, Step};
use crate::state_machine::Ticket;

/// The only type of groups that we hold (KIP-848 names the others).
const CLASSIC: &str = "classic";

/// From this version on a group that does not exist is an error; before, it is `Dead`.
const KNOWS_GROUP_NOT_FOUND: i16 = 6;

/// ListGroups: those whose state and type are asked for; an empty filter asks for all. Names are compared without case.
pub(super) fn list(step: &mut Step<'_, '_>, soft: &Soft, ticket: Ticket, filter: &ListGroupsRequest) {
    let wanted = |filter: &[Str], name: &str| {
        filter.is_empty() || filter.iter().any(|asked| asked.eq_ignore_ascii_case(name))
    };
    let mut groups = Vec::new();
    if wanted(&filter.types_filter, CLASSIC) {
        let only_offsets = step.durable.offsets.keys().filter(|id| !soft.contains_key(*id));
        let all = soft
            .iter()
            .map(|(id, group)| (id, Some(group)))
            .chain(only_offsets.map(|id| (id, None)));
        groups.extend(
            all.map(|(id, group)| listed(id, group))
                .filter(|group| wanted(&filter.states_filter, &group.group_state)),
        );
    }
    step.out.reply(ticket, Reply::List(groups));
}

fn listed(id: &Arc<str>, group: Option<&Group>) -> ListGroupsResponseGroup {
    ListGroupsResponseGroup {
        group_id: Str::copy_from(id),
        protocol_type: group
            .and_then(|group| group.protocol_type.as_deref())
            .map(Str::copy_from)
            .unwrap_or_default(),
        group_state: group.map_or(State::Empty, Group::state).name().into(),
        group_type: CLASSIC.into(),
    }
}

/// DescribeGroups, one group. Metadata and assignments are told of a stable group only: before, they are about to change.
pub(super) fn describe(step: &mut Step<'_, '_>, soft: &Soft, ticket: Ticket, version: i16, id: Str) {
    let reply = match soft.get(id.as_str()) {
        Some(group) => described(id, group),
        None if step.durable.offsets.contains_key(id.as_str()) => DescribeGroupsResponseGroup {
            group_id: id,
            group_state: State::Empty.name().into(),
            ..Default::default()
        },
        None => {
            let known = version >= KNOWS_GROUP_NOT_FOUND;
            DescribeGroupsResponseGroup {
                error_code: if known {
                    ErrorCode::GroupIdNotFound.code()
                } else {
                    0
                },
                error_message: known.then(|| Str::from(format!("Group {id} not found."))),
                group_id: id,
                group_state: DEAD.into(),
                ..Default::default()
            }
        }
    };
    step.out.reply(ticket, Reply::Describe(reply));
}

fn described(id: Str, group: &Group) -> DescribeGroupsResponseGroup {
    let protocol = group
        .protocol
        .as_deref()
        .filter(|_| group.state() == State::Stable);
    DescribeGroupsResponseGroup {
        group_id: id,
        group_state: group.state().name().into(),
        protocol_type: group
            .protocol_type
            .as_deref()
            .map(Str::copy_from)
            .unwrap_or_default(),
        protocol_data: protocol.map(Str::copy_from).unwrap_or_default(),
        members: group
            .members()
            .map(|member| described_member(member, protocol))
            .collect(),
        ..Default::default()
    }
}

fn described_member(member: &Member, protocol: Option<&str>) -> DescribeGroupsResponseGroupMember {
    let metadata = protocol.and_then(|name| member.metadata(name));
    DescribeGroupsResponseGroupMember {
        member_id: Str::copy_from(&member.id),
        group_instance_id: member.instance.as_deref().map(Str::copy_from),
        client_id: Str::copy_from(&member.client_id),
        client_host: Str::copy_from(&member.client_host),
        member_metadata: metadata.unwrap_or_default(),
        member_assignment: if protocol.is_some() {
            member.assignment.clone()
        } else {
            Default::default()
        },
    }
}
