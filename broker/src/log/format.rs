//! Byte tables of every file a partition's directory holds, as Apache Kafka 4.4 lays them out, and the encoding and
//! decoding of them. Owns: names and bytes. Leaves to others: when anything is read or written, and record batches
//! themselves (`protocol::record::batch`; a `.log` file is batches one after the other and nothing else).
//!
//! ```text
//! <log dir>/<topic>-<partition>/                   one directory per partition
//!   00000000000000000042.log                       batches; the name is the first offset the segment may hold
//!   00000000000000000042.index                     sparse offset index    (8 bytes an entry)
//!   00000000000000000042.timeindex                 sparse time index      (12 bytes an entry)
//!   00000000000000000042.snapshot                  producer state of all records below offset 42
//!   leader-epoch-checkpoint, partition.metadata    text (see `checkpoint.rs`)
//! ```
//! All integers are big-endian.
//!
//! # Offset index entry
//! | at | bytes | field                                                                      |
//! |----|-------|----------------------------------------------------------------------------|
//! | 0  | 4     | last offset of a batch, minus the segment's base offset                    |
//! | 4  | 4     | position of that batch's first byte in the `.log` file                     |
//!
//! # Time index entry
//! | at | bytes | field                                                                      |
//! |----|-------|----------------------------------------------------------------------------|
//! | 0  | 8     | largest timestamp (ms since the epoch) in the segment up to this entry     |
//! | 8  | 4     | last offset of the batch that holds it, minus the segment's base offset    |
//!
//! Entries of both strictly increase in their first field. Neither file has a checksum: an index is a hint that the
//! log can always rebuild, so entries are checked for order and range when they are loaded after an unclean stop.
//!
//! # Producer snapshot
//! | at | bytes | field                                                                      |
//! |----|-------|----------------------------------------------------------------------------|
//! | 0  | 2     | version, 1                                                                 |
//! | 2  | 4     | CRC-32C of everything from byte 6 to the end                               |
//! | 6  | 4     | number of entries                                                          |
//! | 10 | 46 *n | entries: producer id 8, epoch 2, last sequence 4, last offset 8,           |
//! |    |       | offset delta of the last batch 4, timestamp 8, coordinator epoch 4,        |
//! |    |       | first offset of the open transaction 8 (-1: none)                          |

use protocol::record::batch::crc32c;
use protocol::{Offset, ProducerEpoch, ProducerId};

/// Bytes of one offset index entry.
pub const OFFSET_ENTRY: usize = 8;
/// Bytes of one time index entry.
pub const TIME_ENTRY: usize = 12;

const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_COUNTED: usize = 6;
const SNAPSHOT_HEADER: usize = 10;
const SNAPSHOT_ENTRY: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;
const _: () = assert!(SNAPSHOT_ENTRY == 46);

/// File name endings.
pub const LOG: &str = "log";
pub const INDEX: &str = "index";
pub const TIME_INDEX: &str = "timeindex";
pub const SNAPSHOT: &str = "snapshot";
/// What a file about to be unlinked is renamed to end with; leftovers are removed at the next start.
pub const DELETED: &str = ".deleted";
/// What the directory of a deleted partition ends with: `<topic>-<partition>.<32 hex digits>-delete`.
pub const DELETED_DIR: &str = "-delete";
/// What the directory of a log that no partition claims ends with: `<topic>-<partition>.<32 hex digits>-stray`.
pub const STRAY_DIR: &str = "-stray";

/// `00000000000000000042.log`: twenty digits, so that names sort as offsets do.
pub fn file_name(base: Offset, ending: &str) -> String {
    format!("{:020}.{ending}", base.0)
}

/// The offset and the ending of a name made by [`file_name`]; `None` for any other name.
pub fn parse_file_name(name: &str) -> Option<(Offset, &str)> {
    let (digits, ending) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), ending))
}

/// `<topic>-<partition>`, the directory of a partition.
pub fn directory_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// What a deleted partition's directory is renamed to: `<topic>-<partition>.<32 hex digits>-delete`, with the topic cut
/// as Kafka does so that the name stays within the 255 bytes a file system allows.
pub fn deleted_directory_name(topic: &str, partition: i32, unique: [u8; 16]) -> String {
    unique_directory_name(topic, partition, unique, DELETED_DIR)
}

/// What the directory of a log that no partition claims is renamed to, likewise. Unique, because a partition may come and
/// leave a log behind more than once, and a directory is not renamed to one that is there.
pub fn stray_directory_name(topic: &str, partition: i32, unique: [u8; 16]) -> String {
    unique_directory_name(topic, partition, unique, STRAY_DIR)
}

fn unique_directory_name(topic: &str, partition: i32, unique: [u8; 16], kind: &str) -> String {
    let unique: String = unique.iter().map(|byte| format!("{byte:02x}")).collect();
    let ending = format!("-{partition}.{unique}{kind}");
    // Not every name on disk is a topic's.
    let kept = topic.floor_char_boundary(255 - ending.len());
    format!("{}{ending}", &topic[..kept])
}

