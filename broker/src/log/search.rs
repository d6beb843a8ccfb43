//! Finds records by timestamp (ListOffsets, KIP-79, KIP-734). Owns: which segment, the way through the time index, and
//! the record within its batch. Leaves to others: which offsets may be shown.

use bytes::Bytes;
use protocol::record::batch::{Batch, HEADER};
use protocol::record::record::records;
use protocol::{LeaderEpoch, Offset};

use super::Log;
use super::format::{self, LOG, TimeEntry};
use super::index::{Floor, floor_in_file};
use super::reader::{Files, Place, ReadError, Start, read_well};

/// Bytes one batch may have when decompressed to look at its timestamps.
const DECOMPRESSED_LIMIT: usize = 256 << 20;
const STEP: usize = 64 * 1024;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// Plans a search for the first record at or after the log start whose timestamp is at least `timestamp` (ms), below
    /// `upto`. `None` when no segment has one.
    pub fn offset_for_timestamp(&self, timestamp: i64, upto: Offset) -> Option<SearchJob> {
        let start = self.offsets.get().log_start;
        let newest_from = |segment: &super::Segment| segment.newest.is_some_and(|n| n.timestamp >= timestamp);
        let segment = self
            .segments
            .iter()
            .find(|segment| newest_from(segment) && segment.base < upto)?;
        let by_time = segment.times.floor(timestamp);
        let from = match by_time {
            Floor::Found(entry) => entry.offset.max(start),
            _ => segment.base.max(start),
        };
        Some(SearchJob {
            timestamp,
            start,
            upto,
            by_time: match by_time {
                Floor::InFile(entries) => Some(entries),
                _ => None,
            },
            from,
            places: self.places(from.max(segment.base), |found| {
                if found.base < segment.base || found.base > from {
                    Start::At(0)
                } else {
                    Start::from_floor(found.offsets.floor(from.0))
                }
            }),
            files: self.files(),
        })
    }

    /// Plans a search for the record with the largest timestamp (the first, if several have it).
    pub fn max_timestamp(&self, upto: Offset) -> Option<SearchJob> {
        let newest = self
            .segments
            .iter()
            .filter_map(|segment| segment.newest)
            .map(|newest| newest.timestamp)
            .max()?;
        self.offset_for_timestamp(newest, upto)
    }
}

/// A search through files. Owns all it needs.
#[derive(Debug)]
#[must_use = "a job searches nothing until it runs"]
pub struct SearchJob {
    timestamp: i64,
    start: Offset,
    upto: Offset,
    /// Entries of the first segment's time index file to be searched.
    by_time: Option<u32>,
    /// Offset from which on to look, as far as memory knows.
    from: Offset,
    places: Vec<Place>,
    files: Files,
}

impl SearchJob {
    /// Searches.
    pub async fn run(mut self) -> Result<Option<Found>, ReadError> {
        if let (Some(entries), Some(place)) = (self.by_time, self.places.first()) {
            let path = self.files.path(place.base, format::TIME_INDEX);
            let found = {
                let file = self
                    .files
                    .handles
                    .get(place.keys.times, &path, false)
                    .await
                    .map_err(|error| ReadError::of(self.from, error))?;
                floor_in_file::<TimeEntry>(&file, place.base, entries, self.timestamp).await
            };
            match found {
                Ok(Some(entry)) => self.from = self.from.max(entry.offset),
                Ok(None) => {}
                Err(error) => tracing::warn!(index = %path.display(), %error, "cannot search the time index"),
            }
            // What the offset index knew for the segment's start is too early now, and still right.
        }
        for place in &self.places {
            if let Some(found) = self.search_segment(place).await? {
                return Ok(Some(found).filter(|found| found.offset < self.upto));
            }
        }
        Ok(None)
    }

    async fn search_segment(&self, place: &Place) -> Result<Option<Found>, ReadError> {
        let mut position = self.files.locate(place, self.from.max(place.base)).await?;
        let path = self.files.path(place.base, LOG);
        let file = self
            .files
            .handles
            .get(place.keys.log, &path, false)
            .await
            .map_err(|error| ReadError::of(self.from, error))?;
        let mut bytes = Bytes::new();
        let mut at = 0;
        let mut due = self.from.max(place.base);
        while position < place.limit {
            if bytes.len() - at < HEADER {
                let len = (STEP as u64).min(place.limit - position) as usize;
                let read = read_well(&file, position, len, HEADER.min(len)).await;
                (bytes, at) = (read.map_err(|error| ReadError::of(due, error))?, 0);
            }
            let corrupt = |reason: String| ReadError::Corrupt { at: due, reason };
            let header = Batch::header_only(&bytes[at..]).map_err(|error| corrupt(error.to_string()))?;
            let size = header.size();
            if header.base_offset() >= self.upto {
                return Ok(None);
            }
            if header.max_timestamp() >= self.timestamp && header.last_offset() >= self.start {
                let batch = file.read_at(position, size).await;
                let batch = batch.map_err(|error| ReadError::of(due, error))?;
                let (timestamp, start) = (self.timestamp, self.start);
                // Decompressing may take long: not on a shard.
                let found = crate::rt::blocking(move || record_in(&batch, timestamp, start))
                    .await
                    .map_err(corrupt)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            position += size as u64;
            due = due.max(header.next_offset());
            at = (at + size).min(bytes.len());
        }
        Ok(None)
    }
}

/// The first record of a batch at or after `start` with a timestamp of at least `timestamp`.
fn record_in(bytes: &[u8], timestamp: i64, start: Offset) -> Result<Option<Found>, String> {
    let batch = Batch::at_start(bytes).map_err(|error| error.to_string())?;
    batch.validate().map_err(|error| error.to_string())?;
    let leader_epoch = batch.leader_epoch();
    let found = |timestamp, offset| Found {
        timestamp,
        offset,
        leader_epoch,
    };
    if batch.is_log_append_time() {
        return Ok(Some(found(batch.max_timestamp(), batch.base_offset().max(start))));
    }
    let compression = batch.compression().map_err(|error| error.to_string())?;
    let body = compression
        .decompress(batch.records(), DECOMPRESSED_LIMIT)
        .map_err(|error| error.to_string())?;
    for record in records(&body, batch.record_count()) {
        let record = record.map_err(|error| error.to_string())?;
        let offset = batch.base_offset() + i64::from(record.offset_delta);
        let record_timestamp = batch.base_timestamp() + record.timestamp_delta;
        if record_timestamp >= timestamp && offset >= start {
            return Ok(Some(found(record_timestamp, offset)));
        }
    }
    Ok(None)
}
