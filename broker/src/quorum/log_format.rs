//! Every byte of the metadata quorum's files: segment headers, frames, the vote, snapshots. Encode and decode only.
//!
//! All integers are little endian; checksums are CRC-32C. Directory `<log.dirs[0]>/__cluster_metadata-0/`:
//!
//! ```text
//! 00000000000000000000.mlog      log segment, named by the index of its first entry
//! 00000000000000000412.snapshot  the image after entry 412, named by that index
//! vote                           the vote of this voter
//! *.tmp                          a file whose writing a crash interrupted; removed at start
//! ```
//!
//! A segment: one header, then frames, one per entry. Nothing is ever preallocated, so the file ends where the last
//! write ended.
//!
//! ```text
//! header (64 bytes)
//! offset  size  field
//! 0       8     magic          "MILLMETA"
//! 8       4     format         1
//! 12      4     flags          bit 0: the log begins here, whatever older segments say (entries up to `previous` are in
//!                              a snapshot); heals a crash between starting this segment and removing the older ones
//! 16      8     first index    index of the first entry
//! 24      8     previous term  term of the entry before the first one
//! 32      8     previous + 1   its index plus one; 0: there is none
//! 40      20    zero
//! 60      4     checksum       of bytes 0..60
//!
//! frame
//! 0       4     length         of the body
//! 4       4     body checksum
//! 8       4     head checksum  of bytes 0..8: a damaged length must not pass for a torn tail
//! 12      n     body
//!
//! body of an entry
//! 0       1     kind           1 blank, 2 records, 3 membership
//! 1       3     zero
//! 4       8     term
//! 12      8     index
//! 20      8     committed + 1  index of the last entry known to be committed when this one was written, plus one; 0: none
//! 28      n     kind 2: metadata records (see metadata/record.rs)
//!               kind 3: u32 configs, each u32 voters, each voter 20 bytes (i32 node, 16 bytes directory);
//!                       then u32 nodes, each voter 20 bytes, u32 length, address
//! ```
//!
//! The vote file has two slots, at 0 and 512, written in turn: a save costs one write and one fdatasync, and the vote
//! before it stays whole. A slot is within one sector, so it is written or not; the higher sequence counts. A slot that
//! was never written is zero; one that is neither zero nor whole is damage, because falling back to an older vote could
//! vote twice in one term.
//!
//! ```text
//! slot (64 bytes)
//! 0       8     magic          "MILLVOTE"
//! 8       4     format         1
//! 12      4     committed      0 or 1
//! 16      8     term
//! 24      20    voter
//! 44      8     sequence       of the save, from 1
//! 52      8     zero
//! 60      4     checksum       of bytes 0..60
//! ```
//!
//! A snapshot: magic "MILLSNAP", format u32 = 1, zero u32, last term u64, last index + 1 u64, membership term u64,
//! membership index + 1 u64, u32 length + membership (as in kind 3), then frames whose bodies are metadata records, then
//! one frame with an empty body: without it the file was cut. Sealed by a checksum u32 over everything before it.
//!
//! **Torn or damaged?** A write that a crash interrupted leaves the file short, or (on file systems that grow a file
//! before its data) leaves a part of some 512-byte sector of it zero. A last frame that looks so is cut: its entry was
//! never synced, so never answered. Anything else that fails a checksum was whole once, may have been answered, and is
//! refused in words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::Record;
use crate::metadata::record::{RecordError, decode_all};

use super::types::{Entry, EntryId, Membership, Payload, SavedVote, Voter};

pub(super) const HEADER_LEN: usize = 64;
pub(super) const FRAME_HEAD_LEN: usize = 12;
const ENTRY_HEAD_LEN: usize = 28;
const VOTER_LEN: usize = 20;
const VOTE_LEN: usize = 64;
/// Where the slots of the vote file are.
pub(super) const VOTE_SLOTS: [u64; 2] = [0, 512];
const SECTOR: usize = 512;
const FORMAT: u32 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"MILLMETA";
const VOTE_MAGIC: &[u8; 8] = b"MILLVOTE";
const SNAPSHOT_MAGIC: &[u8; 8] = b"MILLSNAP";
const FLAG_LOG_BEGINS_HERE: u32 = 1;
/// Records per frame of a snapshot: damage is found without holding the whole file twice.
const SNAPSHOT_CHUNK: usize = 64 * 1024;

