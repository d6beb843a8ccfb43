//! Records of one partition: appended with `acks=all`, and read back. One blocking connection per question.

use bytes::Bytes;
use protocol::frame::{RequestHeader, decode_response_header, encode_request};
use protocol::messages::fetch::{FetchRequest, FetchRequestTopic, FetchRequestTopicPartition};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
};
use protocol::record::batch::{BatchBuilder, batches};
use protocol::record::compression::Compression;
use protocol::record::record::records;
use protocol::{Decoder, Message, Request, Str};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Appends to partition 0, whose leader is at `address`; all replicas in sync have it then.
pub(crate) fn append(address: &str, topic: &str, values: &[&str]) {
    // Of today: older ones would be due to be deleted.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now_ms = i64::try_from(now.as_millis()).unwrap();
    let mut builder = BatchBuilder::new(now_ms);
    for value in values {
        builder.record(now_ms, None, Some(value.as_bytes()));
    }
    let data = ProduceRequestTopicDataPartitionData {
        index: 0,
        records: Some(builder.build(Compression::None).unwrap()),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![ProduceRequestTopicData {
            name: Str::copy_from(topic),
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = ask(address, 9, &request);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(
        partition.error_code, 0,
        "append to {topic}: {:?}",
        partition.error_message
    );
}

/// Every record of partition 0, where its leader is at `address`; else Kafka's error code.
pub(crate) fn read(address: &str, topic: &str) -> Result<Vec<String>, i16> {
    let wanted = FetchRequestTopicPartition {
        partition: 0,
        fetch_offset: 0,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        topics: vec![FetchRequestTopic {
            topic: Str::copy_from(topic),
            partitions: vec![wanted],
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut answer = ask(address, 12, &request);
    let partition = answer.responses.remove(0).partitions.remove(0);
    if partition.error_code != 0 {
        return Err(partition.error_code);
    }
    let mut found = Vec::new();
    for batch in batches(&partition.records.unwrap_or_default()) {
        let (_, batch) = batch.unwrap();
        for record in records(batch.records(), batch.record_count()) {
            let value = record.unwrap().value.unwrap_or_default();
            found.push(String::from_utf8_lossy(value).into_owned());
        }
    }
    Ok(found)
}

fn ask<R: Request>(address: &str, version: i16, request: &R) -> R::Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(super::DEADLINE)).unwrap();
    let header = RequestHeader {
        api_key: R::KEY.code(),
        api_version: version,
        correlation_id: 1,
        client_id: Some(Str::from("test")),
    };
    let frame = encode_request(&header, request).unwrap().into_bytes();
    stream.write_all(&frame).unwrap();
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).unwrap();
    let mut input = Decoder::new(Bytes::from(frame));
    assert_eq!(decode_response_header(&mut input, R::KEY, version).unwrap(), 1);
    R::Response::decode(&mut input, version).unwrap()
}
