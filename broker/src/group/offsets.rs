//! Committed offsets: commit, fetch, delete, expire.
//!
//! All of it goes by topic names, as the records do; ids are stored beside them, so that an offset is not handed to the
//! consumer of another topic that was created under the same name later.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::messages::delete_groups::DeleteGroupsResponseResult;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopicPartition, OffsetCommitResponse, OffsetCommitResponseTopic,
    OffsetCommitResponseTopicPartition,
};
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponseTopic, OffsetDeleteResponseTopicPartition,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponseGroupTopic,
    OffsetFetchResponseGroupTopicPartition,
};
use protocol::{ErrorCode, Str, TopicId};

use super::membership::check_member;
use super::rebalance::expect_heartbeat;
use super::record::{Committed, LONGEST_TEXT, Offsets, group_tombstone, offset_record, offset_tombstone};
use super::session::find;
use super::state::{CONSUMER, Group, State};
use super::{Reply, Soft, Step, Timer};
use crate::state_machine::{IfRefused, Ticket};

/// From this version on a commit to a group that does not exist is told so.
const KNOWS_GROUP_NOT_FOUND: i16 = 9;

/// OffsetCommit. Answered once the offsets are stored; each topic and partition by itself.
pub(super) fn commit(
    step: &mut Step<'_, '_>,
    soft: &mut Soft,
    ticket: Ticket,
    version: i16,
    body: &OffsetCommitRequest,
) {
    let refused = check_commit(step, soft, version, body).err();
    // Soft state learns nothing from a commit but that the member lives.
    step.out.if_refused = IfRefused::TellAsker;
    let topics = body.topics.iter().map(|topic| OffsetCommitResponseTopic {
        topic_id: topic.topic_id,
        name: topic.name.clone(),
        partitions: (topic.partitions.iter())
            .map(|partition| OffsetCommitResponseTopicPartition {
                partition_index: partition.partition_index,
                error_code: refused
                    .unwrap_or_else(|| {
                        let id = TopicId(topic.topic_id);
                        commit_one(step, body, &topic.name, id, partition)
                    })
                    .code(),
            })
            .collect(),
    });
    let reply = OffsetCommitResponse {
        topics: topics.collect(),
        ..Default::default()
    };
    step.out.reply(ticket, Reply::Commit(reply));
}

/// Whether the group accepts commits from this member, and its sign of life.
fn check_commit(
    step: &mut Step<'_, '_>,
    soft: &mut Soft,
    version: i16,
    body: &OffsetCommitRequest,
) -> Result<(), ErrorCode> {
    if body.group_id.len() > LONGEST_TEXT {
        return Err(ErrorCode::InvalidGroupId);
    }
    let generation = body.generation_id_or_member_epoch;
    let Some((id, group)) = find(soft, &body.group_id) else {
        // A consumer that assigns partitions by itself, or an administrator: such a group is its offsets and no more.
        return match generation {
            ..=-1 => Ok(()),
            _ if step.durable.offsets.contains_key(body.group_id.as_str()) => Err(ErrorCode::UnknownMemberId),
            _ if version >= KNOWS_GROUP_NOT_FOUND => Err(ErrorCode::GroupIdNotFound),
            _ => Err(ErrorCode::IllegalGeneration),
        };
    };
    if generation < 0 && group.state() == State::Empty {
        return Ok(());
    }
    if generation < 0 && body.member_id.is_empty() && body.group_instance_id.is_none() {
        return Err(ErrorCode::UnknownMemberId);
    }
    check_member(group, &body.member_id, body.group_instance_id.as_deref())?;
    if generation != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    match group.state() {
        // It has joined, but others may still believe to own what it commits: it is to sync first.
        State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
        State::PreparingRebalance | State::Stable | State::Empty => {
            expect_heartbeat(step, &id, group, &body.member_id);
            Ok(())
        }
    }
}

fn commit_one(
    step: &mut Step<'_, '_>,
    body: &OffsetCommitRequest,
    topic: &str,
    topic_id: TopicId,
    partition: &OffsetCommitRequestTopicPartition,
) -> ErrorCode {
    let metadata = partition.committed_metadata.as_deref().unwrap_or("");
    if metadata.len() > step.limits.offset_metadata_max_bytes.min(LONGEST_TEXT) {
        return ErrorCode::OffsetMetadataTooLarge;
    }
    if topic.len() > LONGEST_TEXT {
        return ErrorCode::UnknownTopicOrPartition;
    }
    let committed = Committed {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: Arc::from(metadata),
        commit_ms: step.given.now_ms,
        expire_ms: (body.retention_time_ms != -1)
            .then(|| step.given.now_ms.saturating_add(body.retention_time_ms)),
        topic_id,
    };
    let record = offset_record(&body.group_id, topic, partition.partition_index, &committed);
    step.out.records.push(record);
    ErrorCode::None
}

