//! Produce: checks every batch on the connection's core, cuts the request by owning core, answers when the records are as
//! durable as asked.
//!
//! Everything up to the appends happens before the first wait: that keeps requests of one connection in order while several
//! of them wait for the disk. Batches are slices of the frame all the way to the log.

use std::time::Duration;

use bytes::Bytes;
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData, ProduceResponse,
    ProduceResponseNodeEndpoint, ProduceResponseResponse, ProduceResponseResponsePartitionResponse,
    ProduceResponseResponsePartitionResponseCurrentLeader,
};
use protocol::{ErrorCode, Str, TopicId, TopicPartition};

use super::batches::{self, Refusal};
use super::cut::ask_owners;
use super::error::code_of;
use super::lookup::{self, Claim};
use super::serve::{Answer, Ctx};
use crate::metadata::image::{MetadataImage, TopicImage};
use crate::rt;
use crate::shard::mesh::{self, Message};
use crate::shard::produce::{Acks, PartOutcome, Placed, Produce, ProducePart};

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;

type Settled = Result<Placed, Refusal>;

/// Appends what can be appended and answers per partition; nothing at all for `acks=0`.
pub async fn handle(ctx: &Ctx, mut request: ProduceRequest) -> Answer<ProduceResponse> {
    let Some(acks) = acks_of(request.acks) else {
        let refusal = Refusal::new(ErrorCode::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)");
        return Answer::Reply(refuse_all(&request, &refusal));
    };
    if request.transactional_id.is_some() {
        let refusal = Refusal::new(ErrorCode::InvalidTxnState, "transactions are not served yet");
        return Answer::Reply(refuse_all(&request, &refusal));
    }
    let (refused, parts) = check(ctx, &request);
    let_go_of_frame(&mut request);
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let outcomes = ask_owners(
        ctx.shard(),
        parts,
        |parts| Message::Produce(Produce { acks, timeout, parts }),
        |answer| match answer {
            mesh::Answer::Produce(outcomes) => Some(outcomes),
            _ => None,
        },
    )
    .await;
    let settled = settle(refused, outcomes);
    if acks == Acks::None {
        return silent(&settled);
    }
    Answer::Reply(answer(ctx, &request, settled))
}

fn acks_of(acks: i16) -> Option<Acks> {
    match acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    }
}

/// With `acks=0` an error cannot be told; closing the connection is how the producer learns that its metadata is stale.
fn silent(settled: &[Settled]) -> Answer<ProduceResponse> {
    match settled.iter().find_map(|settled| settled.as_ref().err()) {
        None => Answer::Silent,
        Some(refusal) => Answer::Close(format!("acks=0, and an append failed: {}", refusal.code.name())),
    }
}

/// Checks all batches. Per partition of the request: its refusal, or none and its part in the second list.
fn check(ctx: &Ctx, request: &ProduceRequest) -> (Vec<Option<Refusal>>, Vec<(TopicPartition, ProducePart)>) {
    let image = ctx.shard().image();
    let mut refused = Vec::new();
    let mut parts = Vec::new();
    for topic in &request.topic_data {
        for partition in &topic.partition_data {
            match check_one(ctx, &image, topic, partition) {
                Ok((id, batches)) => {
                    refused.push(None);
                    parts.push((
                        id,
                        ProducePart {
                            partition: id,
                            batches,
                        },
                    ));
                }
                Err(refusal) => refused.push(Some(refusal)),
            }
        }
    }
    (refused, parts)
}

fn check_one(
    ctx: &Ctx,
    image: &MetadataImage,
    topic: &ProduceRequestTopicData,
    partition: &ProduceRequestTopicDataPartitionData,
) -> Result<(TopicPartition, Bytes), Refusal> {
    let shard = ctx.shard();
    let found = match ctx.version() >= TOPIC_IDS {
        true => lookup::by_id(
            shard,
            image,
            TopicId(topic.topic_id),
            partition.index,
            Claim::LEADER,
        ),
        false => lookup::by_name(shard, image, &topic.name, partition.index, Claim::LEADER),
    };
    let id = found.map_err(Refusal::from)?;
    if image.topic_by_id(id.topic_id).is_some_and(|topic| topic.internal) {
        let why = "this topic is the brokers' own";
        return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
    }
    let config = shard.topic_config(id.topic_id);
    let records = partition.records.clone().unwrap_or_default();
    let batches = batches::check(records, &config, ctx.version(), rt::wall_ms())?;
    Ok((id, batches))
}

/// From the append on the log has its own copy of the records. With the frame kept until the answer, all that waits for
/// the disk would be in memory twice, and the receive budget counts it once.
fn let_go_of_frame(request: &mut ProduceRequest) {
    for topic in &mut request.topic_data {
        topic.name = Str::copy_from(&topic.name);
        for partition in &mut topic.partition_data {
            partition.records = None;
        }
    }
}

