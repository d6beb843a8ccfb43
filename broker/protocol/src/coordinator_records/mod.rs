//! The records that coordinators keep in their internal topics, in Kafka's formats.
//!
//! A key is an int16 naming the record's type, then the key's fields; a value is an int16 version, then the value's
//! fields; a null value deletes. Owns the formats; which records a coordinator writes when is for the coordinators.

use bytes::Bytes;

use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder};
use crate::schema::Message;

pub mod consumer_group;
pub mod group_metadata;
pub mod offset_commit;
pub mod share_group;
pub mod share_state;
pub mod streams_group;
pub mod transaction_log;

/// What a record of `__consumer_offsets` is about: the int16 before its key's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum OffsetsRecordType {
    LegacyOffsetCommit = 0,
    OffsetCommit = 1,
    GroupMetadata = 2,
    ConsumerGroupMetadata = 3,
    ConsumerGroupPartitionMetadata = 4,
    ConsumerGroupMemberMetadata = 5,
    ConsumerGroupTargetAssignmentMetadata = 6,
    ConsumerGroupTargetAssignmentMember = 7,
    ConsumerGroupCurrentMemberAssignment = 8,
    ShareGroupMemberMetadata = 10,
    ShareGroupMetadata = 11,
    ShareGroupTargetAssignmentMetadata = 12,
    ShareGroupTargetAssignmentMember = 13,
    ShareGroupCurrentMemberAssignment = 14,
    ShareGroupStatePartitionMetadata = 15,
    ConsumerGroupRegularExpression = 16,
    StreamsGroupMetadata = 17,
    StreamsGroupMemberMetadata = 19,
    StreamsGroupTargetAssignmentMetadata = 20,
    StreamsGroupTargetAssignmentMember = 21,
    StreamsGroupCurrentMemberAssignment = 22,
    StreamsGroupTopology = 23,
}

/// A key: the record type, then the fields in the key's only version.
pub fn encode_key<K: Message>(record_type: i16, key: &K) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    out.put(&record_type.to_be_bytes());
    key.encode(0, &mut out)?;
    Ok(out.finish().into_bytes())
}

/// A value: the version, then the fields in that version.
pub fn encode_value<V: Message>(version: i16, value: &V) -> Result<Bytes, EncodeError> {
    let mut out = Encoder::new();
    out.put(&version.to_be_bytes());
    value.encode(version, &mut out)?;
    Ok(out.finish().into_bytes())
}

/// Splits a key into its record type and a decoder over its fields, for [`Message::decode`] with version 0.
pub fn open_key(key: Bytes) -> Result<(i16, Decoder), DecodeError> {
    let mut input = Decoder::new(key);
    let record_type = i16::from_be_bytes(input.array()?);
    Ok((record_type, input))
}

/// Reads a value written in any version up to `newest`. Bytes after the fields are ignored, as Kafka does.
pub fn decode_value<V: Message>(value: Bytes, newest: i16) -> Result<V, DecodeError> {
    let mut input = Decoder::new(value);
    let version = i16::from_be_bytes(input.array()?);
    if !(0..=newest).contains(&version) {
        return Err(DecodeError::Version {
            message: V::NAME,
            version,
        });
    }
    V::decode(&mut input, version)
}

#[cfg(test)]
mod tests {
    use super::offset_commit::{OffsetCommitKey, OffsetCommitValue};
    use super::*;

    #[test]
    fn an_offset_commit_has_kafkas_bytes() {
        let key = OffsetCommitKey {
            group: "g".into(),
            topic: "orders".into(),
            partition: 3,
        };
        let bytes = encode_key(OffsetsRecordType::OffsetCommit as i16, &key).unwrap();
        assert_eq!(bytes.as_ref(), b"\0\x01\0\x01g\0\x06orders\0\0\0\x03");
        let (record_type, mut input) = open_key(bytes).unwrap();
        assert_eq!(record_type, OffsetsRecordType::OffsetCommit as i16);
        assert_eq!(OffsetCommitKey::decode(&mut input, 0).unwrap(), key);

        let value = OffsetCommitValue {
            offset: 5,
            leader_epoch: 2,
            metadata: "m".into(),
            commit_timestamp: 258,
            ..Default::default()
        };
        let bytes = encode_value(3, &value).unwrap();
        assert_eq!(
            bytes.as_ref(),
            b"\0\x03\0\0\0\0\0\0\0\x05\0\0\0\x02\0\x01m\0\0\0\0\0\0\x01\x02"
        );
        assert_eq!(decode_value::<OffsetCommitValue>(bytes, 4).unwrap(), value);
    }
}