/// One group of OffsetFetch: -1 where nothing is committed. A group nobody knows has committed nothing.
pub(super) fn fetch(step: &mut Step<'_, '_>, ticket: Ticket, body: OffsetFetchRequestGroup) {
    let nothing = Offsets::new();
    let offsets = step
        .durable
        .offsets
        .get(body.group_id.as_str())
        .unwrap_or(&nothing);
    let topics = match &body.topics {
        Some(asked) => asked
            .iter()
            .map(|topic| OffsetFetchResponseGroupTopic {
                topic_id: topic.topic_id,
                name: topic.name.clone(),
                partitions: (topic.partition_indexes.iter())
                    .map(|index| {
                        let committed = offsets.get(topic.name.as_str()).and_then(|all| all.get(index));
                        let committed =
                            committed.filter(|it| same_topic(it.topic_id, TopicId(topic.topic_id)));
                        fetched(*index, committed)
                    })
                    .collect(),
            })
            .collect(),
        None => offsets
            .iter()
            .map(|(topic, partitions)| OffsetFetchResponseGroupTopic {
                topic_id: TopicId::ZERO.0,
                name: Str::copy_from(topic),
                partitions: partitions
                    .iter()
                    .map(|(index, it)| fetched(*index, Some(it)))
                    .collect(),
            })
            .collect(),
    };
    let reply = OffsetFetchResponseGroup {
        group_id: body.group_id,
        topics,
        ..Default::default()
    };
    step.out.reply(ticket, Reply::Fetch(reply));
}

/// Two ids of one topic name; one that is not known stands for any.
fn same_topic(stored: TopicId, asked: TopicId) -> bool {
    stored == TopicId::ZERO || asked == TopicId::ZERO || stored == asked
}

fn fetched(partition_index: i32, committed: Option<&Committed>) -> OffsetFetchResponseGroupTopicPartition {
    OffsetFetchResponseGroupTopicPartition {
        partition_index,
        committed_offset: committed.map_or(-1, |it| it.offset),
        committed_leader_epoch: committed.map_or(-1, |it| it.leader_epoch),
        metadata: Some(
            committed
                .map(|it| Str::copy_from(&it.metadata))
                .unwrap_or_default(),
        ),
        error_code: 0,
    }
}

/// One group of DeleteGroups: everything about a group without members.
pub(super) fn delete_group(step: &mut Step<'_, '_>, soft: &mut Soft, ticket: Ticket, id: Str) {
    step.out.if_refused = IfRefused::TellAsker;
    let group = soft.get(id.as_str());
    let stored = step.durable.offsets.contains_key(id.as_str());
    let (code, message) = match group.map(Group::state) {
        None if !stored => (
            ErrorCode::GroupIdNotFound,
            Some(Str::from(format!("Group {id} not found."))),
        ),
        None | Some(State::Empty) => (ErrorCode::None, None),
        Some(_) => (ErrorCode::NonEmptyGroup, None),
    };
    if code.is_none() {
        forget_offsets(step, &id, |_, _| true);
        forget_group(step, soft, &id);
    }
    let reply = DeleteGroupsResponseResult {
        group_id: id,
        error_code: code.code(),
        error_message: message,
    };
    step.out.reply(ticket, Reply::Delete(reply));
}

