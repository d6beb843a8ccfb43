//! Walks the batches of a segment file from a blocking thread: recovery and rebuilding. Owns: reading in large steps, and
//! telling the end of a file from damage. Leaves to others: what to do about damage (`recovery.rs`).

use std::io;

use protocol::record::batch::{Batch, HEADER};
use protocol::{LeaderEpoch, Offset};

use super::appender::producer_batch;
use super::producers::ProducerBatch;
use crate::rt::file::{BlockingFile, is_unreadable};

const STEP: usize = 256 * 1024;

/// A batch of a file, as its header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundBatch {
    pub(super) position: u64,
    pub(super) size: u64,
    pub(super) base: Offset,
    pub(super) last: Offset,
    pub(super) leader_epoch: LeaderEpoch,
    /// -1: none.
    pub(super) max_timestamp: i64,
    pub(super) producer: Option<ProducerBatch>,
}

/// What is at a place of a file.
#[derive(Debug)]
pub(super) enum Step {
    Batch(FoundBatch),
    /// The file ends exactly here.
    End,
    /// A whole batch, CRC and all, that says another base offset than the one that is due here: the CRC does not cover
    /// base offsets. Only told where no offset may be missing.
    Misplaced(FoundBatch),
    /// No batch begins here, and why.
    Bad(String),
}

