//! Tests only: images with a few brokers, and requests in few words.

use protocol::ids::{NodeId, TopicId};

use super::record::{self, Endpoint, Record};
use super::{Broker, Defaults, Given, LogEnds, MetadataImage, NewTopic, Outcome, Request, decide};

/// `n` unfenced brokers 0.. in a formed cluster; racks a, b, c in turn.
pub(crate) fn image(brokers: i32) -> MetadataImage {
    let mut image = MetadataImage::default();
    image.apply_all(&[record::Formed {
        cluster_id: "test-cluster".into(),
        formed_at_ms: 1,
    }
    .into()]);
    for node in 0..brokers {
        image.apply_all(&[broker(node)]);
    }
    image
}

pub(crate) fn broker(node: i32) -> Record {
    record::BrokerRegistered {
        node: NodeId(node),
        epoch: 1,
        incarnation_id: [node as u8; 16],
        directory_id: [100 + node as u8; 16],
        rack: Some(["a", "b", "c"][node as usize % 3].into()),
        fenced: false,
        listeners: vec![endpoint("PLAINTEXT", &format!("broker-{node}"), 9092)],
        replication: None,
        shards: 1,
    }
    .into()
}

pub(crate) fn endpoint(name: &str, host: &str, port: u16) -> Endpoint {
    Endpoint {
        name: name.into(),
        host: host.into(),
        port,
    }
}

pub(crate) fn topic_id(n: u64) -> TopicId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    TopicId(id)
}

pub(crate) fn new_topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions,
        replication_factor,
        ..NewTopic::default()
    }
}

/// Decides with ids that count up.
pub(crate) fn decided(image: &MetadataImage, request: &Request) -> Outcome {
    decided_at(image, request, 1_000, &mut LogEnds::default())
}

/// The same at a time, with what brokers said of logs that nobody leads.
pub(crate) fn decided_at(
    image: &MetadataImage,
    request: &Request,
    now_ms: i64,
    log_ends: &mut LogEnds,
) -> Outcome {
    decide_at(image, request, now_ms, log_ends, &|_| false)
}

/// With what the quorum's leader knows of who runs.
pub(crate) fn decided_where(
    image: &MetadataImage,
    request: &Request,
    log_ends: &mut LogEnds,
    lives: &dyn Fn(&Broker) -> bool,
) -> Outcome {
    decide_at(image, request, 1_000, log_ends, lives)
}

fn decide_at(
    image: &MetadataImage,
    request: &Request,
    now_ms: i64,
    log_ends: &mut LogEnds,
    lives: &dyn Fn(&Broker) -> bool,
) -> Outcome {
    let mut next = 1000 + image.topics.len() as u64;
    let mut fresh_id = || {
        next += 1;
        topic_id(next).0
    };
    let mut given = Given {
        now_ms,
        fresh_id: &mut fresh_id,
        defaults: &Defaults {
            partitions: 3,
            ..Defaults::default()
        },
        log_ends,
        lives,
    };
    decide(image, &mut given, request)
}

/// Decides and applies.
pub(crate) fn done(image: &mut MetadataImage, request: &Request) -> super::Reply {
    let outcome = decided(image, request);
    image.apply_all(&outcome.records);
    outcome.reply
}

pub(crate) trait Build {
    fn apply_all(&mut self, records: &[Record]);
}

impl Build for MetadataImage {
    fn apply_all(&mut self, records: &[Record]) {
        self.apply_each(records).expect("records of a test fit");
    }
}
