//! Every record of the metadata log: what it means, and its bytes.
//!
//! Owns the one list of record types (a number is never re-used, a field is never removed or re-ordered; a new field
//! means a new version of that record) and their encoding. Leaves checksums, entries and files to `quorum/`, and the
//! meaning of a sequence of records to `image.rs`.
//!
//! One record, all integers little endian:
//!
//! ```text
//! offset  size  field
//! 0       2     type      number from the list below
//! 2       1     version   of this type; a version above the known one is refused, never guessed at
//! 3       1     zero
//! 4       4     length    of the fields that follow
//! 8       n     fields    in the order of the list
//! ```
//!
//! Fields: integers as they are; `bool` one byte, 0 or 1; text = u32 length + UTF-8; option = one byte 0 or 1, then the
//! value; list = u32 count + values; ids 16 bytes.

use std::sync::Arc;

use protocol::ids::{LeaderEpoch, NodeId, TopicId};

/// Why bytes are not a record this program understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a record.
    #[error("metadata record ends early")]
    Short,
    /// A type this version has no name for: written by a newer broker.
    #[error("metadata record type {0} is unknown to this version; it was written by a newer broker")]
    UnknownType(u16),
    /// A newer version of a known type.
    #[error(
        "metadata record {name} has version {found}, this broker knows {known}; it was written by a newer broker"
    )]
    UnknownVersion {
        name: &'static str,
        found: u8,
        known: u8,
    },
    /// A value that no broker writes.
    #[error("metadata record {name} is malformed: {what}")]
    Malformed { name: &'static str, what: &'static str },
}

/// One address of one broker, for one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Endpoint {
    /// Listener name, for example `PLAINTEXT` or `EXTERNAL`.
    pub name: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}://{}:{}", self.name, self.host, self.port)
    }
}

/// A host and a port, for other brokers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Address {
    pub host: Arc<str>,
    pub port: u16,
}

/// Why a field could not be read.
enum FieldError {
    Short,
    Bad(&'static str),
}

/// A cursor over the fields of one record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FieldError> {
        if self.0.len() < count {
            return Err(FieldError::Short);
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }
}

/// One field of a record: how it is written and read.
trait Field: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError>;
}

macro_rules! integer_field {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
                let bytes = fields.take(size_of::<$kind>())?;
                Ok(<$kind>::from_le_bytes(bytes.try_into().expect("took exactly this many")))
            }
        }
    )*};
}
integer_field!(u16, u32, i32, i64);

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        match fields.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FieldError::Bad("a boolean is neither 0 nor 1")),
        }
    }
}

impl Field for [u8; 16] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(fields.take(16)?.try_into().expect("took exactly 16"))
    }
}

impl Field for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u32).write(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let len = u32::read(fields)? as usize;
        let text =
            std::str::from_utf8(fields.take(len)?).map_err(|_| FieldError::Bad("text is not UTF-8"))?;
        Ok(text.into())
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        if bool::read(fields)? {
            T::read(fields).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u32).write(out);
        for value in self {
            value.write(out);
        }
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let count = u32::read(fields)? as usize;
        // Every value takes at least one byte, so a count above what is left is a lie and must not allocate.
        let mut values = Vec::with_capacity(count.min(fields.0.len()));
        for _ in 0..count {
            values.push(T::read(fields)?);
        }
        Ok(values)
    }
}

macro_rules! newtype_field {
    ($($kind:ident($inner:ty)),*) => {$(
        impl Field for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
                Ok($kind(<$inner>::read(fields)?))
            }
        }
    )*};
}
newtype_field!(NodeId(i32), TopicId([u8; 16]), LeaderEpoch(i32));

impl Field for Endpoint {
    fn write(&self, out: &mut Vec<u8>) {
        self.name.write(out);
        self.host.write(out);
        self.port.write(out);
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(Endpoint {
            name: Field::read(fields)?,
            host: Field::read(fields)?,
            port: Field::read(fields)?,
        })
    }
}

impl Field for Address {
    fn write(&self, out: &mut Vec<u8>) {
        self.host.write(out);
        self.port.write(out);
    }
    fn read(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(Address {
            host: Field::read(fields)?,
            port: Field::read(fields)?,
        })
    }
}

