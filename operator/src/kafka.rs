//! Topics and their properties over the Kafka protocol: the few admin requests the operator needs, each for many topics at
//! once. Owns one connection with its negotiated versions; what to ask is decided in `topic::plan`.
//!
//! Any broker answers all of these (it forwards what changes metadata), so there is no routing and no pool here. Every
//! request has a deadline; after any error the connection is not used again.

use bytes::Bytes;
use protocol::ids::uuid_text;
use protocol::messages::{api_versions, create_partitions, create_topics, delete_topics, describe_configs};
use protocol::messages::{incremental_alter_configs, metadata};
use protocol::{ApiKey, Decoder, Message, Request, Str, error_code::ErrorCode, frame};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest a request may take, connection included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer taken: 10,000 topics described are far below it.
const LARGEST_ANSWER: usize = 64 << 20;
/// Topics asked about in one request.
const BATCH: usize = 500;

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No connection, or it broke.
    #[error("connection to {address}: {source}")]
    Connection {
        /// host:port.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{what} to {address}: no answer within {} s", DEADLINE.as_secs())]
    Deadline {
        /// host:port.
        address: String,
        /// The request.
        what: &'static str,
    },
    /// The answer is not what the protocol says.
    #[error("{what}: the answer cannot be read: {detail}")]
    Malformed {
        /// The request.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The broker does not serve the request.
    #[error("the broker does not serve {0}")]
    NotServed(&'static str),
    /// The broker refused the whole request.
    #[error("{what}: {}", code.name())]
    Refused {
        /// The request.
        what: &'static str,
        /// Kafka's code.
        code: ErrorCode,
    },
}

/// A topic as the brokers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's id, 22 characters.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of the first partition.
    pub replicas: i32,
    /// Replicas in sync, over all partitions.
    pub in_sync: usize,
    /// Replicas, over all partitions.
    pub all_replicas: usize,
    /// Partitions without a leader.
    pub leaderless: usize,
    /// Effective values of the properties that were asked for.
    pub config: BTreeMap<String, String>,
}

/// A topic to make. -1 leaves a number to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions, or -1.
    pub partitions: i32,
    /// Replicas, or -1.
    pub replicas: i16,
    /// Properties of its own.
    pub config: BTreeMap<String, String>,
}

/// Why the broker refused one item of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The broker's sentence, or the code's name.
    pub message: String,
}

/// Outcome per topic name.
pub type Answers = BTreeMap<String, Result<(), Refusal>>;

/// One connection to one broker.
pub struct Kafka {
    address: String,
    stream: TcpStream,
    correlation: i32,
    served: HashMap<i16, (i16, i16)>,
}

