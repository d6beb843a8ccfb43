//! What is stored for groups in `__consumer_offsets`, in Kafka's format, and the durable state that these records build.
//!
//! ```text
//! key  int16 1, group, topic, partition   value  offset, leader epoch, metadata, commit time (v4: topic id as tag 0;
//!                                                 v1 instead when the commit has an expiry of its own)
//! key  int16 2, group                     value  v3: protocol type, generation, protocol, leader, time of the state,
//!                                                 members with ids, client, timeouts, subscription, assignment
//! ```
//! A null value deletes. Records of other kinds of groups (KIP-848, KIP-932, KIP-1071) are skipped when a directory
//! of Kafka's is adopted: those groups are not served, and writing nothing about them keeps them for the day they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use protocol::coordinator_records::group_metadata::{
    GroupMetadataKey, GroupMetadataValue, GroupMetadataValueMember,
};
use protocol::coordinator_records::offset_commit::{
    LegacyOffsetCommitKey, LegacyOffsetCommitValue, OffsetCommitKey, OffsetCommitValue,
};
use protocol::coordinator_records::{OffsetsRecordType, decode_value, encode_key, encode_value, open_key};
use protocol::{DecodeError, Message, Str, TopicId};

use super::state::{Group, Member, State};
use crate::state_machine::Record;

/// Versions in which we write values: what Kafka 4.4 writes.
const GROUP_VERSION: i16 = 3;
const OFFSET_VERSION: i16 = 4;
const EXPIRING_OFFSET_VERSION: i16 = 1;

/// Longest text of a request that ends up in a record: keys and values carry int16 lengths.
pub(super) const LONGEST_TEXT: usize = i16::MAX as usize;

const CHECKED: &str = "texts were checked to fit int16 lengths when the request came in";

/// A record of `__consumer_offsets` that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read a {what} record: {source}")]
pub struct Unreadable {
    what: &'static str,
    source: DecodeError,
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    /// -1: not known.
    pub(super) leader_epoch: i32,
    pub(super) metadata: Arc<str>,
    pub(super) commit_ms: i64,
    /// Only from clients that ask for a retention of their own (OffsetCommit up to v4).
    pub(super) expire_ms: Option<i64>,
    /// Zero: committed before ids were stored.
    pub(super) topic_id: TopicId,
}

/// The committed offsets of one group: by topic, then by partition.
pub(super) type Offsets = BTreeMap<Arc<str>, BTreeMap<i32, Committed>>;

/// What survives the core: changes by replaying records and in no other way.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Durable {
    pub(super) offsets: BTreeMap<Arc<str>, Offsets>,
    pub(super) groups: BTreeMap<Arc<str>, GroupMetadataValue>,
}

impl Durable {
    /// Applies one record. Names the group if the record deleted one.
    pub(super) fn replay(&mut self, record: &Record) -> Result<Option<Arc<str>>, Unreadable> {
        let (kind, mut key) = open_key(record.key.clone()).map_err(unreadable("key of a"))?;
        if kind == OffsetsRecordType::OffsetCommit as i16 {
            let key = OffsetCommitKey::decode(&mut key, 0).map_err(unreadable("offset commit"))?;
            let value = record
                .value
                .clone()
                .map(|bytes| decode_value::<OffsetCommitValue>(bytes, 4))
                .transpose();
            let value = value.map_err(unreadable("offset commit"))?.map(committed);
            self.replay_offset(&key.group, &key.topic, key.partition, value);
        } else if kind == OffsetsRecordType::LegacyOffsetCommit as i16 {
            let key =
                LegacyOffsetCommitKey::decode(&mut key, 0).map_err(unreadable("legacy offset commit"))?;
            let value = record
                .value
                .clone()
                .map(|bytes| decode_value::<LegacyOffsetCommitValue>(bytes, 0))
                .transpose();
            let value = value
                .map_err(unreadable("legacy offset commit"))?
                .map(legacy_committed);
            self.replay_offset(&key.group, &key.topic, key.partition, value);
        } else if kind == OffsetsRecordType::GroupMetadata as i16 {
            let key = GroupMetadataKey::decode(&mut key, 0).map_err(unreadable("group"))?;
            let value = record
                .value
                .clone()
                .map(|bytes| decode_value::<GroupMetadataValue>(bytes, 4))
                .transpose();
            match value.map_err(unreadable("group"))? {
                Some(value) => {
                    self.groups.insert(Arc::from(key.group.as_str()), detached(value));
                }
                None => {
                    self.groups.remove(key.group.as_str());
                    return Ok(Some(Arc::from(key.group.as_str())));
                }
            }
        }
        Ok(None)
    }

    fn replay_offset(&mut self, group: &str, topic: &str, partition: i32, value: Option<Committed>) {
        match value {
            Some(value) => {
                if !self.offsets.contains_key(group) {
                    self.offsets.insert(Arc::from(group), Offsets::new());
                }
                let topics = self.offsets.get_mut(group).expect("inserted above");
                match topics.get_mut(topic) {
                    Some(partitions) => {
                        partitions.insert(partition, value);
                    }
                    None => {
                        topics.insert(Arc::from(topic), BTreeMap::from([(partition, value)]));
                    }
                }
            }
            None => {
                let Some(topics) = self.offsets.get_mut(group) else {
                    return;
                };
                if let Some(partitions) = topics.get_mut(topic) {
                    partitions.remove(&partition);
                    if partitions.is_empty() {
                        topics.remove(topic);
                    }
                }
                if topics.is_empty() {
                    self.offsets.remove(group);
                }
            }
        }
    }
}