/// Reads one file forward.
pub(super) struct Walk<'a> {
    file: &'a BlockingFile,
    pub(super) len: u64,
    /// Where the next batch is looked for.
    pub(super) position: u64,
    /// Smallest base offset the next batch may have.
    pub(super) expected: Offset,
    /// The next batch has exactly the offset expected, and whole batches are held to it.
    pub(super) exact: bool,
    buffer: Vec<u8>,
    /// Bytes read at once, at least.
    step: usize,
    /// File position of the buffer's first byte.
    buffered_from: u64,
    /// Bytes read, for the report.
    pub(super) bytes_read: u64,
    /// Where the last page ends that the disk could not read; 0 if there is none.
    pub(super) unreadable_to: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(file: &'a BlockingFile, len: u64, position: u64, expected: Offset) -> Walk<'a> {
        Walk {
            file,
            len,
            position,
            expected,
            exact: false,
            buffer: Vec::new(),
            step: STEP,
            buffered_from: 0,
            bytes_read: 0,
            unreadable_to: 0,
        }
    }

    /// The header at `position`, reading nothing else: a start looks at one or two of every segment.
    pub(super) fn peek(
        file: &'a BlockingFile,
        len: u64,
        position: u64,
        expected: Offset,
    ) -> io::Result<Option<FoundBatch>> {
        let mut walk = Walk {
            step: HEADER,
            ..Walk::new(file, len, position, expected)
        };
        Ok(match walk.next(false)? {
            Step::Batch(found) => Some(found),
            Step::End | Step::Misplaced(_) | Step::Bad(_) => None,
        })
    }

    /// The batch at the current place, and moves behind it. With `whole` its CRC is checked; without, only its header
    /// is read, and its body is stepped over.
    pub(super) fn next(&mut self, whole: bool) -> io::Result<Step> {
        let step = self.look(whole)?;
        if let Step::Batch(found) = &step {
            self.position += found.size;
            self.expected = found.last + 1;
        }
        Ok(step)
    }

    /// Looks for a valid batch (CRC and all) that begins after the current place, which is damaged, and moves there.
    /// First where the damaged header says its batch ends, then byte by byte. Stays where it is if there is none.
    pub(super) fn resynchronize(&mut self) -> io::Result<Option<FoundBatch>> {
        let damaged = self.position;
        if let Some(next) = self.claimed_end()? {
            self.position = next;
            if let Some(found) = self.look_beyond()? {
                return Ok(Some(found));
            }
        }
        self.position = damaged + 1;
        while self.position + HEADER as u64 <= self.len {
            let expected = self.expected.0.to_be_bytes();
            let bytes = self.bytes(HEADER)?;
            // Cheap first: the magic byte, then a base offset that can be (see `look`), then the CRC.
            let plausible = bytes[16] == 2 && bytes[..8] >= expected[..] && bytes[0] < 0x80;
            if plausible && let Some(found) = self.look_beyond()? {
                return Ok(Some(found));
            }
            self.position += 1;
        }
        self.position = damaged;
        Ok(None)
    }

    /// A whole batch here that may be any further one; it is the next one then.
    fn look_beyond(&mut self) -> io::Result<Option<FoundBatch>> {
        let exact = std::mem::replace(&mut self.exact, false);
        let step = self.look(true);
        self.exact = exact;
        Ok(match step? {
            Step::Batch(found) => {
                self.expected = found.base;
                Some(found)
            }
            _ => None,
        })
    }

    /// Whether a whole 512-byte sector of `from..to` is zeros, or the rest of the one in which `from` lies (if that is
    /// enough to tell): what a write that never reached the disk leaves behind.
    pub(super) fn has_zero_sector(&mut self, from: u64, to: u64) -> io::Result<bool> {
        const SECTOR: u64 = 512;
        /// A batch begins with its offset, of which the upper bytes are zeros in good health.
        const TELLING: u64 = 12;
        let kept = self.position;
        let boundary = from.next_multiple_of(SECTOR);
        let head = (from, boundary.min(to));
        let sectors = (0..).map(|n| (boundary + n * SECTOR, boundary + (n + 1) * SECTOR));
        let mut found = false;
        for (start, end) in std::iter::once(head)
            .chain(sectors)
            .take_while(|(_, end)| *end <= to)
        {
            if end - start >= TELLING {
                self.position = start;
                found = self.bytes((end - start) as usize)?.iter().all(|byte| *byte == 0);
            }
            if found {
                break;
            }
        }
        self.position = kept;
        Ok(found)
    }

    /// The file was written to: what was read of it does not count.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    fn claimed_end(&mut self) -> io::Result<Option<u64>> {
        if self.len - self.position < HEADER as u64 {
            return Ok(None);
        }
        let size = Batch::header_only(self.bytes(HEADER)?).map(|batch| batch.size() as u64);
        Ok(size
            .ok()
            .map(|size| self.position + size)
            .filter(|end| *end < self.len))
    }

    fn look(&mut self, whole: bool) -> io::Result<Step> {
        let left = self.len.saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < HEADER as u64 {
            return Ok(Step::Bad(format!("{left} bytes are no batch header")));
        }
        let (position, expected) = (self.position, self.expected);
        let size = match Batch::header_only(self.bytes(HEADER)?) {
            Ok(batch) if batch.size() as u64 > left => {
                return Ok(Step::Bad(format!(
                    "a batch of {} bytes, {left} are there",
                    batch.size()
                )));
            }
            Ok(batch) => batch.size(),
            Err(error) => return Ok(Step::Bad(error.to_string())),
        };
        let exact = self.exact && whole;
        let bytes = self.bytes(if whole { size } else { HEADER })?;
        let batch = Batch::header_only(bytes).expect("the same bytes as above");
        let misplaced = batch.base_offset() < expected || exact && batch.base_offset() != expected;
        if batch.last_offset_delta() < 0 || misplaced && !exact {
            return Ok(Step::Bad(format!(
                "offset {} where {expected} or more is due",
                batch.base_offset()
            )));
        }
        if whole && let Err(error) = Batch::at_start(bytes).and_then(|batch| batch.check_crc()) {
            return Ok(Step::Bad(error.to_string()));
        }
        let found = FoundBatch {
            position,
            size: size as u64,
            base: batch.base_offset(),
            last: batch.last_offset(),
            leader_epoch: batch.leader_epoch(),
            max_timestamp: batch.max_timestamp(),
            producer: producer_batch(&batch),
        };
        Ok(match misplaced {
            true => Step::Misplaced(found),
            false => Step::Batch(found),
        })
    }

    /// `count` bytes at the current place, which the file has.
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        let from = self.position;
        let held = self.buffered_from..self.buffered_from + self.buffer.len() as u64;
        if from < held.start || from + count as u64 > held.end {
            let want = (count.max(self.step) as u64).min(self.len - from) as usize;
            self.buffer.resize(want, 0);
            match self.file.read_exact_at(&mut self.buffer, from) {
                Err(error) if is_unreadable(&error) => self.read_page_by_page(from)?,
                read => read?,
            }
            self.buffered_from = from;
            self.bytes_read += want as u64;
        }
        let at = (from - self.buffered_from) as usize;
        Ok(&self.buffer[at..at + count])
    }

    /// Fills the buffer with what can be read; what cannot becomes bytes that no batch holds, and no lost write either.
    fn read_page_by_page(&mut self, from: u64) -> io::Result<()> {
        const PAGE: u64 = 4096;
        let to = from + self.buffer.len() as u64;
        let mut at = from;
        while at < to {
            let end = ((at / PAGE + 1) * PAGE).min(to);
            let page = &mut self.buffer[(at - from) as usize..(end - from) as usize];
            match self.file.read_exact_at(page, at) {
                Err(error) if is_unreadable(&error) => {
                    page.fill(0xff);
                    self.unreadable_to = self.unreadable_to.max(end);
                }
                read => read?,
            }
            at = end;
        }
        Ok(())
    }
}