impl Kafka {
    /// Connects and asks what the broker serves.
    pub async fn connect(address: &str) -> Result<Kafka, KafkaError> {
        let connection = |source| KafkaError::Connection {
            address: address.to_owned(),
            source,
        };
        let stream = tokio::time::timeout(DEADLINE, TcpStream::connect(address))
            .await
            .map_err(|_| KafkaError::Deadline {
                address: address.to_owned(),
                what: "connect",
            })?
            .map_err(connection)?;
        stream.set_nodelay(true).map_err(connection)?;
        let mut kafka = Kafka {
            address: address.to_owned(),
            stream,
            correlation: 0,
            served: HashMap::from([(ApiKey::ApiVersions.code(), (0, 3))]),
        };
        let asked = api_versions::ApiVersionsRequest {
            client_software_name: Str::from("millrace-operator"),
            client_software_version: Str::from(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let answer = kafka.send("ApiVersions", &asked, 3).await?;
        refuse("ApiVersions", answer.error_code)?;
        let rows = answer.api_keys.into_iter();
        kafka.served = rows
            .map(|row| (row.api_key, (row.min_version, row.max_version)))
            .collect();
        Ok(kafka)
    }

    /// What the brokers know of these topics, with the named properties of each. Unknown topics are absent.
    pub async fn describe(
        &mut self,
        asked: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<BTreeMap<String, Topic>, KafkaError> {
        let mut found = BTreeMap::new();
        let names: Vec<&String> = asked.keys().collect();
        for part in names.chunks(BATCH) {
            self.describe_layout(part, &mut found).await?;
            self.describe_config(part, asked, &mut found).await?;
        }
        Ok(found)
    }

    async fn describe_layout(
        &mut self,
        names: &[&String],
        found: &mut BTreeMap<String, Topic>,
    ) -> Result<(), KafkaError> {
        let topics = names.iter().map(|name| metadata::MetadataRequestTopic {
            name: Some(Str::from(*name)),
            ..Default::default()
        });
        let asked = metadata::MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.send("Metadata", &asked, 12).await?;
        for topic in answer.topics {
            let Some(name) = topic.name else { continue };
            match ErrorCode::from_code(topic.error_code) {
                ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidTopicException => continue,
                // A partition without a leader is still a partition.
                ErrorCode::LeaderNotAvailable => {}
                code if code.is_none() => {}
                code => {
                    return Err(KafkaError::Refused {
                        what: "Metadata",
                        code,
                    });
                }
            }
            let partitions = &topic.partitions;
            found.insert(
                name.as_str().to_owned(),
                Topic {
                    id: uuid_text(&topic.topic_id),
                    partitions: partitions.len() as i32,
                    replicas: partitions
                        .first()
                        .map_or(0, |first| first.replica_nodes.len() as i32),
                    in_sync: partitions.iter().map(|one| one.isr_nodes.len()).sum(),
                    all_replicas: partitions.iter().map(|one| one.replica_nodes.len()).sum(),
                    leaderless: partitions.iter().filter(|one| one.leader_id < 0).count(),
                    config: BTreeMap::new(),
                },
            );
        }
        Ok(())
    }

    async fn describe_config(
        &mut self,
        names: &[&String],
        asked: &BTreeMap<String, BTreeSet<String>>,
        found: &mut BTreeMap<String, Topic>,
    ) -> Result<(), KafkaError> {
        let resources: Vec<_> = names
            .iter()
            .filter(|name| found.contains_key(**name) && !asked[**name].is_empty())
            .map(|name| describe_configs::DescribeConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: Str::from(*name),
                configuration_keys: Some(asked[*name].iter().map(Str::from).collect()),
            })
            .collect();
        if resources.is_empty() {
            return Ok(());
        }
        let request = describe_configs::DescribeConfigsRequest {
            resources,
            ..Default::default()
        };
        let answer = self.send("DescribeConfigs", &request, 4).await?;
        for result in answer.results {
            // A topic that went away between the two questions.
            if ErrorCode::from_code(result.error_code) == ErrorCode::UnknownTopicOrPartition {
                found.remove(result.resource_name.as_str());
                continue;
            }
            refuse("DescribeConfigs", result.error_code)?;
            let Some(topic) = found.get_mut(result.resource_name.as_str()) else {
                continue;
            };
            for row in result.configs {
                let value = row
                    .value
                    .map(|value| value.as_str().to_owned())
                    .unwrap_or_default();
                topic.config.insert(row.name.as_str().to_owned(), value);
            }
        }
        Ok(())
    }

    /// Makes topics.
    pub async fn create(&mut self, topics: &[NewTopic]) -> Result<Answers, KafkaError> {
        let mut answers = Answers::new();
        for part in topics.chunks(BATCH) {
            let request = create_topics::CreateTopicsRequest {
                topics: part.iter().map(new_topic).collect(),
                timeout_ms: timeout_ms(),
                validate_only: false,
            };
            let answer = self.send("CreateTopics", &request, 7).await?;
            for one in answer.topics {
                answers.insert(
                    one.name.as_str().to_owned(),
                    outcome(one.error_code, one.error_message),
                );
            }
        }
        Ok(answers)
    }

    /// Raises the number of partitions to the given ones.
    pub async fn add_partitions(&mut self, counts: &[(String, i32)]) -> Result<Answers, KafkaError> {
        let mut answers = Answers::new();
        for part in counts.chunks(BATCH) {
            let topics = part
                .iter()
                .map(|(name, count)| create_partitions::CreatePartitionsRequestTopic {
                    name: Str::from(name),
                    count: *count,
                    assignments: None,
                });
            let request = create_partitions::CreatePartitionsRequest {
                topics: topics.collect(),
                timeout_ms: timeout_ms(),
                validate_only: false,
            };
            let answer = self.send("CreatePartitions", &request, 3).await?;
            for one in answer.results {
                answers.insert(
                    one.name.as_str().to_owned(),
                    outcome(one.error_code, one.error_message),
                );
            }
        }
        Ok(answers)
    }

    /// Sets properties of topics; others of the same topics are left alone.
    pub async fn alter(
        &mut self,
        changes: &[(String, BTreeMap<String, String>)],
    ) -> Result<Answers, KafkaError> {
        use incremental_alter_configs::{
            IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestResource,
            IncrementalAlterConfigsRequestResourceConfig,
        };
        const SET: i8 = 0;
        let mut answers = Answers::new();
        for part in changes.chunks(BATCH) {
            let resources = part
                .iter()
                .map(|(name, set)| IncrementalAlterConfigsRequestResource {
                    resource_type: TOPIC,
                    resource_name: Str::from(name),
                    configs: set
                        .iter()
                        .map(|(key, value)| IncrementalAlterConfigsRequestResourceConfig {
                            name: Str::from(key),
                            config_operation: SET,
                            value: Some(Str::from(value)),
                        })
                        .collect(),
                });
            let request = IncrementalAlterConfigsRequest {
                resources: resources.collect(),
                validate_only: false,
            };
            let answer = self.send("IncrementalAlterConfigs", &request, 1).await?;
            for one in answer.responses {
                answers.insert(
                    one.resource_name.as_str().to_owned(),
                    outcome(one.error_code, one.error_message),
                );
            }
        }
        Ok(answers)
    }

    /// Deletes topics by name.
    pub async fn delete(&mut self, names: &[String]) -> Result<Answers, KafkaError> {
        let mut answers = Answers::new();
        for part in names.chunks(BATCH) {
            let request = delete_topics::DeleteTopicsRequest {
                topics: part
                    .iter()
                    .map(|name| delete_topics::DeleteTopicsRequestTopic {
                        name: Some(Str::from(name)),
                        ..Default::default()
                    })
                    .collect(),
                topic_names: part.iter().map(Str::from).collect(),
                timeout_ms: timeout_ms(),
            };
            let answer = self.send("DeleteTopics", &request, 6).await?;
            for one in answer.responses {
                let Some(name) = one.name else { continue };
                answers.insert(
                    name.as_str().to_owned(),
                    outcome(one.error_code, one.error_message),
                );
            }
        }
        Ok(answers)
    }

    async fn send<R: Request>(
        &mut self,
        what: &'static str,
        body: &R,
        newest: i16,
    ) -> Result<R::Response, KafkaError> {
        let (low, high) = *self
            .served
            .get(&R::KEY.code())
            .ok_or(KafkaError::NotServed(what))?;
        let version = newest.min(high);
        if version < low {
            return Err(KafkaError::NotServed(what));
        }
        let address = self.address.clone();
        match tokio::time::timeout(DEADLINE, self.exchange(what, body, version)).await {
            Ok(answer) => answer,
            Err(_) => Err(KafkaError::Deadline { address, what }),
        }
    }

    async fn exchange<R: Request>(
        &mut self,
        what: &'static str,
        body: &R,
        version: i16,
    ) -> Result<R::Response, KafkaError> {
        let malformed = |detail: String| KafkaError::Malformed { what, detail };
        let address = self.address.clone();
        let connection = move |source| KafkaError::Connection {
            address: address.clone(),
            source,
        };
        self.correlation += 1;
        let header = frame::RequestHeader {
            api_key: R::KEY.code(),
            api_version: version,
            correlation_id: self.correlation,
            client_id: Some(Str::from("millrace-operator")),
        };
        let request = frame::encode_request(&header, body).map_err(|error| malformed(error.to_string()))?;
        self.stream
            .write_all(&request.into_bytes())
            .await
            .map_err(&connection)?;
        let length = self.stream.read_i32().await.map_err(&connection)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LARGEST_ANSWER {
            return Err(malformed(format!("{length} bytes")));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.map_err(&connection)?;
        let mut input = Decoder::new(Bytes::from(answer));
        let correlation = frame::decode_response_header(&mut input, R::KEY, version)
            .map_err(|error| malformed(error.to_string()))?;
        if correlation != self.correlation {
            return Err(malformed(format!(
                "answer {correlation} to request {}",
                self.correlation
            )));
        }
        R::Response::decode(&mut input, version).map_err(|error| malformed(error.to_string()))
    }
}

/// Kafka's number for topics in config requests.
const TOPIC: i8 = 2;

fn timeout_ms() -> i32 {
    i32::try_from(DEADLINE.as_millis()).expect("seconds fit") / 2
}

fn new_topic(topic: &NewTopic) -> create_topics::CreateTopicsRequestTopic {
    create_topics::CreateTopicsRequestTopic {
        name: Str::from(&topic.name),
        num_partitions: topic.partitions,
        replication_factor: topic.replicas,
        assignments: Vec::new(),
        configs: topic
            .config
            .iter()
            .map(|(name, value)| create_topics::CreateTopicsRequestTopicConfig {
                name: Str::from(name),
                value: Some(Str::from(value)),
            })
            .collect(),
    }
}

fn refuse(what: &'static str, code: i16) -> Result<(), KafkaError> {
    match ErrorCode::from_code(code) {
        code if code.is_none() => Ok(()),
        code => Err(KafkaError::Refused { what, code }),
    }
}

fn outcome(code: i16, message: Option<Str>) -> Result<(), Refusal> {
    let code = ErrorCode::from_code(code);
    if code.is_none() {
        return Ok(());
    }
    let message = message
        .map(|text| text.as_str().to_owned())
        .filter(|text| !text.is_empty());
    Err(Refusal {
        code,
        message: message.unwrap_or_else(|| code.name().to_owned()),
    })
}
