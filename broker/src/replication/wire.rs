//! Frames of a replication session, both directions.
//!
//! ```text
//! frame     4 length of what follows  1 kind  body
//! follower  1 fetch     4 credit  4 forgets, each 4 slot
//!                       4 asks, each 4 slot 4 round 16 topic 4 partition 4 leader epoch 8 fetch offset
//!                                    4 epoch of the last record or -1  8 log start  8 synced
//!           2 progress  4 credit  4 entries, each 4 slot 4 leader epoch 8 log start 8 synced
//!           3 alive
//! leader    16 answer   4 entries, each 4 slot 4 round 1 outcome 8 a 8 b 4 bytes of records; then all records, in order
//!           17 alive
//! outcome   0 records (a high watermark, b log start)  1 diverging (a epoch, b its end)  2 out of range (a start, b end)
//!           3 and more: refusals
//! ```
//! A follower names a partition once, by a slot of its own choice; from then on the leader sends what comes, from where
//! it left off, for as long as it has credit. `round` tells answers to an earlier ask of the same slot. Pure: layouts and
//! limits. Leaves what is asked and answered to `session.rs`.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::ids::{LeaderEpoch, Offset, TopicId, TopicPartition};

use super::bytes::{Fields, Malformed};
use super::epochs::EpochEnd;

/// Largest frame of a follower; the transport splits what is more.
pub const LARGEST_FROM_FOLLOWER: usize = 1 << 20;
/// Largest frame of a leader: one batch of any size the protocol can carry, or many small ones. Memory for it is asked
/// for as it arrives.
pub const LARGEST_FROM_LEADER: usize = 1 << 30;
/// Records of one frame, unless one answer has more. A reader has nothing of a frame before it has all of it.
const FRAME_BYTES: usize = 64 << 10;
/// Asks, forgets or progress entries that a follower puts into one frame at most.
pub const MOST_ENTRIES: usize = 8_192;

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;
const KIND: usize = 1;
const FORGET: usize = 4;
const ASK: usize = 4 + 4 + 16 + 4 + 4 + 8 + 4 + 8 + 8;
const SYNCED: usize = 4 + 4 + 8 + 8;
const ANSWERED: usize = 4 + 4 + 1 + 8 + 8 + 4;

const _: () = assert!(ASK == 60 && SYNCED == 24 && ANSWERED == 29);
const _: () = assert!(MOST_ENTRIES * (ASK + FORGET) + 64 <= LARGEST_FROM_FOLLOWER);

const FETCH: u8 = 1;
const PROGRESS: u8 = 2;
const FOLLOWER_ALIVE: u8 = 3;
const ANSWER: u8 = 16;
const LEADER_ALIVE: u8 = 17;

const RECORDS: u8 = 0;
const DIVERGING: u8 = 1;
const OUT_OF_RANGE: u8 = 2;
const FIRST_REFUSAL: u8 = 3;

/// Follower's number of a partition within one session.
pub type Slot = u32;

/// What a follower sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromFollower {
    /// Changes of what it wants.
    Fetch(Fetch),
    /// What it has made durable.
    Progress(Progress),
    /// Nothing new; it lives.
    Alive,
}

/// Partitions that a follower wants, wants otherwise, or no longer wants; those not named go on as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Bytes of records that the leader may send more.
    pub credit: u32,
    /// No longer wanted.
    pub forget: Vec<Slot>,
    /// From here on, please.
    pub ask: Vec<Ask>,
}

/// One partition, from where its follower goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The follower's number for it.
    pub slot: Slot,
    /// Comes back with every answer to this ask.
    pub round: u32,
    /// Which one.
    pub partition: TopicPartition,
    /// Under which leader epoch it follows.
    pub leader_epoch: LeaderEpoch,
    /// First offset it lacks.
    pub fetch_offset: Offset,
    /// Epoch of its last record, or -1.
    pub last_fetched_epoch: i32,
    /// First offset of its log.
    pub log_start: Offset,
    /// Offsets below are durable.
    pub synced: Offset,
}

