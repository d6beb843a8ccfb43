//! A Kafka client of the simulated world: one connection, one request at a time, every wait bounded.

use std::fmt::{self, Debug, Display, Write};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use broker::rt;
use broker::rt::net::TcpStream;
use bytes::Bytes;
use protocol::frame::{RequestHeader, decode_response_header, encode_request};
use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsRequestTopic};
use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsRequestTopic};
use protocol::messages::delete_topics::DeleteTopicsRequest;
use protocol::messages::fetch::{
    FetchRequest, FetchRequestTopic, FetchRequestTopicPartition, FetchResponseResponsePartition,
};
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestResource,
    IncrementalAlterConfigsRequestResourceConfig,
};
use protocol::messages::init_producer_id::InitProducerIdRequest;
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitRequestTopicPartition,
};
use protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
};
use protocol::record::batch::{BatchBuilder, batches};
use protocol::record::compression::Compression;
use protocol::record::record::records;
use protocol::{Decoder, ErrorCode, Message, ProducerEpoch, ProducerId, Request, Str};

/// Virtual: costs nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a request or an answer in a history.
const BRIEF: usize = 400;

pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    correlation: i32,
}

/// What a fetch gave.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Offset and value of each record.
    pub(crate) values: Vec<(i64, String)>,
    pub(crate) high_watermark: i64,
}

/// An idempotent producer's place in one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

fn late(_: rt::Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = rt::timeout(PATIENCE, TcpStream::connect(address))
            .await
            .map_err(late)??;
        Ok(Client {
            address,
            stream,
            correlation: 0,
        })
    }

    /// An error means: whether the request was carried out is not known.
    pub(crate) async fn call<R>(&mut self, version: i16, request: &R) -> io::Result<R::Response>
    where
        R: Request<Response: Debug> + Debug,
    {
        let answer = rt::timeout(PATIENCE, self.exchange(version, request))
            .await
            .map_err(late)?;
        let at = self.address;
        match &answer {
            Ok(answer) => tracing::debug!(%at, "{}: {}", Brief(request), Brief(answer)),
            Err(error) => tracing::debug!(%at, %error, "{}", Brief(request)),
        }
        answer
    }

    async fn exchange<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation += 1;
        let header = RequestHeader {
            api_key: R::KEY.code(),
            api_version: version,
            correlation_id: self.correlation,
            client_id: Some(Str::from("sim")),
        };
        let frame = encode_request(&header, request).expect("encode").into_bytes();
        self.stream.write_all(&[frame]).await?;
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame).await?;
        let mut input = Decoder::new(Bytes::from(frame));
        let answered = decode_response_header(&mut input, R::KEY, version).expect("a header");
        assert_eq!(answered, self.correlation, "answers come in request order");
        Ok(R::Response::decode(&mut input, version).expect("a body"))
    }

    pub(crate) async fn create_topic(&mut self, name: &str, partitions: i32) -> io::Result<ErrorCode> {
        let topic = CreateTopicsRequestTopic {
            name: Str::copy_from(name),
            num_partitions: partitions,
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let created = self.call(7, &request).await?;
        Ok(ErrorCode::from_code(created.topics[0].error_code))
    }

    pub(crate) async fn create_partitions(&mut self, name: &str, count: i32) -> io::Result<ErrorCode> {
        let topic = CreatePartitionsRequestTopic {
            name: Str::copy_from(name),
            count,
            assignments: None,
        };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let answer = self.call(3, &request).await?;
        Ok(ErrorCode::from_code(answer.results[0].error_code))
    }

    pub(crate) async fn delete_topic(&mut self, name: &str) -> io::Result<ErrorCode> {
        let request = DeleteTopicsRequest {
            topic_names: vec![Str::copy_from(name)],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let answer = self.call(5, &request).await?;
        Ok(ErrorCode::from_code(answer.responses[0].error_code))
    }

    /// Sets one property of a topic.
    pub(crate) async fn configure(
        &mut self,
        topic: &str,
        property: &str,
        value: &str,
    ) -> io::Result<ErrorCode> {
        const TOPIC: i8 = 2;
        self.configure_resource(TOPIC, topic, property, value).await
    }

    /// Sets one property of every broker.
    pub(crate) async fn configure_brokers(&mut self, property: &str, value: &str) -> io::Result<ErrorCode> {
        const BROKER: i8 = 4;
        self.configure_resource(BROKER, "", property, value).await
    }

    async fn configure_resource(
        &mut self,
        resource_type: i8,
        name: &str,
        property: &str,
        value: &str,
    ) -> io::Result<ErrorCode> {
        const SET: i8 = 0;
        let config = IncrementalAlterConfigsRequestResourceConfig {
            name: Str::copy_from(property),
            config_operation: SET,
            value: Some(Str::copy_from(value)),
        };
        let resource = IncrementalAlterConfigsRequestResource {
            resource_type,
            resource_name: Str::copy_from(name),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![resource],
            validate_only: false,
        };
        let answer = self.call(1, &request).await?;
        Ok(ErrorCode::from_code(answer.responses[0].error_code))
    }

    /// How many partitions a topic has; `None` when there is none of that name.
    pub(crate) async fn partitions_of(&mut self, name: &str) -> io::Result<Option<usize>> {
        let request = MetadataRequest {
            allow_auto_topic_creation: false,
            ..metadata_request(name)
        };
        let answer = self.call(12, &request).await?;
        let topic = &answer.topics[0];
        Ok((topic.error_code == 0).then_some(topic.partitions.len()))
    }

    pub(crate) async fn producer_id(&mut self) -> io::Result<Identity> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let answer = self.call(4, &request).await?;
        if answer.error_code != 0 {
            return Err(io::Error::other(format!(
                "{:?}",
                ErrorCode::from_code(answer.error_code)
            )));
        }
        Ok(Identity {
            id: answer.producer_id,
            epoch: answer.producer_epoch,
        })
    }

    /// Produces with `acks=all`; the offset of the first record, or the error code.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> io::Result<Result<i64, ErrorCode>> {
        let data = ProduceRequestTopicDataPartitionData {
            index: partition,
            records: Some(batch),
        };
        let topic = ProduceRequestTopicData {
            name: Str::copy_from(topic),
            partition_data: vec![data],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 20_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let answer = self.call(9, &request).await?;
        let outcome = &answer.responses[0].partition_responses[0];
        Ok(match ErrorCode::from_code(outcome.error_code) {
            ErrorCode::None => Ok(outcome.base_offset),
            code => Err(code),
        })
    }

    pub(crate) async fn find_coordinator(&mut self, group: &str) -> io::Result<ErrorCode> {
        let request = FindCoordinatorRequest {
            key: Str::copy_from(group),
            ..Default::default()
        };
        let answer = self.call(2, &request).await?;
        Ok(ErrorCode::from_code(answer.error_code))
    }

    /// Commits an offset of partition 0 as a simple consumer does, without being a member.
    pub(crate) async fn commit(&mut self, group: &str, topic: &str, offset: i64) -> io::Result<ErrorCode> {
        let partition = OffsetCommitRequestTopicPartition {
            committed_offset: offset,
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: Str::copy_from(group),
            generation_id_or_member_epoch: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: Str::copy_from(topic),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.call(8, &request).await?;
        Ok(ErrorCode::from_code(answer.topics[0].partitions[0].error_code))
    }

    /// The committed offset of partition 0, -1 if there is none.
    pub(crate) async fn committed(&mut self, group: &str, topic: &str) -> io::Result<Result<i64, ErrorCode>> {
        let request = OffsetFetchRequest {
            group_id: Str::copy_from(group),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: Str::copy_from(topic),
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        };
        let answer = self.call(7, &request).await?;
        Ok(match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => Ok(answer.topics[0].partitions[0].committed_offset),
            code => Err(code),
        })
    }

    /// One fetch of one partition, in all else as `how` says; that the broker refuses it is an answer too.
    pub(crate) async fn fetch_partition(
        &mut self,
        topic: &str,
        wanted: FetchRequestTopicPartition,
        how: FetchRequest,
    ) -> io::Result<FetchResponseResponsePartition> {
        let request = FetchRequest {
            topics: vec![FetchRequestTopic {
                topic: Str::copy_from(topic),
                partitions: vec![wanted],
                ..Default::default()
            }],
            ..how
        };
        let mut answer = self.call(12, &request).await?;
        Ok(answer.responses.remove(0).partitions.remove(0))
    }

    /// What is at `offset` and after it now, of a leader of this epoch (-1: of any).
    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        leader_epoch: i32,
    ) -> io::Result<Fetched> {
        let wanted = FetchRequestTopicPartition {
            partition,
            current_leader_epoch: leader_epoch,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let how = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 1,
            ..Default::default()
        };
        let answer = self.fetch_partition(topic, wanted, how).await?;
        let code = ErrorCode::from_code(answer.error_code);
        if code != ErrorCode::None {
            return Err(io::Error::other(format!("fetch {topic}-{partition}: {code:?}")));
        }
        Ok(Fetched {
            values: values_of(&answer.records.unwrap_or_default(), offset),
            high_watermark: answer.high_watermark,
        })
    }

    /// Everything from `offset` to the high watermark: (offset, value).
    pub(crate) async fn read_all(
        &mut self,
        topic: &str,
        partition: i32,
        mut offset: i64,
    ) -> io::Result<Vec<(i64, String)>> {
        let mut all = Vec::new();
        loop {
            let fetched = self.fetch(topic, partition, offset, -1).await?;
            if let Some((last, _)) = fetched.values.last() {
                offset = last + 1;
            }
            let done = fetched.values.is_empty() || offset >= fetched.high_watermark;
            all.extend(fetched.values);
            if done {
                return Ok(all);
            }
        }
    }
}