const _: () = assert!(ENTRY_HEAD_LEN == 4 + 8 + 8 + 8);
const _: () = assert!(VOTE_LEN == 8 + 4 + 4 + 8 + VOTER_LEN + 8 + 8 + 4);

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    #[error("{0}")]
    Damaged(&'static str),
    #[error("format {found} is newer than this broker knows ({FORMAT})")]
    Newer { found: u32 },
    #[error(transparent)]
    Record(#[from] RecordError),
}

use FormatError::Damaged;

/// CRC-32C.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// What a segment says about its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) first_index: u64,
    /// The entry before the first one.
    pub(super) previous: Option<EntryId>,
    /// Older segments do not count.
    pub(super) log_begins_here: bool,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let flags = if self.log_begins_here {
            FLAG_LOG_BEGINS_HERE
        } else {
            0
        };
        out[12..16].copy_from_slice(&flags.to_le_bytes());
        out[16..24].copy_from_slice(&self.first_index.to_le_bytes());
        let (term, index) = packed(self.previous);
        out[24..32].copy_from_slice(&term.to_le_bytes());
        out[32..40].copy_from_slice(&index.to_le_bytes());
        let sum = checksum(&out[..60]);
        out[60..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        let mut fields = sealed(bytes, HEADER_LEN, SEGMENT_MAGIC)?;
        let flags = fields.u32()?;
        let first_index = fields.u64()?;
        let previous = unpacked(fields.u64()?, fields.u64()?);
        Ok(SegmentHeader {
            first_index,
            previous,
            log_begins_here: flags & FLAG_LOG_BEGINS_HERE != 0,
        })
    }
}

/// Appends one frame.
fn push_frame(body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(body).to_le_bytes());
    let head = checksum(&out[start..start + 8]);
    out.extend_from_slice(&head.to_le_bytes());
    out.extend_from_slice(body);
}

/// What stands at a position of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole frame, and where the next one begins.
    Frame { body: &'a [u8], next: usize },
    /// Exactly the end of the file.
    End,
    /// A write that a crash interrupted: cut here.
    Torn,
    /// Bytes that were whole once and are not any more.
    Damaged(&'static str),
}

/// Looks at the frame at `at` of a whole segment file. `at` is where the frame before it ended.
pub(super) fn frame_at(file: &[u8], at: usize) -> Found<'_> {
    let rest = &file[at..];
    if rest.is_empty() {
        return Found::End;
    }
    if rest.len() < FRAME_HEAD_LEN {
        return Found::Torn;
    }
    let word = |from: usize| u32::from_le_bytes(rest[from..from + 4].try_into().expect("four bytes"));
    if checksum(&rest[..8]) != word(8) {
        return torn_if_holed(file, at, at + FRAME_HEAD_LEN, "a frame's head fails its checksum");
    }
    let end = FRAME_HEAD_LEN + word(0) as usize;
    if rest.len() < end {
        return Found::Torn;
    }
    let body = &rest[FRAME_HEAD_LEN..end];
    if checksum(body) != word(4) {
        return torn_if_holed(file, at, at + end, "a frame's body fails its checksum");
    }
    Found::Frame { body, next: at + end }
}

/// Bytes `[at, end)` fail a checksum. If their whole share of one of their sectors is zero, a crash came before that
/// sector was written; a share below 8 bytes proves nothing.
fn torn_if_holed(file: &[u8], at: usize, end: usize, damage: &'static str) -> Found<'static> {
    let mut from = at;
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(file.len());
        let share = &file[from..to];
        if share.len() >= 8 && share.iter().all(|&byte| byte == 0) {
            return Found::Torn;
        }
        from = to;
    }
    Found::Damaged(damage)
}

/// Appends the frame of one entry. `committed` is the last entry known to be committed.
pub(super) fn push_entry(entry: &Entry, committed: Option<u64>, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(64);
    let kind = match &entry.payload {
        Payload::Blank => 1,
        Payload::Records(_) => 2,
        Payload::Membership(_) => 3,
    };
    body.extend_from_slice(&[kind, 0, 0, 0]);
    body.extend_from_slice(&entry.id.term.to_le_bytes());
    body.extend_from_slice(&entry.id.index.to_le_bytes());
    body.extend_from_slice(&committed.map_or(0, |index| index + 1).to_le_bytes());
    match &entry.payload {
        Payload::Blank => {}
        Payload::Records(records) => records.iter().for_each(|record| record.encode(&mut body)),
        Payload::Membership(membership) => push_membership(membership, &mut body),
    }
    push_frame(&body, out);
}