/// How far a follower has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of records that the leader may send more.
    pub credit: u32,
    /// Partitions that moved.
    pub synced: Vec<Synced>,
}

/// One partition's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The follower's number for it.
    pub slot: Slot,
    /// Under which leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// First offset of its log.
    pub log_start: Offset,
    /// Offsets below are durable.
    pub synced: Offset,
}

/// What a leader sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLeader {
    /// Answers to asks.
    Answer(Vec<Answered>),
    /// Nothing new; it lives.
    Alive,
}

/// One partition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The follower's number for it.
    pub slot: Slot,
    /// Of the ask it answers.
    pub round: u32,
    /// What there is.
    pub outcome: Outcome,
}

/// What a leader has for a follower. All but records end the ask: the follower asks anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next records, or none and only newer positions.
    Records {
        /// The leader's.
        high_watermark: Offset,
        /// The leader's.
        log_start: Offset,
        /// Whole batches.
        records: Bytes,
    },
    /// Histories part: the follower cuts by it.
    Diverging(EpochEnd),
    /// Nothing is at the offset asked for; the leader's log is this.
    OutOfRange {
        /// Its first offset.
        start: Offset,
        /// Its end.
        end: Offset,
    },
    /// Nothing to be had now.
    Refused(Refusal),
}

/// Why a leader gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not lead the partition.
    NotLeader,
    /// It leads under a newer epoch.
    FencedEpoch,
    /// It has not heard of that epoch.
    UnknownEpoch,
    /// The follower holds no replica, or is an earlier life of one.
    NotReplica,
    /// It does not know the partition.
    Unknown,
    /// Its records are damaged there.
    Corrupt,
    /// Its disk failed, or it stops.
    Failed,
}

const REFUSALS: [Refusal; 7] = [
    Refusal::NotLeader,
    Refusal::FencedEpoch,
    Refusal::UnknownEpoch,
    Refusal::NotReplica,
    Refusal::Unknown,
    Refusal::Corrupt,
    Refusal::Failed,
];

/// The length of a frame behind its prefix, if that is within `limit`.
pub fn length(prefix: [u8; PREFIX], limit: usize) -> Result<usize, Malformed> {
    let len = u32::from_be_bytes(prefix) as usize;
    match len {
        0 => Err(Malformed::Short("the kind")),
        len if len > limit => Err(Malformed::TooLong { len, limit }),
        len => Ok(len),
    }
}

/// A frame of `body` bytes behind its kind, to be filled.
fn begin(kind: u8, body: usize, records: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX + KIND + body);
    let len = u32::try_from(KIND + body + records).expect("frames are bounded");
    out.put_u32(len);
    out.put_u8(kind);
    out
}

impl FromFollower {
    /// As it goes over the wire, prefix included.
    pub fn encode(&self) -> Bytes {
        match self {
            FromFollower::Fetch(fetch) => fetch.encode(),
            FromFollower::Progress(progress) => progress.encode(),
            FromFollower::Alive => begin(FOLLOWER_ALIVE, 0, 0).freeze(),
        }
    }

    /// Reads what is behind the prefix.
    pub fn decode(frame: Bytes) -> Result<FromFollower, Malformed> {
        let mut fields = Fields(frame);
        match fields.u8("the kind")? {
            FETCH => Fetch::decode(fields).map(FromFollower::Fetch),
            PROGRESS => Progress::decode(fields).map(FromFollower::Progress),
            FOLLOWER_ALIVE => fields.end().map(|()| FromFollower::Alive),
            found => Err(Malformed::Unknown { what: "kind", found }),
        }
    }
}