/// The list: number, version, name, fields. After `since n` are the fields that version n of the record brought; in an
/// older one they have their defaults. Everything else about records is derived from it.
macro_rules! records {
    ($($(#[$doc:meta])* $number:literal v $version:literal $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
    } $(since $since:literal { $($(#[$later_doc:meta])* $later:ident: $later_kind:ty,)* })*)*) => {
        $($(#[$doc])* #[derive(Debug, Clone, PartialEq, Eq)] pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
            $($($(#[$later_doc])* pub $later: $later_kind,)*)*
        }

        impl From<$name> for Record {
            fn from(record: $name) -> Record {
                Record::$name(record)
            }
        })*

        /// One fact of the metadata log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Record {
            $($(#[$doc])* $name($name),)*
        }

        impl Record {
            /// Number and newest version of every type, for the test that no number is used twice.
            #[cfg(test)]
            const TYPES: &'static [(u16, u8, &'static str)] = &[$(($number, $version, stringify!($name)),)*];

            /// Appends this record's bytes.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Record::$name(record) => {
                        let start = begin($number, $version, out);
                        $(record.$field.write(out);)*
                        $($(record.$later.write(out);)*)*
                        finish(start, out);
                    })*
                }
            }

            /// Takes one record off the front of `bytes`.
            pub fn decode(bytes: &mut &[u8]) -> Result<Record, RecordError> {
                let head = Head::decode(bytes)?;
                match head.number {
                    $($number => {
                        let name = stringify!($name);
                        let mut fields = head.fields(name, $version)?;
                        let record = (|| Ok($name {
                            $($field: Field::read(&mut fields)?,)*
                            $($($later: later(&mut fields, head.version >= $since)?,)*)*
                        }))();
                        whole(name, record, &fields).map(Record::$name)
                    })*
                    unknown => Err(RecordError::UnknownType(unknown)),
                }
            }
        }
    };
}

records! {
    /// The first record of every cluster: its id. Written once, when a never-formed directory is initialised.
    1 v 1 Formed {
        cluster_id: Arc<str>,
        formed_at_ms: i64,
    }
    /// A broker started: whoever held this node id before is gone.
    2 v 2 BrokerRegistered {
        node: NodeId,
        /// Above every epoch this node id had before.
        epoch: i64,
        /// Random per process start.
        incarnation_id: [u8; 16],
        /// Id of the log directory; a new one means an emptied disk.
        directory_id: [u8; 16],
        rack: Option<Arc<str>>,
        fenced: bool,
        listeners: Vec<Endpoint>,
    } since 2 {
        /// Where its replicas' leaders and followers reach it; none for a broker that is its whole cluster.
        replication: Option<Address>,
        /// Cores of its data plane; 0 where nobody said.
        shards: u16,
    }
    /// The advertised addresses of a running broker changed; the whole new list.
    3 v 1 BrokerListeners {
        node: NodeId,
        listeners: Vec<Endpoint>,
    }
    /// A broker may (not) lead and serve.
    4 v 2 BrokerFenced {
        node: NodeId,
        fenced: bool,
    } since 2 {
        /// It is shutting down, or its disk is stalled: it gets no leadership and no place, and fencing or this record without
        /// it follows.
        stopping: bool,
    }
    /// A broker left for good.
    5 v 1 BrokerRemoved {
        node: NodeId,
    }
    /// A topic; its partitions follow as records of their own, in order from 0.
    6 v 1 TopicCreated {
        id: TopicId,
        name: Arc<str>,
    }
    /// One new partition: the next number of its topic. The leader starts at epoch 0 with every replica in sync.
    7 v 1 PartitionCreated {
        topic: TopicId,
        partition: i32,
        replicas: Vec<NodeId>,
        isr: Vec<NodeId>,
        leader: Option<NodeId>,
    }
    /// The whole state of a partition after a change; the partition epoch goes up by one with each.
    8 v 2 PartitionChanged {
        topic: TopicId,
        partition: i32,
        replicas: Vec<NodeId>,
        isr: Vec<NodeId>,
        elr: Vec<NodeId>,
        leader: Option<NodeId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: i32,
    } since 2 {
        /// Replicas that a reassignment brings, and those that leave when it is complete; both are among `replicas`.
        adding: Vec<NodeId>,
        removing: Vec<NodeId>,
    }
    /// A topic and all its partitions are gone.
    9 v 1 TopicDeleted {
        id: TopicId,
    }
    /// One property of one topic; no value: back to the default.
    10 v 1 TopicConfig {
        topic: TopicId,
        name: Arc<str>,
        value: Option<Arc<str>>,
    }
    /// One dynamic property of one broker, or (no node) of every broker; no value: back to the default.
    11 v 1 BrokerConfig {
        node: Option<NodeId>,
        name: Arc<str>,
        value: Option<Arc<str>>,
    }
    /// Producer ids below this one are handed out.
    12 v 1 ProducerIds {
        next: i64,
    }
    /// One property that has one value for the whole cluster, as the quorum's leader was given it at start.
    13 v 1 StaticConfig {
        name: Arc<str>,
        value: Arc<str>,
    }
}

fn begin(number: u16, version: u8, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&[version, 0]);
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn finish(start: usize, out: &mut [u8]) {
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

/// The eight bytes before the fields, and the fields.
struct Head<'a> {
    number: u16,
    version: u8,
    body: &'a [u8],
}

impl<'a> Head<'a> {
    fn decode(bytes: &mut &'a [u8]) -> Result<Head<'a>, RecordError> {
        let mut fields = Fields(bytes);
        let short = |_| RecordError::Short;
        let number = u16::read(&mut fields).map_err(short)?;
        let version = fields.take(2).map_err(short)?[0];
        let length = u32::read(&mut fields).map_err(short)? as usize;
        let body = fields.take(length).map_err(short)?;
        *bytes = fields.0;
        Ok(Head {
            number,
            version,
            body,
        })
    }

    fn fields(&self, name: &'static str, known: u8) -> Result<Fields<'a>, RecordError> {
        let found = self.version;
        match found {
            0 => Err(RecordError::Malformed {
                name,
                what: "version 0",
            }),
            _ if found > known => Err(RecordError::UnknownVersion { name, found, known }),
            _ => Ok(Fields(self.body)),
        }
    }
}

/// A field that the record's version may not have yet.
fn later<T: Field + Default>(fields: &mut Fields<'_>, there: bool) -> Result<T, FieldError> {
    if there { T::read(fields) } else { Ok(T::default()) }
}

/// A record is whole when its fields were readable and nothing is left of its length.
fn whole<T>(name: &'static str, record: Result<T, FieldError>, rest: &Fields<'_>) -> Result<T, RecordError> {
    match record {
        Ok(_) if !rest.0.is_empty() => Err(RecordError::Malformed {
            name,
            what: "longer than its fields",
        }),
        Ok(record) => Ok(record),
        Err(FieldError::Short) => Err(RecordError::Malformed {
            name,
            what: "shorter than its fields",
        }),
        Err(FieldError::Bad(what)) => Err(RecordError::Malformed { name, what }),
    }
}

/// Decodes all of `bytes`.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Record>, RecordError> {
    // An entry may be ten thousand records and stays in memory: counted first, it has no room that it does not use.
    let mut records = Vec::with_capacity(count(bytes)?);
    while !bytes.is_empty() {
        records.push(Record::decode(&mut bytes)?);
    }
    Ok(records)
}

fn count(mut bytes: &[u8]) -> Result<usize, RecordError> {
    let mut count = 0;
    while !bytes.is_empty() {
        Head::decode(&mut bytes)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let id = TopicId([7; 16]);
        let endpoint = Endpoint {
            name: "PLAINTEXT".into(),
            host: "broker-0".into(),
            port: 9092,
        };
        vec![
            Formed {
                cluster_id: "c".into(),
                formed_at_ms: 5,
            }
            .into(),
            BrokerRegistered {
                node: NodeId(1),
                epoch: 9,
                incarnation_id: [1; 16],
                directory_id: [2; 16],
                rack: Some("a".into()),
                fenced: false,
                listeners: vec![endpoint.clone()],
                replication: Some(Address {
                    host: "broker-1".into(),
                    port: 9647,
                }),
                shards: 2,
            }
            .into(),
            BrokerListeners {
                node: NodeId(1),
                listeners: vec![endpoint],
            }
            .into(),
            BrokerFenced {
                node: NodeId(1),
                fenced: true,
                stopping: true,
            }
            .into(),
            BrokerRemoved { node: NodeId(1) }.into(),
            TopicCreated {
                id,
                name: "orders".into(),
            }
            .into(),
            PartitionCreated {
                topic: id,
                partition: 0,
                replicas: vec![NodeId(1), NodeId(2)],
                isr: vec![NodeId(1)],
                leader: None,
            }
            .into(),
            PartitionChanged {
                topic: id,
                partition: 0,
                replicas: vec![NodeId(3), NodeId(1), NodeId(2)],
                isr: vec![NodeId(1)],
                elr: vec![NodeId(2)],
                leader: Some(NodeId(1)),
                leader_epoch: LeaderEpoch(3),
                partition_epoch: 4,
                adding: vec![NodeId(3)],
                removing: vec![NodeId(1), NodeId(2)],
            }
            .into(),
            TopicDeleted { id }.into(),
            TopicConfig {
                topic: id,
                name: "retention.ms".into(),
                value: Some("1".into()),
            }
            .into(),
            BrokerConfig {
                node: None,
                name: "x".into(),
                value: None,
            }
            .into(),
            ProducerIds { next: 1000 }.into(),
            StaticConfig {
                name: "min.insync.replicas".into(),
                value: "2".into(),
            }
            .into(),
        ]
    }

    #[test]
    fn every_record_comes_back_as_it_was_written() {
        let samples = samples();
        assert_eq!(samples.len(), Record::TYPES.len(), "one sample per type");
        let mut bytes = Vec::new();
        for record in &samples {
            record.encode(&mut bytes);
        }
        assert_eq!(decode_all(&bytes).unwrap(), samples);
    }

    #[test]
    fn an_older_version_lacks_the_later_fields() {
        let mut bytes = Vec::new();
        Record::from(BrokerFenced {
            node: NodeId(1),
            fenced: true,
            stopping: true,
        })
        .encode(&mut bytes);
        // As version 1 wrote it: without the last byte.
        bytes.pop();
        bytes[2] = 1;
        bytes[4] -= 1;
        let older = Record::decode(&mut bytes.as_slice()).unwrap();
        let Record::BrokerFenced(older) = older else {
            panic!("{older:?}");
        };
        assert!(older.fenced && !older.stopping);
    }

    #[test]
    fn a_partition_written_before_there_were_reassignments_does_not_move() {
        let now = PartitionChanged {
            topic: TopicId([7; 16]),
            partition: 2,
            replicas: vec![NodeId(1), NodeId(2)],
            isr: vec![NodeId(2)],
            elr: vec![NodeId(1)],
            leader: Some(NodeId(2)),
            leader_epoch: LeaderEpoch(3),
            partition_epoch: 4,
            adding: Vec::new(),
            removing: Vec::new(),
        };
        let mut bytes = Vec::new();
        Record::from(now.clone()).encode(&mut bytes);
        // As version 1 wrote it: without the two lists at the end, four bytes each while they are empty.
        bytes.truncate(bytes.len() - 8);
        bytes[2] = 1;
        bytes[4] -= 8;
        assert_eq!(Record::decode(&mut bytes.as_slice()).unwrap(), Record::from(now));
    }

    #[test]
    fn no_number_is_used_twice() {
        let numbers: std::collections::BTreeSet<_> = Record::TYPES.iter().map(|row| row.0).collect();
        assert_eq!(numbers.len(), Record::TYPES.len());
    }

    #[test]
    fn golden_bytes_of_one_record() {
        let mut bytes = Vec::new();
        Record::from(TopicCreated {
            id: TopicId([0xab; 16]),
            name: "t1".into(),
        })
        .encode(&mut bytes);
        let mut expected = vec![6, 0, 1, 0, 22, 0, 0, 0];
        expected.extend_from_slice(&[0xab; 16]);
        expected.extend_from_slice(&[2, 0, 0, 0, b't', b'1']);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn bytes_cut_anywhere_are_an_error_not_a_panic() {
        for record in samples() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for end in 0..bytes.len() {
                assert!(
                    Record::decode(&mut &bytes[..end]).is_err(),
                    "{record:?} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn what_a_newer_broker_wrote_is_refused_by_name() {
        let mut bytes = Vec::new();
        Record::from(ProducerIds { next: 1 }).encode(&mut bytes);
        let mut newer = bytes.clone();
        newer[2] = 9;
        assert!(matches!(
            Record::decode(&mut newer.as_slice()),
            Err(RecordError::UnknownVersion {
                name: "ProducerIds",
                found: 9,
                known: 1
            })
        ));
        bytes[0] = 200;
        assert_eq!(
            Record::decode(&mut bytes.as_slice()),
            Err(RecordError::UnknownType(200))
        );
    }

    #[test]
    fn a_count_beyond_the_bytes_does_not_allocate() {
        let mut bytes = vec![3, 0, 1, 0, 8, 0, 0, 0];
        bytes.extend_from_slice(&1i32.to_le_bytes());
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(Record::decode(&mut bytes.as_slice()).is_err());
    }
}
