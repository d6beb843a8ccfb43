//! Fetch: opens or continues the client's session, runs the poll over the owning cores, tells what is new.
//!
//! `session.rs` remembers, `poll.rs` reads and waits, this file speaks the wire.

mod poll;
pub mod session;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::ErrorCode;
use protocol::ids::TopicId;
use protocol::messages::fetch::{
    FetchRequest, FetchRequestTopic, FetchResponse, FetchResponseNodeEndpoint, FetchResponseResponse,
    FetchResponseResponsePartition, FetchResponseResponsePartitionCurrentLeader,
    FetchResponseResponsePartitionDivergingEpoch,
};

use super::lookup::{self, Claim};
use super::serve::Ctx;
use crate::metadata::image::MetadataImage;
use crate::rt;
use poll::{Got, Poll};
use session::{Entry, Session, SessionError, Told, TopicKey, Wanted};

/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version whose consumers say where they are, and read from followers.
const ANY_REPLICA: i16 = 11;

/// Serves one fetch.
pub async fn handle(ctx: &Ctx, request: FetchRequest) -> FetchResponse {
    // Followers of other brokers come over a transport of their own once there are any; a client has no replica id.
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return refuse(ErrorCode::NotLeaderOrFollower);
    }
    match open(ctx, &request) {
        Err(error) => refuse(error),
        Ok(Opened::Plain(mut entries)) => {
            let (got, _) = poll(ctx, &request, &entries, 0).await;
            answer(ctx, 0, &mut entries, got, true)
        }
        Ok(Opened::Session(mut session, full)) => {
            let (got, last) = poll(ctx, &request, session.entries(), session.start()).await;
            if let Some(last) = last {
                session.continue_after(last);
            }
            let response = answer(ctx, session.id(), session.entries_mut(), got, full);
            ctx.connection
                .core
                .sessions
                .borrow_mut()
                .rest(*session, rt::now());
            response
        }
    }
}

fn refuse(error: ErrorCode) -> FetchResponse {
    FetchResponse {
        error_code: error.code(),
        ..Default::default()
    }
}

enum Opened {
    /// No session: everything is in the request, everything is told.
    Plain(Vec<Entry>),
    /// A session, and whether this is its first answer, which names every partition.
    Session(Box<Session>, bool),
}

/// KIP-227's four cases: by session id and epoch a request has no session, wants one, continues one, or ends one.
fn open(ctx: &Ctx, request: &FetchRequest) -> Result<Opened, ErrorCode> {
    const FINAL: i32 = -1;
    const INITIAL: i32 = 0;
    let by_id = ctx.version() >= TOPIC_IDS;
    let wanted = request
        .topics
        .iter()
        .flat_map(|topic| entries_of(topic, by_id))
        .collect();
    let mut sessions = ctx.connection.core.sessions.borrow_mut();
    match request.session_epoch {
        FINAL => {
            sessions.close(request.session_id);
            Ok(Opened::Plain(wanted))
        }
        INITIAL => {
            sessions.close(request.session_id);
            Ok(match sessions.begin(by_id, wanted, rt::now(), rt::random_u64()) {
                Ok(session) => Opened::Session(Box::new(session), true),
                Err(wanted) => Opened::Plain(wanted),
            })
        }
        epoch => {
            let mut session =
                sessions
                    .resume(request.session_id, epoch, by_id)
                    .map_err(|error| match error {
                        SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
                        SessionError::WrongEpoch => ErrorCode::InvalidFetchSessionEpoch,
                        SessionError::WrongTopicKeys => ErrorCode::FetchSessionTopicIdError,
                    })?;
            let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
                let key = key_of(topic.topic_id, &topic.topic, by_id);
                topic
                    .partitions
                    .iter()
                    .map(move |partition| (key.clone(), *partition))
            });
            session.forget(forgotten);
            session.update(wanted);
            Ok(Opened::Session(Box::new(session), false))
        }
    }
}

fn key_of(id: [u8; 16], name: &str, by_id: bool) -> TopicKey {
    if by_id {
        TopicKey::Id(TopicId(id))
    } else {
        TopicKey::Name(Rc::from(name))
    }
}

fn entries_of(topic: &FetchRequestTopic, by_id: bool) -> impl Iterator<Item = Entry> {
    let key = key_of(topic.topic_id, &topic.topic, by_id);
    topic.partitions.iter().map(move |partition| {
        let wanted = Wanted {
            offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        };
        Entry::new(key.clone(), partition.partition, wanted)
    })
}