impl Fetch {
    fn encode(&self) -> Bytes {
        let mut out = begin(FETCH, 12 + self.forget.len() * FORGET + self.ask.len() * ASK, 0);
        out.put_u32(self.credit);
        out.put_u32(self.forget.len() as u32);
        self.forget.iter().for_each(|slot| out.put_u32(*slot));
        out.put_u32(self.ask.len() as u32);
        for ask in &self.ask {
            out.put_u32(ask.slot);
            out.put_u32(ask.round);
            out.put_slice(&ask.partition.topic_id.0);
            out.put_i32(ask.partition.partition);
            out.put_i32(ask.leader_epoch.0);
            out.put_i64(ask.fetch_offset.0);
            out.put_i32(ask.last_fetched_epoch);
            out.put_i64(ask.log_start.0);
            out.put_i64(ask.synced.0);
        }
        out.freeze()
    }

    fn decode(mut fields: Fields) -> Result<Fetch, Malformed> {
        let credit = fields.u32("the credit")?;
        let forgets = fields.count("forgets", FORGET)?;
        let forget = (0..forgets)
            .map(|_| fields.u32("a slot"))
            .collect::<Result<_, _>>()?;
        let asks = fields.count("asks", ASK)?;
        let ask = (0..asks)
            .map(|_| Ask::decode(&mut fields))
            .collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Fetch { credit, forget, ask })
    }
}

impl Ask {
    fn decode(fields: &mut Fields) -> Result<Ask, Malformed> {
        let (slot, round) = (fields.u32("a slot")?, fields.u32("a round")?);
        let topic = fields.take(16, "a topic id")?;
        let topic_id = TopicId(topic[..].try_into().expect("sixteen bytes were taken"));
        let partition = fields.i32("a partition")?;
        if partition < 0 {
            return Err(Malformed::Negative {
                what: "a partition",
                found: i64::from(partition),
            });
        }
        Ok(Ask {
            slot,
            round,
            partition: TopicPartition { topic_id, partition },
            leader_epoch: LeaderEpoch(fields.i32("a leader epoch")?),
            fetch_offset: Offset(fields.natural("a fetch offset")?),
            last_fetched_epoch: fields.i32("the epoch of a last record")?,
            log_start: Offset(fields.natural("a log start")?),
            synced: Offset(fields.natural("a synced offset")?),
        })
    }
}

impl Progress {
    fn encode(&self) -> Bytes {
        let mut out = begin(PROGRESS, 8 + self.synced.len() * SYNCED, 0);
        out.put_u32(self.credit);
        out.put_u32(self.synced.len() as u32);
        for synced in &self.synced {
            out.put_u32(synced.slot);
            out.put_i32(synced.leader_epoch.0);
            out.put_i64(synced.log_start.0);
            out.put_i64(synced.synced.0);
        }
        out.freeze()
    }

    fn decode(mut fields: Fields) -> Result<Progress, Malformed> {
        let credit = fields.u32("the credit")?;
        let count = fields.count("progress", SYNCED)?;
        let one = |fields: &mut Fields| {
            Ok(Synced {
                slot: fields.u32("a slot")?,
                leader_epoch: LeaderEpoch(fields.i32("a leader epoch")?),
                log_start: Offset(fields.natural("a log start")?),
                synced: Offset(fields.natural("a synced offset")?),
            })
        };
        let synced = (0..count).map(|_| one(&mut fields)).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Progress { credit, synced })
    }
}

impl FromLeader {
    /// Answers, in order, as frames: few bytes are not held up by the many that come behind them.
    pub fn in_frames(answers: Vec<Answered>) -> Vec<FromLeader> {
        let mut frames: Vec<Vec<Answered>> = Vec::new();
        let mut bytes = 0;
        for answered in answers {
            let more = answered.outcome.records().len();
            bytes += more;
            match frames.last_mut() {
                Some(frame) if bytes <= FRAME_BYTES => frame.push(answered),
                _ => {
                    bytes = more;
                    frames.push(vec![answered]);
                }
            }
        }
        frames.into_iter().map(FromLeader::Answer).collect()
    }

    /// As it goes over the wire, prefix included: the first slice, then the records, not copied.
    pub fn encode(&self) -> Vec<Bytes> {
        match self {
            FromLeader::Alive => vec![begin(LEADER_ALIVE, 0, 0).freeze()],
            FromLeader::Answer(answers) => encode_answers(answers),
        }
    }