/// The beginning of what a value says of itself: a batch of records would hide everything else.
struct Brief<'a, T>(&'a T);

impl<T: Debug> Display for Brief<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Beginning(String);
        impl Write for Beginning {
            fn write_str(&mut self, more: &str) -> fmt::Result {
                self.0.push_str(more);
                (self.0.len() < BRIEF).then_some(()).ok_or(fmt::Error)
            }
        }
        let mut beginning = Beginning(String::new());
        match write!(beginning, "{:?}", self.0) {
            Ok(()) => f.write_str(&beginning.0),
            // There is more of it.
            Err(fmt::Error) => f.write_str(
                &beginning
                    .0
                    .chars()
                    .take(BRIEF)
                    .chain("...".chars())
                    .collect::<String>(),
            ),
        }
    }
}

/// Asks for one topic, which a broker that makes topics by itself may make.
pub(crate) fn metadata_request(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic {
        name: Some(Str::copy_from(topic)),
        ..Default::default()
    };
    MetadataRequest {
        topics: Some(vec![topic]),
        ..Default::default()
    }
}

/// A batch of values, of an idempotent producer if there is one: its identity and first sequence number.
pub(crate) fn batch_of(values: &[String], producer: Option<(Identity, i32)>) -> Bytes {
    let now = rt::wall_ms();
    let mut builder = BatchBuilder::new(now);
    if let Some((identity, sequence)) = producer {
        builder = builder.producer(ProducerId(identity.id), ProducerEpoch(identity.epoch), sequence);
    }
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
        for record in records(batch.records(), batch.record_count()) {
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