/// An entry from a frame's body, and the last entry that was known to be committed then.
pub(super) fn entry(body: &[u8]) -> Result<(Entry, Option<u64>), FormatError> {
    let mut fields = Fields(body);
    let kind = fields.take(4)?[0];
    let id = EntryId {
        term: fields.u64()?,
        index: fields.u64()?,
    };
    let committed = fields.u64()?.checked_sub(1);
    let payload = match kind {
        1 => Payload::Blank,
        2 => Payload::Records(Arc::new(decode_all(fields.0)?)),
        3 => Payload::Membership(membership(&mut fields)?),
        _ => return Err(Damaged("an entry has an unknown kind")),
    };
    Ok((Entry { id, payload }, committed))
}

fn push_voter(voter: &Voter, out: &mut Vec<u8>) {
    out.extend_from_slice(&voter.node.to_le_bytes());
    out.extend_from_slice(&voter.directory);
}

fn push_membership(membership: &Membership, out: &mut Vec<u8>) {
    out.extend_from_slice(&(membership.configs.len() as u32).to_le_bytes());
    for voters in &membership.configs {
        out.extend_from_slice(&(voters.len() as u32).to_le_bytes());
        voters.iter().for_each(|voter| push_voter(voter, out));
    }
    out.extend_from_slice(&(membership.nodes.len() as u32).to_le_bytes());
    for (voter, address) in &membership.nodes {
        push_voter(voter, out);
        out.extend_from_slice(&(address.len() as u32).to_le_bytes());
        out.extend_from_slice(address.as_bytes());
    }
}

