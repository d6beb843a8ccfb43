//! A raw Kafka client over a blocking socket: one request, one answer, any version. Built on the protocol's messages, so it
//! says nothing about the codec (that is proven against Kafka's own bytes); it says what the broker does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::{RequestHeader, decode_response_header, encode_request};
use protocol::messages::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsRequestTopicConfig,
};
use protocol::messages::fetch::{
    FetchRequest, FetchRequestTopic, FetchRequestTopicPartition, FetchResponseResponsePartition,
};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
    ProduceResponseResponsePartitionResponse,
};
use protocol::record::batch::{BatchBuilder, batches};
use protocol::record::compression::Compression;
use protocol::record::record::records;
use protocol::{Decoder, Message, Request, Str};

/// Long enough for a loaded machine; nothing here waits for it when things go well.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client {
            stream,
            correlation: 0,
        }
    }

    /// Sends a request without waiting; returns its correlation id.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        let header = RequestHeader {
            api_key: R::KEY.code(),
            api_version: version,
            correlation_id: self.correlation,
            client_id: Some(Str::from("raw")),
        };
        let frame = encode_request(&header, request).expect("encode").into_bytes();
        // The broker may have closed the connection; reading will say so.
        let _ = self.stream.write_all(&frame);
        self.correlation
    }

    /// The next answer, which must be the one to `correlation`.
    pub(crate) fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> R::Response {
        self.try_receive::<R>(version, correlation).expect("an answer")
    }

    pub(crate) fn try_receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
    ) -> io::Result<R::Response> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame)?;
        let mut input = Decoder::new(Bytes::from(frame));
        let answered = decode_response_header(&mut input, R::KEY, version).expect("a header");
        assert_eq!(answered, correlation, "answers come in request order");
        let response = R::Response::decode(&mut input, version).expect("a body");
        input.finish().expect("nothing behind the body");
        Ok(response)
    }

    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request);
        self.receive::<R>(version, correlation)
    }

    pub(crate) fn try_call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation = self.send(version, request);
        self.try_receive::<R>(version, correlation)
    }

    /// Raw bytes, for what no client sends.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Whether an answer, or the end of the connection, has come already.
    pub(crate) fn has_something_to_read(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket of ours");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket of ours");
        peeked.is_ok()
    }

    /// Whether the broker has closed the connection; waits for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0]) {
                Ok(read) => return read == 0,
                // A ring that ends interrupts the threads of its process, and a read with a timeout is not restarted.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return true,
                Err(error) => panic!("neither closed nor reset: {error}"),
            }
        }
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> [u8; 16] {
        let configs = configs
            .iter()
            .map(|(name, value)| CreateTopicsRequestTopicConfig {
                name: Str::copy_from(name),
                value: Some(Str::copy_from(value)),
            });
        let topic = CreateTopicsRequestTopic {
            name: Str::copy_from(name),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let created = self.call(7, &request).topics.remove(0);
        assert_eq!(
            created.error_code, 0,
            "create {name}: {:?}",
            created.error_message
        );
        created.topic_id
    }

    pub(crate) fn topic_id(&mut self, name: &str) -> Option<[u8; 16]> {
        let topic = MetadataRequestTopic {
            name: Some(Str::copy_from(name)),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let topic = self.call(12, &request).topics.remove(0);
        (topic.error_code == 0).then_some(topic.topic_id)
    }

    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> ProduceResponseResponsePartitionResponse {
        let request = produce_request(topic, partition, -1, batch);
        self.call(9, &request)
            .responses
            .remove(0)
            .partition_responses
            .remove(0)
    }

    /// Produces with `acks=all` and expects it to be taken; returns the offset of the first record.
    pub(crate) fn append(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let answer = self.produce(topic, partition, batch_of(values));
        assert_eq!(
            answer.error_code, 0,
            "append to {topic}-{partition}: {:?}",
            answer.error_message
        );
        answer.base_offset
    }

    pub(crate) fn fetch_with(&mut self, request: &FetchRequest) -> FetchResponseResponsePartition {
        self.call(12, request).responses.remove(0).partitions.remove(0)
    }

    /// Everything from `offset` to the high watermark.
    pub(crate) fn read_all(&mut self, topic: &str, partition: i32, mut offset: i64) -> Vec<(i64, String)> {
        let mut all = Vec::new();
        loop {
            let answer = self.fetch_with(&fetch_request(topic, partition, offset));
            assert_eq!(answer.error_code, 0, "fetch {topic}-{partition} from {offset}");
            let found = values_of(&answer.records.unwrap_or_default(), offset);
            if let Some((last, _)) = found.last() {
                offset = last + 1;
            }
            let done = found.is_empty() || offset >= answer.high_watermark;
            all.extend(found);
            if done {
                return all;
            }
        }
    }
}

pub(crate) fn produce_request(topic: &str, partition: i32, acks: i16, batch: Bytes) -> ProduceRequest {
    let data = ProduceRequestTopicDataPartitionData {
        index: partition,
        records: Some(batch),
    };
    let topic = ProduceRequestTopicData {
        name: Str::copy_from(topic),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    }
}

pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchRequestTopicPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchRequestTopic {
        topic: Str::copy_from(topic),
        partitions: vec![wanted],
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    since.as_millis() as i64
}

pub(crate) fn batch_of(values: &[&str]) -> Bytes {
    let now = now_ms();
    let mut builder = BatchBuilder::new(now);
    for value in values {
        builder.record(now, None, Some(value.as_bytes()));
    }
    builder
        .build(Compression::None)
        .expect("no compression cannot fail")
}

/// Offset and value of every record at or after `from`.
pub(crate) fn values_of(bytes: &Bytes, from: i64) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in batches(bytes) {
        let (_, batch) = batch.expect("whole batches");
        batch.validate().expect("intact batches");
        let plain = batch
            .compression()
            .expect("known")
            .decompress(batch.records(), 1 << 26)
            .expect("decompresses");
        for record in records(&plain, batch.record_count()) {
            let record = record.expect("intact records");
            let offset = batch.base_offset().0 + i64::from(record.offset_delta);
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            if offset >= from {
                found.push((offset, value));
            }
        }
    }
    found
}
