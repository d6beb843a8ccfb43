//! What a producer may send: one whole batch of format v2 per partition, small enough, intact, with plausible timestamps.
//!
//! Only the header is parsed and the checksum compared; records inside are not touched, unless the topic asks for another
//! compression than the producer used. Leaves sequences and offsets to the log.

use bytes::Bytes;
use protocol::ErrorCode;
use protocol::record::batch::{self, Batch, BatchError, HEADER, OVERHEAD};
use protocol::record::compression::Compression;

use crate::shard::topic_config::TopicConfig;

/// A decompressed batch may be this many times `max.message.bytes`: what a compressed one may unfold to when it must be
/// compressed again. More is a compression bomb.
const MOST_EXPANSION: usize = 32;
/// First Produce version that may carry zstd (KIP-110).
const ZSTD: i16 = 7;

/// Why a partition's records were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For the client.
    pub(super) code: ErrorCode,
    /// For a person.
    pub(super) message: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: Some(message.into()),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, message: None }
    }
}

/// Checks a partition's records; gives them back as they will be stored.
pub(super) fn check(
    records: Bytes,
    config: &TopicConfig,
    version: i16,
    now_ms: i64,
) -> Result<Bytes, Refusal> {
    if records.is_empty() {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "a partition without a record batch",
        ));
    }
    let batch = Batch::at_start(&records).map_err(|error| refusal_of(&error))?;
    if batch.size() != records.len() {
        return Err(Refusal::new(
            ErrorCode::InvalidRecord,
            "exactly one record batch per partition is allowed",
        ));
    }
    if batch.size() > config.max_message_bytes {
        let why = format!(
            "the batch has {} bytes, max.message.bytes is {}",
            batch.size(),
            config.max_message_bytes
        );
        return Err(Refusal::new(ErrorCode::MessageTooLarge, why));
    }
    batch.validate().map_err(|error| refusal_of(&error))?;
    if batch.is_control() || batch.is_transactional() {
        return Err(Refusal::new(
            ErrorCode::InvalidTxnState,
            "transactions are not served yet",
        ));
    }
    let used = batch.compression().map_err(|error| refusal_of(&error))?;
    if used == Compression::Zstd && version < ZSTD {
        return Err(Refusal::new(
            ErrorCode::UnsupportedCompressionType,
            "zstd needs Produce version 7",
        ));
    }
    check_timestamps(&batch, config, now_ms)?;
    match config.compression {
        Some(wanted) if wanted != used => recompress(&batch, wanted, config.max_message_bytes),
        _ => Ok(records),
    }
}

fn refusal_of(error: &BatchError) -> Refusal {
    let code = match error {
        BatchError::Magic(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Compression(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Inconsistent(_) => ErrorCode::InvalidRecord,
        BatchError::Truncated { .. } | BatchError::BadLength(_) | BatchError::Crc { .. } => {
            ErrorCode::CorruptMessage
        }
    };
    Refusal::new(code, error.to_string())
}

/// KIP-937's window around the broker's clock: one record from the far future would keep a segment from ever expiring.
/// The header has the first and the largest timestamp; those are judged.
fn check_timestamps(batch: &Batch<'_>, config: &TopicConfig, now_ms: i64) -> Result<(), Refusal> {
    if config.log_append_time {
        return Ok(());
    }
    let ahead = batch.max_timestamp().saturating_sub(now_ms);
    if ahead > config.timestamp_after_max_ms {
        let why = format!(
            "a timestamp is {ahead} ms ahead of the broker, more than message.timestamp.after.max.ms"
        );
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, why));
    }
    let behind = now_ms.saturating_sub(batch.base_timestamp());
    if behind > config.timestamp_before_max_ms {
        let why = format!(
            "a timestamp is {behind} ms behind the broker, more than message.timestamp.before.max.ms"
        );
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, why));
    }
    Ok(())
}

/// The same records under the topic's own compression (`compression.type` other than `producer`).
fn recompress(batch: &Batch<'_>, wanted: Compression, max_message_bytes: usize) -> Result<Bytes, Refusal> {
    let corrupt = |error: &std::io::Error| Refusal::new(ErrorCode::CorruptMessage, error.to_string());
    let used = batch.compression().map_err(|error| refusal_of(&error))?;
    let limit = max_message_bytes.saturating_mul(MOST_EXPANSION);
    let plain = used
        .decompress(batch.records(), limit)
        .map_err(|error| corrupt(&error))?;
    let packed = wanted.compress(&plain).map_err(|error| corrupt(&error))?;
    let stored = with_records(batch, wanted, &packed);
    if stored.len() > max_message_bytes {
        let why = format!(
            "the batch has {} bytes under the topic's compression.type",
            stored.len()
        );
        return Err(Refusal::new(ErrorCode::MessageTooLarge, why));
    }
    Ok(stored)
}

/// The batch's header over other record bytes: length, compression bits and checksum are what changes.
fn with_records(batch: &Batch<'_>, compression: Compression, records: &[u8]) -> Bytes {
    const COMPRESSION_BITS: i16 = 0b111;
    const CRC_FROM: usize = 21;
    let mut stored = Vec::with_capacity(HEADER + records.len());
    stored.extend_from_slice(&batch.bytes()[..HEADER]);
    stored.extend_from_slice(records);
    let length = (stored.len() - OVERHEAD) as i32;
    stored[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = (batch.attributes() & !COMPRESSION_BITS) | compression as i16;
    stored[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
    let crc = batch::crc32c(&stored[CRC_FROM..]);
    stored[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(stored)
}
