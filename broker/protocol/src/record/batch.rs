//! The record batch, format v2 (KIP-98): the only format that is stored.
//!
//! ```text
//! byte  size  field
//!    0     8  base offset            stamped by the leader; outside the CRC
//!    8     4  batch length           bytes after this field
//!   12     4  partition leader epoch stamped by the leader; outside the CRC
//!   16     1  magic                  2
//!   17     4  CRC-32C                of everything from byte 21 on
//!   21     2  attributes             bits 0-2 compression, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//!   23     4  last offset delta      offsets the batch spans, minus one
//!   27     8  base timestamp         ms
//!   35     8  max timestamp          ms
//!   43     8  producer id            -1 without idempotence
//!   51     2  producer epoch
//!   53     4  base sequence
//!   57     4  record count
//!   61        records, compressed as a whole
//! ```
//! The CRC leaves base offset and leader epoch out, so that a leader stamps both without hashing the batch again.

use bytes::Bytes;

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::compression::Compression;
use crate::record::record::{Record, encode_record};

/// Bytes before the first record.
pub const HEADER: usize = 61;
/// Bytes of base offset and batch length: what `batch length` does not count.
pub const OVERHEAD: usize = 12;
/// The only magic that is stored.
pub const MAGIC: u8 = 2;
/// Where the CRC's coverage begins.
const CRC_FROM: usize = 21;

const _: () = assert!(HEADER == CRC_FROM + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4);

/// Why bytes are not a batch. Offsets of bytes count from the start of the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the length says.
    #[error("the batch is cut off: {wanted} bytes are needed, {left} are there")]
    Truncated {
        /// Bytes it needs.
        wanted: usize,
        /// Bytes there are.
        left: usize,
    },
    /// The length is too small for a header, or negative.
    #[error("batch length {0} is not possible")]
    BadLength(i32),
    /// An older or newer message format.
    #[error("message format v{0} is not served, only v2")]
    Magic(u8),
    /// The content is not what the CRC says.
    #[error("CRC-32C is {found:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// As stored.
        stored: u32,
        /// As computed.
        found: u32,
    },
    /// Counts or deltas contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// The compression bits name no codec.
    #[error("compression type {0} is not known")]
    Compression(u8),
}

/// Header of one batch, read in place: a view over bytes that hold the whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

fn int<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