/// The topic and partition of a directory's name; `None` for a deleted partition's directory or anything else.
pub fn parse_directory_name(name: &str) -> Option<(&str, i32)> {
    if name.ends_with(DELETED_DIR) {
        return None;
    }
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() || !partition.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((topic, partition.parse().ok()?))
}

/// Whether a name in a log directory is a deleted partition's directory that a crash left behind.
pub fn is_deleted_directory(name: &str) -> bool {
    name.strip_suffix(DELETED_DIR)
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(_, unique)| {
            unique.len() == 32 && unique.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
}

/// One entry of the offset index, with the segment's base offset added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch at `position`.
    pub offset: Offset,
    /// Byte of the `.log` file at which that batch begins.
    pub position: u32,
}

impl OffsetEntry {
    /// Appends the entry's bytes. The caller has seen to it that the offset is within 2^31 of the base (segments roll).
    pub fn encode(self, base: Offset, out: &mut Vec<u8>) {
        let relative =
            u32::try_from(self.offset - base).expect("a segment rolls before its offsets exceed 31 bits");
        out.extend_from_slice(&relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    /// The entry in the first eight bytes of `bytes`.
    pub fn decode(base: Offset, bytes: &[u8]) -> OffsetEntry {
        OffsetEntry {
            offset: base + i64::from(be_u32(bytes, 0)),
            position: be_u32(bytes, 4),
        }
    }
}

/// One entry of the time index, with the segment's base offset added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds since the epoch; -1 is "none yet".
    pub timestamp: i64,
    /// Last offset of the batch that holds it.
    pub offset: Offset,
}

impl TimeEntry {
    /// Appends the entry's bytes; the caller keeps the offset within 2^31 of the base.
    pub fn encode(self, base: Offset, out: &mut Vec<u8>) {
        let relative =
            u32::try_from(self.offset - base).expect("a segment rolls before its offsets exceed 31 bits");
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&relative.to_be_bytes());
    }

    /// The entry in the first twelve bytes of `bytes`.
    pub fn decode(base: Offset, bytes: &[u8]) -> TimeEntry {
        TimeEntry {
            timestamp: be_i64(bytes, 0),
            offset: base + i64::from(be_u32(bytes, 8)),
        }
    }
}

/// One producer in a snapshot: its last batch only, as Kafka keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Sequence of the last record of the last batch; -1 after control records only.
    pub last_sequence: i32,
    pub last_offset: Offset,
    /// Last offset of the last batch minus its first.
    pub offset_delta: i32,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub transaction_first: Option<Offset>,
}

/// Why bytes are not a producer snapshot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot of version {0}, known is {SNAPSHOT_VERSION}")]
    Version(i16),
    #[error("snapshot of {0} bytes does not hold what it says")]
    Length(usize),
    #[error("snapshot does not match its checksum")]
    Checksum,
}