    /// Reads what is behind the prefix. Records are slices of it.
    pub fn decode(frame: Bytes) -> Result<FromLeader, Malformed> {
        let mut fields = Fields(frame);
        match fields.u8("the kind")? {
            ANSWER => decode_answers(fields).map(FromLeader::Answer),
            LEADER_ALIVE => fields.end().map(|()| FromLeader::Alive),
            found => Err(Malformed::Unknown { what: "kind", found }),
        }
    }
}

fn encode_answers(answers: &[Answered]) -> Vec<Bytes> {
    let records: usize = answers
        .iter()
        .map(|answered| answered.outcome.records().len())
        .sum();
    let mut head = begin(ANSWER, 4 + answers.len() * ANSWERED, records);
    head.put_u32(answers.len() as u32);
    for answered in answers {
        let (code, a, b) = answered.outcome.numbers();
        head.put_u32(answered.slot);
        head.put_u32(answered.round);
        head.put_u8(code);
        head.put_i64(a);
        head.put_i64(b);
        head.put_u32(answered.outcome.records().len() as u32);
    }
    let bodies = answers.iter().map(|answered| answered.outcome.records().clone());
    let mut out = vec![head.freeze()];
    out.extend(bodies.filter(|records| !records.is_empty()));
    out
}

fn decode_answers(mut fields: Fields) -> Result<Vec<Answered>, Malformed> {
    let count = fields.count("answers", ANSWERED)?;
    let mut heads = Fields(fields.take(count * ANSWERED, "answers")?);
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        let (slot, round) = (heads.u32("a slot")?, heads.u32("a round")?);
        let code = heads.u8("an outcome")?;
        let a = match code {
            // -1: no epoch in common.
            DIVERGING => heads.i64("an epoch")?,
            _ => heads.natural("an offset")?,
        };
        let b = heads.natural("an offset")?;
        let records = fields.take(heads.u32("a length")? as usize, "records")?;
        let outcome = Outcome::of(code, a, b, records)?;
        answers.push(Answered { slot, round, outcome });
    }
    fields.end()?;
    Ok(answers)
}

impl Outcome {
    fn numbers(&self) -> (u8, i64, i64) {
        match self {
            Outcome::Records {
                high_watermark,
                log_start,
                ..
            } => (RECORDS, high_watermark.0, log_start.0),
            Outcome::Diverging(end) => (DIVERGING, i64::from(end.epoch.0), end.end_offset.0),
            Outcome::OutOfRange { start, end } => (OUT_OF_RANGE, start.0, end.0),
            Outcome::Refused(refusal) => {
                let place = REFUSALS.iter().position(|known| known == refusal);
                let place = place.expect("every refusal is in the table") as u8;
                (FIRST_REFUSAL + place, 0, 0)
            }
        }
    }

    /// The records it carries.
    pub fn records(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Outcome::Records { records, .. } => records,
            _ => &NONE,
        }
    }

    fn of(code: u8, a: i64, b: i64, records: Bytes) -> Result<Outcome, Malformed> {
        if code != RECORDS && !records.is_empty() {
            return Err(Malformed::Trailing(records.len()));
        }
        let unknown = Malformed::Unknown {
            what: "outcome",
            found: code,
        };
        Ok(match code {
            RECORDS => Outcome::Records {
                high_watermark: Offset(a),
                log_start: Offset(b),
                records,
            },
            DIVERGING => Outcome::Diverging(EpochEnd {
                epoch: LeaderEpoch(i32::try_from(a).map_err(|_| unknown)?),
                end_offset: Offset(b),
            }),
            OUT_OF_RANGE => Outcome::OutOfRange {
                start: Offset(a),
                end: Offset(b),
            },
            code => {
                let refusal = REFUSALS.get(usize::from(code - FIRST_REFUSAL));
                Outcome::Refused(*refusal.ok_or(unknown)?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