/// One result per partition of the request, in its order.
fn settle(refused: Vec<Option<Refusal>>, outcomes: Vec<Option<PartOutcome>>) -> Vec<Settled> {
    let mut outcomes = outcomes.into_iter();
    refused
        .into_iter()
        .map(|refused| match refused {
            Some(refusal) => Err(refusal),
            None => match outcomes.next().flatten() {
                Some(Ok(placed)) => Ok(placed),
                Some(Err(error)) => Err(Refusal::new(code_of(&error), error.to_string())),
                None => Err(Refusal::from(ErrorCode::NotLeaderOrFollower)),
            },
        })
        .collect()
}

fn refuse_all(request: &ProduceRequest, refusal: &Refusal) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| ProduceResponseResponse {
        topic_id: topic.topic_id,
        name: topic.name.clone(),
        partition_responses: topic
            .partition_data
            .iter()
            .map(|data| refused(data.index, refusal.clone()))
            .collect(),
    });
    ProduceResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

fn answer(ctx: &Ctx, request: &ProduceRequest, settled: Vec<Settled>) -> ProduceResponse {
    let image = ctx.shard().image();
    let mut settled = settled.into_iter();
    let responses = request.topic_data.iter().map(|topic| {
        let known = match ctx.version() >= TOPIC_IDS {
            true => image.topic_by_id(TopicId(topic.topic_id)),
            false => image.topic(&topic.name),
        };
        let partitions = topic.partition_data.iter().zip(&mut settled);
        ProduceResponseResponse {
            topic_id: topic.topic_id,
            name: topic.name.clone(),
            partition_responses: partitions
                .map(|(data, settled)| match settled {
                    Ok(placed) => appended(data.index, &placed),
                    Err(refusal) => {
                        let current_leader =
                            current_leader(known.map(|topic| &**topic), data.index, &refusal);
                        ProduceResponseResponsePartitionResponse {
                            current_leader,
                            ..refused(data.index, refusal)
                        }
                    }
                })
                .collect(),
        }
    });
    let responses: Vec<ProduceResponseResponse> = responses.collect();
    let leaders = responses
        .iter()
        .flat_map(|topic| &topic.partition_responses)
        .map(|partition| partition.current_leader.leader_id)
        .filter(|leader| *leader >= 0);
    let nodes = lookup::nodes(&image, &ctx.connection.listener, leaders);
    let node_endpoints = nodes.into_iter().map(|node| ProduceResponseNodeEndpoint {
        node_id: node.id,
        host: node.host,
        port: node.port,
        rack: node.rack,
    });
    ProduceResponse {
        node_endpoints: node_endpoints.collect(),
        responses,
        ..Default::default()
    }
}

fn appended(index: i32, placed: &Placed) -> ProduceResponseResponsePartitionResponse {
    ProduceResponseResponsePartitionResponse {
        index,
        base_offset: placed.base_offset.0,
        log_append_time_ms: placed.log_append_time,
        log_start_offset: placed.log_start.0,
        ..Default::default()
    }
}

fn refused(index: i32, refusal: Refusal) -> ProduceResponseResponsePartitionResponse {
    ProduceResponseResponsePartitionResponse {
        index,
        error_code: refusal.code.code(),
        base_offset: -1,
        error_message: refusal.message.map(Str::from),
        ..Default::default()
    }
}

/// Where to go instead (KIP-951).
fn current_leader(
    topic: Option<&TopicImage>,
    partition: i32,
    refusal: &Refusal,
) -> ProduceResponseResponsePartitionResponseCurrentLeader {
    match topic.and_then(|topic| topic.partition(partition)) {
        Some(state) if refusal.code == ErrorCode::NotLeaderOrFollower => {
            ProduceResponseResponsePartitionResponseCurrentLeader {
                leader_id: state.leader.map_or(-1, |leader| leader.0),
                leader_epoch: state.leader_epoch.0,
            }
        }
        _ => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_waits_does_not_keep_its_frame() {
        let frame = Bytes::from(b"ordersrecords".to_vec());
        let mut request = ProduceRequest {
            topic_data: vec![ProduceRequestTopicData {
                name: Str::from_utf8(frame.slice(..6)).unwrap(),
                partition_data: vec![ProduceRequestTopicDataPartitionData {
                    index: 0,
                    records: Some(frame.slice(6..)),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let_go_of_frame(&mut request);
        assert!(frame.is_unique());
        assert_eq!(request.topic_data[0].name.as_str(), "orders");
    }
}