fn membership(fields: &mut Fields<'_>) -> Result<Membership, FormatError> {
    let mut configs = Vec::new();
    for _ in 0..fields.u32()? {
        let mut voters = BTreeSet::new();
        for _ in 0..fields.u32()? {
            voters.insert(fields.voter()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..fields.u32()? {
        let voter = fields.voter()?;
        let len = fields.u32()? as usize;
        let address =
            std::str::from_utf8(fields.take(len)?).map_err(|_| Damaged("an address is not UTF-8"))?;
        nodes.insert(voter, address.to_string());
    }
    Ok(Membership { configs, nodes })
}

/// One slot of the vote file.
pub(super) fn vote_slot(vote: &SavedVote, sequence: u64) -> [u8; VOTE_LEN] {
    let mut out = Vec::with_capacity(VOTE_LEN);
    out.extend_from_slice(VOTE_MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&u32::from(vote.committed).to_le_bytes());
    out.extend_from_slice(&vote.term.to_le_bytes());
    push_voter(&vote.voter, &mut out);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out.try_into().expect("the fields are as long as the slot")
}

/// The latest vote in a vote file, and the sequence of its save; none before the first.
pub(super) fn vote(file: &[u8]) -> Result<Option<(SavedVote, u64)>, FormatError> {
    let mut latest = None;
    for at in VOTE_SLOTS {
        let at = (at as usize).min(file.len());
        let slot = &file[at..(at + VOTE_LEN).min(file.len())];
        if slot.iter().all(|&byte| byte == 0) {
            continue;
        }
        let mut fields = sealed(slot, VOTE_LEN, VOTE_MAGIC)?;
        let committed = fields.u32()? == 1;
        let term = fields.u64()?;
        let voter = fields.voter()?;
        let sequence = fields.u64()?;
        if latest.is_none_or(|(_, other)| other < sequence) {
            latest = Some((
                SavedVote {
                    term,
                    voter,
                    committed,
                },
                sequence,
            ));
        }
    }
    Ok(latest)
}

/// What a snapshot is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotHead {
    /// The last entry in it.
    pub(super) last: Option<EntryId>,
    /// The entry that set the membership.
    pub(super) membership_at: Option<EntryId>,
    pub(super) membership: Membership,
}

/// A whole snapshot file.
pub(super) fn snapshot_bytes(head: &SnapshotHead, records: impl Iterator<Item = Record>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(SNAPSHOT_MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for id in [head.last, head.membership_at] {
        let (term, index) = packed(id);
        out.extend_from_slice(&term.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
    }
    let mut membership = Vec::new();
    push_membership(&head.membership, &mut membership);
    out.extend_from_slice(&(membership.len() as u32).to_le_bytes());
    out.extend_from_slice(&membership);
    let mut chunk = Vec::new();
    for record in records {
        record.encode(&mut chunk);
        if chunk.len() >= SNAPSHOT_CHUNK {
            push_frame(&chunk, &mut out);
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        push_frame(&chunk, &mut out);
    }
    push_frame(&[], &mut out);
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a whole snapshot file. `each` gets its records in order, a frame's at a time: all of them at once are several times
/// the file.
pub(super) fn snapshot(bytes: &[u8], mut each: impl FnMut(Vec<Record>)) -> Result<SnapshotHead, FormatError> {
    let mut fields = sealed(bytes, bytes.len(), SNAPSHOT_MAGIC)?;
    fields.take(4)?;
    let last = unpacked(fields.u64()?, fields.u64()?);
    let membership_at = unpacked(fields.u64()?, fields.u64()?);
    let len = fields.u32()? as usize;
    let membership = membership(&mut Fields(fields.take(len)?))?;
    let mut at = 0;
    loop {
        match frame_at(fields.0, at) {
            Found::Frame { body: [], .. } => break,
            Found::Frame { body, next } => {
                each(decode_all(body)?);
                at = next;
            }
            _ => return Err(Damaged("a frame of the snapshot is damaged")),
        }
    }
    Ok(SnapshotHead {
        last,
        membership_at,
        membership,
    })
}

fn packed(id: Option<EntryId>) -> (u64, u64) {
    id.map_or((0, 0), |id| (id.term, id.index + 1))
}

fn unpacked(term: u64, index_plus_one: u64) -> Option<EntryId> {
    let index = index_plus_one.checked_sub(1)?;
    Some(EntryId { term, index })
}

/// Checks length, checksum (the last four bytes), magic and format, in this order, and gives the fields after them.
fn sealed<'a>(bytes: &'a [u8], len: usize, magic: &[u8; 8]) -> Result<Fields<'a>, FormatError> {
    if bytes.len() < len || len < 16 {
        return Err(Damaged("it is too short"));
    }
    let (content, sum) = bytes[..len].split_at(len - 4);
    if checksum(content).to_le_bytes() != *sum {
        return Err(Damaged("its checksum does not match"));
    }
    if content[..8] != *magic {
        return Err(Damaged("it is another kind of file"));
    }
    let mut fields = Fields(&content[8..]);
    match fields.u32()? {
        FORMAT => Ok(fields),
        found => Err(FormatError::Newer { found }),
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        if self.0.len() < count {
            return Err(Damaged("it ends early"));
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }
    fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("took four")))
    }
    fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("took eight")))
    }
    fn voter(&mut self) -> Result<Voter, FormatError> {
        let node = i32::from_le_bytes(self.take(4)?.try_into().expect("took four"));
        let directory = self.take(16)?.try_into().expect("took sixteen");
        Ok(Voter { node, directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::record::ProducerIds;

    fn voter() -> Voter {
        Voter {
            node: 3,
            directory: [0xd1; 16],
        }
    }

    fn alone() -> Membership {
        Membership {
            configs: vec![BTreeSet::from([voter()])],
            nodes: BTreeMap::from([(voter(), "host:1".to_string())]),
        }
    }

    fn entries() -> Vec<Entry> {
        let payloads = [
            Payload::Membership(alone()),
            Payload::Blank,
            Payload::Records(Arc::new(vec![ProducerIds { next: 7 }.into()])),
        ];
        let numbered = payloads.into_iter().enumerate();
        numbered
            .map(|(index, payload)| Entry {
                id: EntryId {
                    term: 2,
                    index: index as u64,
                },
                payload,
            })
            .collect()
    }

    #[test]
    fn entries_come_back_from_their_frames() {
        let mut file = Vec::new();
        for known in &entries() {
            push_entry(known, known.id.index.checked_sub(1), &mut file);
        }
        let mut at = 0;
        for known in entries() {
            let Found::Frame { body, next } = frame_at(&file, at) else {
                panic!("a whole frame");
            };
            let (found, committed) = entry(body).unwrap();
            assert_eq!((&found, committed), (&known, known.id.index.checked_sub(1)));
            at = next;
        }
        assert_eq!(frame_at(&file, at), Found::End);
    }

    #[test]
    fn the_later_of_two_votes_counts() {
        let of = |term| SavedVote {
            term,
            voter: voter(),
            committed: false,
        };
        let mut file = vec![0; 1024];
        assert_eq!(vote(&file).unwrap(), None);
        assert_eq!(vote(&[]).unwrap(), None);
        for (sequence, term) in [(1, 4), (2, 5), (3, 9)] {
            let at = VOTE_SLOTS[sequence as usize % 2] as usize;
            file[at..at + VOTE_LEN].copy_from_slice(&vote_slot(&of(term), sequence));
            assert_eq!(vote(&file).unwrap(), Some((of(term), sequence)));
        }
        file[VOTE_SLOTS[1] as usize + 20] ^= 1;
        assert!(vote(&file).is_err(), "a damaged slot is not an older vote");
    }

    #[test]
    fn golden_bytes_of_a_blank_entry() {
        let mut file = Vec::new();
        let blank = Entry {
            id: EntryId { term: 1, index: 5 },
            payload: Payload::Blank,
        };
        push_entry(&blank, Some(4), &mut file);
        let mut body = vec![1, 0, 0, 0];
        for word in [1u64, 5, 5] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        assert_eq!(file[..4], 28u32.to_le_bytes());
        assert_eq!(file[12..], body);
        assert_eq!(checksum(b"123456789"), 0xe306_9283, "CRC-32C's check value");
    }

    #[test]
    fn a_file_cut_inside_its_last_frame_is_torn_and_a_flipped_bit_is_damage() {
        let mut file = Vec::new();
        push_entry(&entries()[0], None, &mut file);
        let start = file.len();
        push_entry(&entries()[2], None, &mut file);
        for end in start + 1..file.len() {
            assert_eq!(frame_at(&file[..end], start), Found::Torn, "cut at {end}");
        }
        for bit in start * 8..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(frame_at(&flipped, start), Found::Damaged(_)),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_sector_that_was_never_written_is_torn() {
        let mut file = vec![1; 300];
        let records = (0..100).map(|next| ProducerIds { next }.into()).collect();
        let long = Entry {
            id: EntryId { term: 1, index: 1 },
            payload: Payload::Records(Arc::new(records)),
        };
        push_entry(&long, None, &mut file);
        for sector in [1024..1536, 512..1024] {
            let mut holed = file.clone();
            holed[sector].fill(0);
            assert_eq!(frame_at(&holed, 300), Found::Torn);
        }
        let mut unwritten = file.clone();
        unwritten[300..].fill(0);
        assert_eq!(frame_at(&unwritten, 300), Found::Torn);
        assert!(matches!(frame_at(&file, 300), Found::Frame { .. }));
    }

    #[test]
    fn vote_header_and_snapshot_come_back_and_no_flipped_bit_passes() {
        let vote_known = SavedVote {
            term: 9,
            voter: voter(),
            committed: true,
        };
        let header = SegmentHeader {
            first_index: 11,
            previous: Some(EntryId { term: 4, index: 10 }),
            log_begins_here: true,
        };
        let head = SnapshotHead {
            last: Some(EntryId { term: 4, index: 10 }),
            membership_at: Some(EntryId { term: 1, index: 0 }),
            membership: alone(),
        };
        let records: Vec<Record> = (0..5_000).map(|next| ProducerIds { next }.into()).collect();
        let (vote_file, header_file) = (vote_slot(&vote_known, 3), header.encode());
        let snapshot_file = snapshot_bytes(&head, records.iter().cloned());
        assert_eq!(vote(&vote_file).unwrap(), Some((vote_known, 3)));
        assert_eq!(SegmentHeader::decode(&header_file).unwrap(), header);
        let mut found = Vec::new();
        assert_eq!(snapshot(&snapshot_file, |more| found.extend(more)).unwrap(), head);
        assert_eq!(found, records);
        for bit in 0..VOTE_LEN * 8 {
            let (mut vote_file, mut header_file) = (vote_file, header_file);
            vote_file[bit / 8] ^= 1 << (bit % 8);
            header_file[bit / 8] ^= 1 << (bit % 8);
            assert!(vote(&vote_file).is_err() && SegmentHeader::decode(&header_file).is_err());
        }
        for bit in (0..snapshot_file.len() * 8).step_by(997) {
            let mut snapshot_file = snapshot_file.clone();
            snapshot_file[bit / 8] ^= 1 << (bit % 8);
            assert!(snapshot(&snapshot_file, drop).is_err());
        }
        for end in (0..snapshot_file.len()).step_by(101) {
            assert!(snapshot(&snapshot_file[..end], drop).is_err());
        }
    }
}