/// Reads, and waits until there is enough, there is news, or time is up. Also says which entry got the last bytes.
async fn poll(
    ctx: &Ctx,
    request: &FetchRequest,
    entries: &[Entry],
    start: usize,
) -> (Vec<Got>, Option<usize>) {
    let shard = ctx.shard();
    let image = shard.image();
    let any_replica = ctx.version() >= ANY_REPLICA;
    let claim = |entry: &Entry| Claim {
        leader_epoch: entry.wanted.leader_epoch,
        any_replica,
    };
    let rack =
        (shard.options.near_replicas && !request.rack_id.is_empty()).then(|| Arc::from(&*request.rack_id));
    let targets = entries.iter().map(|entry| match &entry.topic {
        TopicKey::Id(id) => lookup::by_id(shard, &image, *id, entry.partition, claim(entry)),
        TopicKey::Name(name) => lookup::by_name(shard, &image, name, entry.partition, claim(entry)),
    });
    let limit = shard
        .options
        .fetch_max_bytes
        .min(usize::try_from(request.max_bytes).unwrap_or(0));
    let mut poll = Poll::new(shard, entries, targets.collect(), limit, start).from(any_replica, rack);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(limit);
    let deadline = rt::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    if !entries.is_empty() {
        poll.read_all().await;
    }
    while !entries.is_empty() && !poll.has_news() && poll.bytes() < min_bytes && rt::now() < deadline {
        let moved = poll.moved(deadline).await;
        if moved.is_empty() {
            break;
        }
        poll.read(moved).await;
    }
    let last = poll.last_served();
    shard.counters.fetched(poll.bytes() as u64);
    (poll.into_got(), last)
}

/// Builds the answer: all partitions of a full fetch, the ones with news of an incremental one.
fn answer(ctx: &Ctx, session_id: i32, entries: &mut [Entry], got: Vec<Got>, full: bool) -> FetchResponse {
    let image = ctx.shard().image();
    let mut response = FetchResponse {
        session_id,
        ..Default::default()
    };
    for (entry, got) in entries.iter_mut().zip(got) {
        let has_records = got
            .as_ref()
            .is_ok_and(|found| !found.records.is_empty() || found.is_news());
        let changed = entry.tell(told(&got));
        if full || changed || has_records {
            push(&mut response, entry, partition(&image, entry, got));
        }
    }
    name_nodes(ctx, &image, &mut response);
    response
}

/// Where the brokers are that this answer sends the client to (KIP-951).
fn name_nodes(ctx: &Ctx, image: &MetadataImage, response: &mut FetchResponse) {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let leaders = partitions.map(|partition| partition.current_leader.leader_id);
    let nodes = lookup::nodes(image, &ctx.connection.listener, leaders.filter(|id| *id >= 0));
    let endpoints = nodes.into_iter().map(|node| FetchResponseNodeEndpoint {
        node_id: node.id,
        host: node.host,
        port: node.port,
        rack: node.rack,
    });
    response.node_endpoints = endpoints.collect();
}

fn told(got: &Got) -> Told {
    match got {
        Ok(found) => Told {
            high_watermark: found.high_watermark.0,
            log_start: found.log_start.0,
            error_code: 0,
        },
        Err(error) => Told {
            high_watermark: -1,
            log_start: -1,
            error_code: error.code(),
        },
    }
}

/// Adds a partition under its topic; entries of one topic usually follow each other.
fn push(response: &mut FetchResponse, entry: &Entry, partition: FetchResponseResponsePartition) {
    let same = |topic: &FetchResponseResponse| match &entry.topic {
        TopicKey::Id(id) => topic.topic_id == id.0,
        TopicKey::Name(name) => *topic.topic == **name,
    };
    if !response.responses.last().is_some_and(same) {
        let mut topic = FetchResponseResponse::default();
        match &entry.topic {
            TopicKey::Id(id) => topic.topic_id = id.0,
            TopicKey::Name(name) => topic.topic = name.to_string().into(),
        }
        response.responses.push(topic);
    }
    if let Some(topic) = response.responses.last_mut() {
        topic.partitions.push(partition);
    }
}

fn partition(image: &MetadataImage, entry: &Entry, got: Got) -> FetchResponseResponsePartition {
    let partition_index = entry.partition;
    match got {
        Ok(found) => FetchResponseResponsePartition {
            partition_index,
            high_watermark: found.high_watermark.0,
            last_stable_offset: found.last_stable.0,
            log_start_offset: found.log_start.0,
            // Null, as Kafka sends to readers of uncommitted records; there are no aborted transactions to name.
            aborted_transactions: None,
            records: Some(found.records),
            preferred_read_replica: found.preferred.map_or(-1, |node| node.0),
            diverging_epoch: found.diverging.map_or_else(Default::default, |end| {
                FetchResponseResponsePartitionDivergingEpoch {
                    epoch: end.epoch.0,
                    end_offset: end.end_offset.0,
                }
            }),
            ..Default::default()
        },
        Err(error) => FetchResponseResponsePartition {
            partition_index,
            error_code: error.code(),
            high_watermark: -1,
            aborted_transactions: None,
            records: Some(bytes::Bytes::new()),
            current_leader: current_leader(image, entry, error),
            ..Default::default()
        },
    }
}

/// Where to go instead (KIP-951), with the errors that mean "somewhere else".
fn current_leader(
    image: &MetadataImage,
    entry: &Entry,
    error: ErrorCode,
) -> FetchResponseResponsePartitionCurrentLeader {
    let moved = [ErrorCode::NotLeaderOrFollower, ErrorCode::FencedLeaderEpoch].contains(&error);
    let topic = match &entry.topic {
        TopicKey::Id(id) => image.topic_by_id(*id),
        TopicKey::Name(name) => image.topic(name),
    };
    match topic.and_then(|topic| topic.partition(entry.partition)) {
        Some(state) if moved => FetchResponseResponsePartitionCurrentLeader {
            leader_id: state.leader.map_or(-1, |leader| leader.0),
            leader_epoch: state.leader_epoch.0,
        },
        _ => Default::default(),
    }
}
