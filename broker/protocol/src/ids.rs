//! Newtypes for ids and offsets. Wire structs keep raw integers; these begin behind the codec, where two numbers of
//! different meaning could be swapped.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// A broker or controller of the cluster (`node.id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NodeId(pub i32);

/// A topic's identity for its whole life (KIP-516); a topic made again under the same name has another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct TopicId(pub [u8; 16]);

/// A producer's identity, from InitProducerId (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ProducerId(pub i64);

/// Fences older incarnations of one producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ProducerEpoch(pub i16);

/// Counts the leaders of one partition; stamped into every batch (KIP-101).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LeaderEpoch(pub i32);

/// A position in a partition, counted in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Offset(pub i64);

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct TopicPartition {
    /// Which topic.
    pub topic_id: TopicId,
    /// Which of its partitions, from 0.
    pub partition: i32,
}

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);
}

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, records: i64) -> Offset {
        Offset(self.0 + records)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, records: i64) {
        self.0 += records;
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0 - other.0
    }
}

impl TopicId {
    /// "No id": what clients send that know a topic by name only.
    pub const ZERO: TopicId = TopicId([0; 16]);
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Sixteen bytes as Kafka prints uuids: base64url without padding, 22 characters.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(22);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(BASE64URL[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

/// The sixteen bytes behind Kafka's 22 characters, or `None` if the text is not such a uuid.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim_end_matches('=');
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    let letters = text.as_bytes();
    for letter in &letters[..21] {
        bits = bits << 6 | BASE64URL.iter().position(|known| known == letter)? as u128;
    }
    // 128 bits are 21 digits of 6 bits and 2 bits of the last one.
    let last = BASE64URL.iter().position(|known| *known == letters[21])? as u128;
    Some((bits << 2 | last >> 4).to_be_bytes())
}

impl fmt::Display for TopicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&uuid_text(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&uuid_text(&self.0))
    }
}

impl FromStr for TopicId {
    type Err = InvalidUuid;
    fn from_str(text: &str) -> Result<TopicId, InvalidUuid> {
        parse_uuid(text).map(TopicId).ok_or(InvalidUuid)
    }
}

/// The text is not 22 characters of base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a uuid: 22 characters of base64url are expected")]
pub struct InvalidUuid;

macro_rules! display_number {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    )*};
}
display_number!(NodeId ProducerId ProducerEpoch LeaderEpoch Offset);

impl fmt::Display for TopicPartition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_print_as_kafka_prints_them_and_come_back() {
        let mut bytes = [0; 16];
        assert_eq!(uuid_text(&bytes), "AAAAAAAAAAAAAAAAAAAAAA");
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (at * 37 + 11) as u8;
        }
        let text = uuid_text(&bytes);
        assert_eq!(text.len(), 22);
        assert_eq!(parse_uuid(&text), Some(bytes));
        assert_eq!(
            parse_uuid("QOEdL1NXAJB4u2GxmePFMQ")
                .map(|bytes| uuid_text(&bytes))
                .as_deref(),
            Some("QOEdL1NXAJB4u2GxmePFMQ")
        );
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }
}