fn unreadable(what: &'static str) -> impl Fn(DecodeError) -> Unreadable {
    move |source| Unreadable { what, source }
}

fn committed(value: OffsetCommitValue) -> Committed {
    Committed {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: Arc::from(value.metadata.as_str()),
        commit_ms: value.commit_timestamp,
        expire_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
        topic_id: TopicId(value.topic_id),
    }
}

fn legacy_committed(value: LegacyOffsetCommitValue) -> Committed {
    Committed {
        offset: value.offset,
        leader_epoch: -1,
        metadata: Arc::from(value.metadata.as_str()),
        commit_ms: value.commit_timestamp,
        expire_ms: None,
        topic_id: TopicId::ZERO,
    }
}

/// A copy that shares no memory with the batch or frame it was read from: it lives for long.
fn detached(value: GroupMetadataValue) -> GroupMetadataValue {
    let copy = |text: &Str| Str::copy_from(text);
    let member = |member: &GroupMetadataValueMember| GroupMetadataValueMember {
        member_id: copy(&member.member_id),
        group_instance_id: member.group_instance_id.as_ref().map(copy),
        client_id: copy(&member.client_id),
        client_host: copy(&member.client_host),
        rebalance_timeout: member.rebalance_timeout,
        session_timeout: member.session_timeout,
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    GroupMetadataValue {
        protocol_type: copy(&value.protocol_type),
        generation: value.generation,
        protocol: value.protocol.as_ref().map(copy),
        leader: value.leader.as_ref().map(copy),
        current_state_timestamp: value.current_state_timestamp,
        members: value.members.iter().map(member).collect(),
    }
}

/// The group as it stands: written when its assignment is known, when it became empty, when a static member came back.
pub(super) fn group_record(id: &str, group: &Group) -> Record {
    let value = group_value(group);
    Record {
        key: group_key(id),
        value: Some(encode_value(GROUP_VERSION, &value).expect(CHECKED)),
    }
}

/// The value of [`group_record`].
pub(super) fn group_value(group: &Group) -> GroupMetadataValue {
    let member = |member: &Member| GroupMetadataValueMember {
        member_id: Str::copy_from(&member.id),
        group_instance_id: member.instance.as_deref().map(Str::copy_from),
        client_id: Str::copy_from(&member.client_id),
        client_host: Str::copy_from(&member.client_host),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: group
            .protocol
            .as_deref()
            .and_then(|name| member.metadata(name))
            .unwrap_or_default(),
        assignment: member.assignment.clone(),
    };
    GroupMetadataValue {
        protocol_type: group
            .protocol_type
            .as_deref()
            .map(Str::copy_from)
            .unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.as_deref().map(Str::copy_from),
        leader: group.leader.as_deref().map(Str::copy_from),
        current_state_timestamp: group.since_ms().unwrap_or(-1),
        members: group.members().map(member).collect(),
    }
}

/// A group as its record describes it: at rest, nobody parked.
pub(super) fn restored(value: &GroupMetadataValue) -> Group {
    let text = |text: &Str| Arc::<str>::from(text.as_str());
    let protocol = value.protocol.as_ref().map(text);
    let mut group = Group::at_rest(
        if value.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        },
        value.generation,
        (value.current_state_timestamp != -1).then_some(value.current_state_timestamp),
    );
    group.protocol_type = (!value.protocol_type.is_empty()).then(|| text(&value.protocol_type));
    for stored in &value.members {
        let mut member = Member::new(
            text(&stored.member_id),
            stored.group_instance_id.as_ref().map(text),
        );
        member.client_id = text(&stored.client_id);
        member.client_host = text(&stored.client_host);
        member.session_timeout_ms = stored.session_timeout;
        member.rebalance_timeout_ms = match stored.rebalance_timeout {
            -1 => stored.session_timeout,
            given => given,
        };
        member.protocols = protocol
            .iter()
            .map(|name| (name.clone(), stored.subscription.clone()))
            .collect();
        member.assignment = stored.assignment.clone();
        group.add(member);
    }
    group.protocol = protocol;
    group.leader = value.leader.as_ref().map(text);
    group.learn_subscriptions();
    group
}

/// The group is gone.
pub(super) fn group_tombstone(id: &str) -> Record {
    Record {
        key: group_key(id),
        value: None,
    }
}

fn group_key(id: &str) -> Bytes {
    let key = GroupMetadataKey {
        group: Str::copy_from(id),
    };
    encode_key(OffsetsRecordType::GroupMetadata as i16, &key).expect(CHECKED)
}

/// One committed offset.
pub(super) fn offset_record(group: &str, topic: &str, partition: i32, committed: &Committed) -> Record {
    let value = OffsetCommitValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: Str::copy_from(&committed.metadata),
        commit_timestamp: committed.commit_ms,
        expire_timestamp: committed.expire_ms.unwrap_or(-1),
        topic_id: committed.topic_id.0,
    };
    let version = match committed.expire_ms {
        Some(_) => EXPIRING_OFFSET_VERSION,
        None => OFFSET_VERSION,
    };
    let value = encode_value(version, &value).expect(CHECKED);
    Record {
        key: offset_key(group, topic, partition),
        value: Some(value),
    }
}

/// The committed offset is gone.
pub(super) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Record {
    Record {
        key: offset_key(group, topic, partition),
        value: None,
    }
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let key = OffsetCommitKey {
        group: Str::copy_from(group),
        topic: Str::copy_from(topic),
        partition,
    };
    encode_key(OffsetsRecordType::OffsetCommit as i16, &key).expect(CHECKED)
}