/// The bytes of a snapshot file.
pub fn encode_snapshot(entries: &[SnapshotEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SNAPSHOT_HEADER + entries.len() * SNAPSHOT_ENTRY);
    out.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(
        &u32::try_from(entries.len())
            .expect("producers are bounded")
            .to_be_bytes(),
    );
    for entry in entries {
        out.extend_from_slice(&entry.producer_id.0.to_be_bytes());
        out.extend_from_slice(&entry.epoch.0.to_be_bytes());
        out.extend_from_slice(&entry.last_sequence.to_be_bytes());
        out.extend_from_slice(&entry.last_offset.0.to_be_bytes());
        out.extend_from_slice(&entry.offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(
            &entry
                .transaction_first
                .map_or(-1, |offset| offset.0)
                .to_be_bytes(),
        );
    }
    let crc = crc32c(&out[SNAPSHOT_COUNTED..]);
    out[2..SNAPSHOT_COUNTED].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The producers in a snapshot file's bytes.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Vec<SnapshotEntry>, SnapshotError> {
    if bytes.len() < SNAPSHOT_HEADER {
        return Err(SnapshotError::Length(bytes.len()));
    }
    let version = be_u16(bytes, 0).cast_signed();
    if version != SNAPSHOT_VERSION {
        return Err(SnapshotError::Version(version));
    }
    if be_u32(bytes, 2) != crc32c(&bytes[SNAPSHOT_COUNTED..]) {
        return Err(SnapshotError::Checksum);
    }
    let entries = &bytes[SNAPSHOT_HEADER..];
    if entries.len() != (be_u32(bytes, SNAPSHOT_COUNTED) as usize).saturating_mul(SNAPSHOT_ENTRY) {
        return Err(SnapshotError::Length(bytes.len()));
    }
    Ok(entries
        .chunks_exact(SNAPSHOT_ENTRY)
        .map(decode_snapshot_entry)
        .collect())
}

fn decode_snapshot_entry(bytes: &[u8]) -> SnapshotEntry {
    let transaction_first = be_i64(bytes, 38);
    SnapshotEntry {
        producer_id: ProducerId(be_i64(bytes, 0)),
        epoch: ProducerEpoch(be_u16(bytes, 8).cast_signed()),
        last_sequence: be_u32(bytes, 10).cast_signed(),
        last_offset: Offset(be_i64(bytes, 14)),
        offset_delta: be_u32(bytes, 22).cast_signed(),
        timestamp: be_i64(bytes, 26),
        coordinator_epoch: be_u32(bytes, 34).cast_signed(),
        transaction_first: (transaction_first >= 0).then_some(Offset(transaction_first)),
    }
}

fn be_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from(be_u32(bytes, at).cast_signed()) << 32 | i64::from(be_u32(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_offsets_and_come_back() {
        assert_eq!(file_name(Offset(42), LOG), "00000000000000000042.log");
        assert_eq!(
            parse_file_name("00000000000000000042.log"),
            Some((Offset(42), "log"))
        );
        assert_eq!(
            parse_file_name("00000000000000000042.log.deleted"),
            Some((Offset(42), "log.deleted"))
        );
        assert_eq!(parse_file_name("0042.log"), None);
        assert_eq!(parse_file_name("leader-epoch-checkpoint"), None);
        assert_eq!(parse_directory_name("my-topic.x-12"), Some(("my-topic.x", 12)));
        assert_eq!(parse_directory_name("meta"), None);
        assert_eq!(parse_directory_name("a-+1"), None);
        let deleted = deleted_directory_name("my-topic", 3, [0xab; 16]);
        assert_eq!(deleted, format!("my-topic-3.{}-delete", "ab".repeat(16)));
        assert!(is_deleted_directory(&deleted));
        assert!(!is_deleted_directory("soft-delete"));
        assert_eq!(parse_directory_name(&deleted), None);
        let longest = deleted_directory_name(&"t".repeat(249), 123, [0; 16]);
        assert!(longest.len() <= 255 && is_deleted_directory(&longest));
        let stray = stray_directory_name(&"t".repeat(249), 123, [0xab; 16]);
        assert!(stray.len() <= 255 && stray.ends_with(&format!("-123.{}-stray", "ab".repeat(16))));
        assert!(!is_deleted_directory(&stray), "it is kept");
        assert_eq!(parse_directory_name(&stray), None);
    }

    #[test]
    fn golden_bytes_of_index_entries() {
        let base = Offset(1000);
        let mut bytes = Vec::new();
        let offset = OffsetEntry {
            offset: Offset(1258),
            position: 0x0102_0304,
        };
        offset.encode(base, &mut bytes);
        assert_eq!(bytes, [0, 0, 1, 2, 1, 2, 3, 4]);
        assert_eq!(OffsetEntry::decode(base, &bytes), offset);
        bytes.clear();
        let time = TimeEntry {
            timestamp: 0x0001_0203_0405_0607,
            offset: Offset(1001),
        };
        time.encode(base, &mut bytes);
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 1]);
        assert_eq!(TimeEntry::decode(base, &bytes), time);
    }

    #[test]
    fn golden_bytes_of_a_snapshot() {
        let entry = SnapshotEntry {
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(2),
            last_sequence: 9,
            last_offset: Offset(300),
            offset_delta: 4,
            timestamp: 0x0190_0000_0000,
            coordinator_epoch: -1,
            transaction_first: None,
        };
        let bytes = encode_snapshot(&[entry]);
        let body: Vec<u8> = [
            &[0, 0, 0, 1][..],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 2],
            &[0, 0, 0, 9],
            &[0, 0, 0, 0, 0, 0, 1, 44],
            &[0, 0, 0, 4],
            &[0, 0, 1, 0x90, 0, 0, 0, 0],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff; 8],
        ]
        .concat();
        assert_eq!(&bytes[..2], [0, 1]);
        assert_eq!(&bytes[6..], body);
        assert_eq!(&bytes[2..6], crc32c(&body).to_be_bytes());
        assert_eq!(decode_snapshot(&bytes), Ok(vec![entry]));
        assert_eq!(decode_snapshot(&encode_snapshot(&[])), Ok(vec![]));
    }

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn damaged_snapshots_are_refused() {
        let good = encode_snapshot(&[]);
        assert_eq!(decode_snapshot(&good[..9]), Err(SnapshotError::Length(9)));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode_snapshot(&bad).is_err(), "byte {at}");
        }
        // A count that asks for more than there is, under a checksum that fits.
        let mut lying = good;
        lying[6..10].copy_from_slice(&u32::MAX.to_be_bytes());
        let crc = crc32c(&lying[6..]);
        lying[2..6].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode_snapshot(&lying), Err(SnapshotError::Length(10)));
    }
}