/// Size of the batch that starts here, header included, from its first 12 bytes.
pub fn size_of_batch(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() < OVERHEAD {
        return Err(BatchError::Truncated {
            wanted: OVERHEAD,
            left: bytes.len(),
        });
    }
    let length = i32::from_be_bytes(int(bytes, 8));
    if length < (HEADER - OVERHEAD) as i32 {
        return Err(BatchError::BadLength(length));
    }
    Ok(length as usize + OVERHEAD)
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`: length and magic are checked, the CRC is not.
    pub fn at_start(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        // Formats v0 and v1 have the magic at the same byte, so that an old message is named before its length is judged.
        if bytes.len() > 16 && bytes[16] != MAGIC {
            return Err(BatchError::Magic(bytes[16]));
        }
        let size = size_of_batch(bytes)?;
        if size > bytes.len() {
            return Err(BatchError::Truncated {
                wanted: size,
                left: bytes.len(),
            });
        }
        Ok(Batch {
            bytes: &bytes[..size],
        })
    }

    /// The header of a batch of which only the first [`HEADER`] bytes are at hand.
    pub fn header_only(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        if bytes.len() < HEADER {
            return Err(BatchError::Truncated {
                wanted: HEADER,
                left: bytes.len(),
            });
        }
        if bytes[16] != MAGIC {
            return Err(BatchError::Magic(bytes[16]));
        }
        size_of_batch(bytes)?;
        Ok(Batch {
            bytes: &bytes[..HEADER],
        })
    }

    /// All bytes of the batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// Bytes of the whole batch, from its length field.
    pub fn size(&self) -> usize {
        i32::from_be_bytes(int(self.bytes, 8)) as usize + OVERHEAD
    }
    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(i64::from_be_bytes(int(self.bytes, 0)))
    }
    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset() + i64::from(self.last_offset_delta())
    }
    /// Offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }
    /// The epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(int(self.bytes, 12)))
    }
    /// The CRC as stored.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(int(self.bytes, 17))
    }
    /// Attribute bits.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(int(self.bytes, 21))
    }
    /// Offsets spanned, minus one.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(int(self.bytes, 23))
    }
    /// Timestamp that records' deltas count from, in ms.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(int(self.bytes, 27))
    }
    /// Largest timestamp of its records, in ms.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(int(self.bytes, 35))
    }
    /// Who wrote it; `None` without idempotence.
    pub fn producer_id(&self) -> Option<ProducerId> {
        Some(i64::from_be_bytes(int(self.bytes, 43)))
            .filter(|id| *id >= 0)
            .map(ProducerId)
    }
    /// The producer's epoch.
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(i16::from_be_bytes(int(self.bytes, 51)))
    }
    /// Sequence number of the first record; -1 without idempotence.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(int(self.bytes, 53))
    }
    /// Sequence number of the last record; wraps from 2^31-1 to 0.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            -1 => -1,
            base => (i64::from(base) + i64::from(self.last_offset_delta())).rem_euclid(1 << 31) as i32,
        }
    }
    /// How many records it holds.
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(int(self.bytes, 57))
    }
    /// How its records are compressed.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let bits = (self.attributes() & 7) as u8;
        Compression::from_bits(bits).ok_or(BatchError::Compression(bits))
    }
    /// Whether timestamps are the leader's (LogAppendTime).
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & 1 << 3 != 0
    }
    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & 1 << 4 != 0
    }
    /// Whether it holds control records (commit and abort markers).
    pub fn is_control(&self) -> bool {
        self.attributes() & 1 << 5 != 0
    }

    /// The CRC against the content; needs the whole batch.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let found = crc32c(&self.bytes[CRC_FROM..]);
        let stored = self.crc();
        if found == stored {
            Ok(())
        } else {
            Err(BatchError::Crc { stored, found })
        }
    }

    /// Everything that can be known without reading the records: CRC, counts, deltas, compression.
    pub fn validate(&self) -> Result<(), BatchError> {
        self.check_crc()?;
        self.compression()?;
        if self.last_offset_delta() < 0 {
            return Err(BatchError::Inconsistent("last offset delta is negative"));
        }
        if self.record_count() < 0 {
            return Err(BatchError::Inconsistent("record count is negative"));
        }
        Ok(())
    }

    /// The records' bytes, as stored (compressed where the attributes say so).
    pub fn records(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }
}

/// CRC-32C (Castagnoli) of the bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Stamps what the leader decides into a batch in place; the CRC does not cover it.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Makes the leader's clock the batch's time (`message.timestamp.type=LogAppendTime`) and hashes it again, in place.
pub fn stamp_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes(int(batch, 21)) | 1 << 3;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Walks the batches that lie one after the other in `bytes`. Yields each with its place; ends after the first error.
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The batches of a record set.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, at: 0 }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(usize, Batch<'a>), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let at = self.at;
        match Batch::at_start(&self.bytes[at..]) {
            Ok(batch) => {
                self.at += batch.size();
                Some(Ok((at, batch)))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}

/// Builds batches for what the broker itself writes (offset commits, group metadata, control records) and for tests.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    attributes: i16,
    producer: Option<(ProducerId, ProducerEpoch, i32)>,
    records: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch whose records count their time from `base_timestamp` (ms).
    pub fn new(base_timestamp: i64) -> BatchBuilder {
        BatchBuilder {
            attributes: 0,
            producer: None,
            records: Vec::new(),
            count: 0,
            base_timestamp,
            max_timestamp: base_timestamp,
        }
    }

    /// Marks it as written by an idempotent producer.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> BatchBuilder {
        self.producer = Some((id, epoch, base_sequence));
        self
    }

    /// Marks it as part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= 1 << 4;
        self
    }

    /// Marks it as a control batch.
    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= 1 << 5;
        self
    }

    /// Adds a record without headers.
    pub fn record(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> &mut BatchBuilder {
        self.push(
            timestamp,
            &Record {
                key,
                value,
                ..Record::default()
            },
        )
    }

    /// Adds a record; its deltas are computed here.
    pub fn push(&mut self, timestamp: i64, record: &Record<'_>) -> &mut BatchBuilder {
        let record = Record {
            timestamp_delta: timestamp - self.base_timestamp,
            offset_delta: self.count,
            ..record.clone()
        };
        encode_record(&record, &mut self.records);
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self
    }

    /// Records added so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The batch, base offset 0 and leader epoch -1 until a leader stamps them.
    pub fn build(&self, compression: Compression) -> Result<Bytes, std::io::Error> {
        let body = compression.compress(&self.records)?;
        let mut batch = Vec::with_capacity(HEADER + body.len());
        let (id, epoch, sequence) = self
            .producer
            .map_or((-1, -1, -1), |(id, epoch, sequence)| (id.0, epoch.0, sequence));
        batch.extend_from_slice(&0i64.to_be_bytes());
        batch.extend_from_slice(&((HEADER - OVERHEAD + body.len()) as i32).to_be_bytes());
        batch.extend_from_slice(&(-1i32).to_be_bytes());
        batch.push(MAGIC);
        batch.extend_from_slice(&[0; 4]);
        batch.extend_from_slice(&(self.attributes | compression as i16).to_be_bytes());
        batch.extend_from_slice(&(self.count - 1).to_be_bytes());
        batch.extend_from_slice(&self.base_timestamp.to_be_bytes());
        batch.extend_from_slice(&self.max_timestamp.to_be_bytes());
        batch.extend_from_slice(&id.to_be_bytes());
        batch.extend_from_slice(&epoch.to_be_bytes());
        batch.extend_from_slice(&sequence.to_be_bytes());
        batch.extend_from_slice(&self.count.to_be_bytes());
        debug_assert_eq!(batch.len(), HEADER);
        batch.extend_from_slice(&body);
        let crc = crc32c(&batch[CRC_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(Bytes::from(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Bytes {
        let mut builder = BatchBuilder::new(1000);
        builder
            .record(1000, Some(b"a"), Some(b"1"))
            .record(1005, None, Some(b"2"))
            .record(1003, Some(b"c"), None);
        builder
            .build(Compression::None)
            .expect("no compression cannot fail")
    }

    #[test]
    fn a_built_batch_reads_back_and_its_crc_holds_through_stamping() {
        let mut bytes = three().to_vec();
        stamp(&mut bytes, Offset(42), LeaderEpoch(7));
        let batch = Batch::at_start(&bytes).expect("a batch");
        batch.validate().expect("valid");
        assert_eq!(
            (
                batch.base_offset(),
                batch.last_offset(),
                batch.leader_epoch(),
                batch.record_count(),
                batch.max_timestamp()
            ),
            (Offset(42), Offset(44), LeaderEpoch(7), 3, 1005)
        );
        stamp_log_append_time(&mut bytes, 9999);
        let batch = Batch::at_start(&bytes).expect("a batch");
        batch.validate().expect("hashed again");
        assert_eq!((batch.max_timestamp(), batch.is_log_append_time()), (9999, true));
    }

    #[test]
    fn golden_bytes_of_an_empty_key_batch() {
        let mut builder = BatchBuilder::new(0);
        builder.record(0, None, Some(b"v"));
        let bytes = builder
            .build(Compression::None)
            .expect("no compression cannot fail");
        // record: length 7 (zig-zag 14), attributes 0, deltas 0 0, null key (-1 = 1), value length 1 (2), 'v', no headers
        assert_eq!(&bytes[HEADER..], &[14, 0, 0, 0, 1, 2, b'v', 0]);
        assert_eq!(bytes.len(), HEADER + 8);
        assert_eq!(i32::from_be_bytes(int(&bytes, 8)), 57);
    }

    #[test]
    fn every_flipped_bit_after_the_crc_is_found() {
        let good = three();
        for at in CRC_FROM..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            assert!(
                Batch::at_start(&bad).is_ok_and(|batch| batch.check_crc().is_err()),
                "byte {at}"
            );
        }
    }

    #[test]
    fn cut_off_and_impossible_batches_are_named() {
        let good = three();
        for length in 0..good.len() {
            assert!(
                matches!(
                    Batch::at_start(&good[..length]),
                    Err(BatchError::Truncated { .. })
                ),
                "{length}"
            );
        }
        let mut old = good.to_vec();
        old[16] = 1;
        assert_eq!(Batch::at_start(&old).err(), Some(BatchError::Magic(1)));
        let mut negative = good.to_vec();
        negative[8..12].copy_from_slice(&(-5i32).to_be_bytes());
        assert_eq!(Batch::at_start(&negative).err(), Some(BatchError::BadLength(-5)));
    }

    #[test]
    fn a_set_of_batches_is_walked_with_places() {
        let one = three();
        let set = [one.as_ref(), one.as_ref()].concat();
        let places: Vec<usize> = batches(&set).map(|found| found.expect("whole").0).collect();
        assert_eq!(places, [0, one.len()]);
        let cut = &set[..set.len() - 1];
        assert!(batches(cut).nth(1).expect("an error").is_err());
        assert_eq!(batches(cut).count(), 2);
    }

    #[test]
    fn sequences_wrap_after_the_largest() {
        let mut builder = BatchBuilder::new(0).producer(ProducerId(1), ProducerEpoch(0), i32::MAX);
        builder.record(0, None, None).record(0, None, None);
        let bytes = builder
            .build(Compression::None)
            .expect("no compression cannot fail");
        assert_eq!(Batch::at_start(&bytes).expect("a batch").last_sequence(), 0);
    }
}
