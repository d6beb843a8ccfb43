//! Golden batches: the record sets inside Kafka's own Produce and Fetch vectors. Each batch must be valid for us, its
//! records readable, and the same records built by us must be the same bytes.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use protocol::messages::{FetchResponse, ProduceRequest};
use protocol::record::batch::{Batch, BatchBuilder, batches, stamp};
use protocol::record::compression::Compression;
use protocol::record::record::records;
use protocol::{Decoder, Message};

fn record_sets() -> Vec<Bytes> {
    let mut sets = Vec::new();
    for line in include_str!("data/vectors.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let digits: Vec<u8> = columns[4]
            .chars()
            .map(|digit| digit.to_digit(16).unwrap() as u8)
            .collect();
        let body: Bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let version = columns[2].parse().unwrap();
        match (columns[1], columns[3]) {
            ("Produce", "request") => {
                let request = ProduceRequest::decode(&mut Decoder::new(body), version).unwrap();
                let partitions = request
                    .topic_data
                    .into_iter()
                    .flat_map(|topic| topic.partition_data);
                sets.extend(partitions.filter_map(|partition| partition.records));
            }
            ("Fetch", "response") => {
                let response = FetchResponse::decode(&mut Decoder::new(body), version).unwrap();
                let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
                sets.extend(partitions.filter_map(|partition| partition.records));
            }
            _ => {}
        }
    }
    sets
}

fn built_again(batch: &Batch<'_>) -> Bytes {
    let mut builder = BatchBuilder::new(batch.base_timestamp());
    if let Some(id) = batch.producer_id() {
        builder = builder.producer(id, batch.producer_epoch(), batch.base_sequence());
    }
    if batch.is_transactional() {
        builder = builder.transactional();
    }
    for record in records(batch.records(), batch.record_count()) {
        let record = record.unwrap();
        builder.push(batch.base_timestamp() + record.timestamp_delta, &record);
    }
    let mut bytes = builder.build(Compression::None).unwrap().to_vec();
    stamp(&mut bytes, batch.base_offset(), batch.leader_epoch());
    Bytes::from(bytes)
}

#[test]
fn kafkas_batches_are_valid_and_built_again_byte_for_byte() {
    let mut seen = 0;
    for set in record_sets() {
        for batch in batches(&set) {
            let (_, batch) = batch.unwrap();
            batch.validate().unwrap();
            assert_eq!(batch.compression(), Ok(Compression::None));
            assert_eq!(built_again(&batch), batch.bytes());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} batches");
}

#[test]
fn a_record_set_cut_anywhere_is_whole_batches_and_then_an_error() {
    let set = record_sets().into_iter().max_by_key(Bytes::len).unwrap();
    for at in 1..set.len() {
        let found: Vec<_> = batches(&set[..at]).collect();
        assert!(found.last().unwrap().is_err(), "cut at {at}");
        assert!(found[..found.len() - 1].iter().all(Result::is_ok));
    }
}