/// OffsetDelete: offsets of topics that no consumer of the group reads.
pub(super) fn delete(step: &mut Step<'_, '_>, soft: &mut Soft, ticket: Ticket, body: OffsetDeleteRequest) {
    step.out.if_refused = IfRefused::TellAsker;
    let group = soft.get(body.group_id.as_str());
    let stored = step.durable.offsets.get(body.group_id.as_str());
    let busy =
        |group: &Group| group.state() != State::Empty && group.protocol_type.as_deref() != Some(CONSUMER);
    let refused = match group {
        None if stored.is_none() => Some(ErrorCode::GroupIdNotFound),
        Some(group) if busy(group) => Some(ErrorCode::NonEmptyGroup),
        _ => None,
    };
    if let Some(code) = refused {
        let reply = OffsetDeleteResponse {
            error_code: code.code(),
            ..Default::default()
        };
        return step.out.reply(ticket, Reply::DeleteOffsets(reply));
    }
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let in_use = group.is_some_and(|group| !group.is_empty() && group.is_subscribed_to(&topic.name));
        let known = stored.and_then(|topics| topics.get(topic.name.as_str()));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let code = if in_use {
                ErrorCode::GroupSubscribedToTopic
            } else {
                ErrorCode::None
            };
            if !in_use && known.is_some_and(|all| all.contains_key(&index)) {
                step.out
                    .records
                    .push(offset_tombstone(&body.group_id, &topic.name, index));
            }
            partitions.push(OffsetDeleteResponseTopicPartition {
                partition_index: index,
                error_code: code.code(),
            });
        }
        topics.push(OffsetDeleteResponseTopic {
            name: topic.name.clone(),
            partitions,
        });
    }
    let reply = OffsetDeleteResponse {
        topics,
        ..Default::default()
    };
    step.out.reply(ticket, Reply::DeleteOffsets(reply));
}

/// Topics were deleted: what was committed for them would point into other records if they were created again.
pub(super) fn forget_topics(step: &mut Step<'_, '_>, topics: &[Arc<str>]) {
    step.out.if_refused = IfRefused::TellAsker;
    for id in step.durable.offsets.keys() {
        forget_offsets(step, id, |topic, _| topics.iter().any(|gone| **gone == *topic));
    }
}

/// Looks at every group once per `offsets.retention.check.interval.ms`: offsets nobody used for
/// `offsets.retention.minutes` go, and so do groups without members and offsets.
pub(super) fn expire(step: &mut Step<'_, '_>, soft: &mut Soft) {
    step.out.if_refused = IfRefused::TellAsker;
    step.out.set_timer(Timer::Expiry, step.limits.retention_check_ms);
    let ids: BTreeSet<Arc<str>> = soft.keys().chain(step.durable.offsets.keys()).cloned().collect();
    let (now_ms, retention_ms) = (step.given.now_ms, step.limits.offsets_retention_ms);
    for id in ids {
        let group = soft.get(&id);
        let all_expired = forget_offsets(step, &id, |topic, committed| {
            if group.is_some_and(|group| !group.is_empty() && group.is_subscribed_to(topic)) {
                return false;
            }
            let Some(unused_since_ms) = unused_since_ms(group, committed) else {
                return false;
            };
            match committed.expire_ms {
                Some(expire_ms) => now_ms >= expire_ms,
                None => now_ms.saturating_sub(unused_since_ms) >= retention_ms,
            }
        });
        let deserted = |group: &Group| group.state() == State::Empty && group.pending.is_empty();
        if all_expired && group.is_some_and(deserted) {
            forget_group(step, soft, &id);
        }
    }
}

/// From when on the retention of an offset counts; none while it cannot expire.
fn unused_since_ms(group: Option<&Group>, committed: &Committed) -> Option<i64> {
    match group {
        // Its consumers assign partitions by themselves, so a commit is all we see of them.
        None => Some(committed.commit_ms),
        Some(group) if group.protocol_type.is_none() => Some(committed.commit_ms),
        // Since the last member left; the time is not known of groups stored in an old format.
        Some(group) if group.state() == State::Empty => Some(group.since_ms().unwrap_or(committed.commit_ms)),
        // A topic that the consumers no longer read.
        Some(group) if group.state() == State::Stable && group.knows_subscriptions() => {
            Some(committed.commit_ms)
        }
        Some(_) => None,
    }
}

/// Deletes those offsets of a group that `doomed` picks. Whether none is left.
fn forget_offsets(step: &mut Step<'_, '_>, id: &str, doomed: impl Fn(&str, &Committed) -> bool) -> bool {
    let mut all = true;
    for (topic, partitions) in step.durable.offsets.get(id).into_iter().flatten() {
        for (index, committed) in partitions {
            if doomed(topic, committed) {
                step.out.records.push(offset_tombstone(id, topic, *index));
            } else {
                all = false;
            }
        }
    }
    all
}

/// Deletes the group itself. What is stored goes when its tombstone is replayed, the rest at once.
fn forget_group(step: &mut Step<'_, '_>, soft: &mut Soft, id: &str) {
    if step.durable.groups.contains_key(id) {
        step.out.records.push(group_tombstone(id));
    } else {
        soft.remove(id);
    }
}
