//! Replays a partition of an internal topic into a state machine.

use std::rc::Rc;

use bytes::Bytes;
use protocol::ids::{Offset, TopicPartition};
use protocol::record::batch::{Batch, batches};
use protocol::record::record::records;

use crate::shard::Shard;
use crate::shard::error::PartitionError;
use crate::shard::partitions::Partition;
use crate::shard::read::{Read, ReadPart, Watching};
use crate::state_machine::{Record, StateMachine};

/// Bytes replayed between two looks at what else the core has to do.
const CHUNK_BYTES: usize = 1 << 20;

/// Largest body a compressed batch may have; batches of another broker's may be compressed.
const BODY_LIMIT: usize = 256 << 20;

/// Why a partition cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// It cannot be read.
    #[error("read at offset {at}: {source}")]
    Read {
        /// Where.
        at: Offset,
        /// Why.
        source: PartitionError,
    },
    /// What was read makes no sense.
    #[error("offset {at}: {what}")]
    Record {
        /// Where.
        at: Offset,
        /// Why.
        what: String,
    },
}

/// Replays everything that the log holds now. Records that are written but not committed yet are waited for: they may have
/// been answered by the leader before, and are about to count.
pub(super) async fn load<M: StateMachine>(
    shard: &Rc<Shard>,
    partition: &Rc<Partition>,
    machine: &mut M,
) -> Result<(), LoadError> {
    let (mut at, end) = match partition.log() {
        Ok(log) => (log.offsets().log_start, log.offsets().log_end),
        Err(source) => {
            return Err(LoadError::Read {
                at: Offset::ZERO,
                source,
            });
        }
    };
    while at < end {
        let found = read(shard, partition.id, at).await?;
        if found.is_empty() {
            let seen = partition.high_watermark();
            if seen <= at {
                let ticket = shard.next_watch_ticket();
                shard
                    .watch(Watching {
                        ticket,
                        parts: vec![(0, partition.id, seen)],
                    })
                    .await;
            }
        }
        at = replay(&found, at, machine)?;
        crate::rt::yield_now().await;
    }
    Ok(())
}

async fn read(shard: &Rc<Shard>, partition: TopicPartition, at: Offset) -> Result<Bytes, LoadError> {
    let part = ReadPart {
        partition,
        offset: at,
        max_bytes: CHUNK_BYTES,
        leader_epoch: -1,
        last_fetched_epoch: -1,
    };
    let read = Read {
        parts: vec![part],
        max_bytes: CHUNK_BYTES,
        first_batch_always: true,
        any_replica: false,
        rack: None,
    };
    let mut found = shard.read(read).await;
    let reply = found.pop().unwrap_or(Err(PartitionError::Unknown));
    reply
        .map(|found| found.records)
        .map_err(|source| LoadError::Read { at, source })
}

/// Replays the records from `from` on; returns the offset behind them.
fn replay<M: StateMachine>(bytes: &Bytes, from: Offset, machine: &mut M) -> Result<Offset, LoadError> {
    let mut next = from;
    for batch in batches(bytes) {
        let broken = |what: String| LoadError::Record { at: next, what };
        let (_, batch) = batch.map_err(|error| broken(error.to_string()))?;
        // Markers of transactions; those are not served yet, and a marker changes nothing that is stored for groups here.
        if !batch.is_control() {
            replay_batch(&batch, from, machine)?;
        }
        next = batch.next_offset();
    }
    Ok(next)
}

fn replay_batch<M: StateMachine>(batch: &Batch<'_>, from: Offset, machine: &mut M) -> Result<(), LoadError> {
    let base = batch.base_offset();
    let broken = |what: String| LoadError::Record { at: base, what };
    let compression = batch.compression().map_err(|error| broken(error.to_string()))?;
    let body = compression
        .decompress(batch.records(), BODY_LIMIT)
        .map_err(|error| broken(format!("decompress: {error}")))?;
    for record in records(&body, batch.record_count()) {
        let record = record.map_err(|error| broken(error.to_string()))?;
        let at = base + i64::from(record.offset_delta);
        // The first batch may begin before the offset that was asked for.
        if at < from {
            continue;
        }
        let Some(key) = record.key else { continue };
        let copied = Record {
            key: Bytes::copy_from_slice(key),
            value: record.value.map(Bytes::copy_from_slice),
        };
        let replayed = machine.replay(&copied);
        replayed.map_err(|error| LoadError::Record {
            at,
            what: error.to_string(),
        })?;
    }
    Ok(())
}
