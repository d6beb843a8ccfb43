//! From a frame to an answer: the header, the row of the table, the body, the handler, the encoded reply.
//!
//! Owns what all handlers share (the core's context, who is asking) and the two ways a request ends without a handler:
//! an unknown version of ApiVersions is answered, anything else that cannot be decoded or is not served closes the connection
//! with one clear line, because the protocol has no other answer for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use protocol::frame::{self, RequestHeader};
use protocol::{ApiKey, Decoder, Frame, Message, Request, Str};

use super::api_versions;
use super::fetch::session::SessionCache;
use crate::rt::local::Permit;
use crate::shard::Shard;

/// What the handlers of one core share. Never leaves its thread.
pub struct Core {
    /// The core itself.
    pub shard: Rc<Shard>,
    /// Incremental fetch sessions of the connections of this core.
    pub sessions: RefCell<SessionCache>,
    rows: BTreeMap<i16, Row>,
}

impl Core {
    /// The handlers' side of `shard`, with room for `fetch_sessions` sessions.
    pub fn new(shard: Rc<Shard>, fetch_sessions: usize) -> Rc<Core> {
        let rows = super::table()
            .into_iter()
            .map(|row| (row.key.code(), row))
            .collect();
        Rc::new(Core {
            shard,
            sessions: RefCell::new(SessionCache::new(fetch_sessions)),
            rows,
        })
    }

    /// The served requests in key order.
    pub fn served(&self) -> impl Iterator<Item = ApiKey> {
        self.rows.values().map(|row| row.key)
    }
}

/// Who is asking.
pub struct Connection {
    /// The core that accepted it.
    pub core: Rc<Core>,
    /// Name of the listener it came in on.
    pub listener: Arc<str>,
    /// The client's address.
    pub peer: SocketAddr,
}

/// One request's surroundings.
pub struct Ctx {
    /// The connection it came on.
    pub connection: Rc<Connection>,
    /// Which request it is.
    pub key: ApiKey,
    /// Version, correlation id, client id.
    pub header: RequestHeader,
}

impl Ctx {
    /// The core that serves it.
    pub fn shard(&self) -> &Rc<Shard> {
        &self.connection.core.shard
    }

    /// Version of the request and of its answer.
    pub fn version(&self) -> i16 {
        self.header.api_version
    }
}

/// Whether a request may run beside others of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It waits for the ones before it, and the ones behind wait for it. What clients expect unless a row says otherwise.
    Alone,
    /// It starts in order and may be waiting while the next one starts. Everything that must happen in order (appends)
    /// happens before the handler first waits.
    Together,
}

/// How a request ended.
pub enum Outcome {
    /// Send this.
    Reply(Frame),
    /// Send nothing (`acks=0`).
    Silent,
    /// Close the connection, for this reason.
    Refuse(String),
}

/// One row of the table.
pub(crate) struct Row {
    key: ApiKey,
    order: Order,
    serve: Box<dyn Fn(Ctx, Decoder) -> LocalBoxFuture<'static, Outcome>>,
}

/// Requests whose entries take less memory than this are not counted: nearly all.
const SMALL: usize = 1 << 20;

/// Reads a body. A large one keeps its share of the core's memory for decoded requests until it is answered; while there is
/// none it is forgotten again and read once more later, so that those who wait hold their frame alone.
async fn decode<R: Request>(ctx: &Ctx, order: Order, body: Decoder) -> Result<(R, Option<Permit>), String> {
    let read = || {
        let mut body = body.clone();
        // Bytes behind the message are let go of, as Kafka does: librdkafka 2.11 sends three with each Metadata request for
        // all topics.
        let request = R::decode(&mut body, ctx.version())
            .map_err(|error| format!("its body cannot be decoded: {error}"))?;
        Ok::<_, String>((request, body.decoded_bytes()))
    };
    let (request, bytes) = read()?;
    if bytes < SMALL {
        return Ok((request, None));
    }
    let budget = &ctx.shard().decoded_budget;
    match (budget.try_acquire(bytes), order) {
        (Some(permit), _) => Ok((request, Some(permit))),
        // Waiting would let the requests behind it overtake it.
        (None, Order::Together) => Err("it names too much while other large requests are served".into()),
        (None, Order::Alone) => {
            drop(request);
            let permit = budget.acquire(bytes).await;
            Ok((read()?.0, Some(permit)))
        }
    }
}

/// Makes a row of a handler.
pub(crate) fn row<R, A, H>(order: Order, handler: H) -> Row
where
    R: Request + 'static,
    A: Into<Answer<R::Response>>,
    H: AsyncFn(&Ctx, R) -> A + Copy + 'static,
{
    let serve = move |ctx: Ctx, body: Decoder| -> LocalBoxFuture<'static, Outcome> {
        Box::pin(async move {
            // Takes the body along: it would keep the frame for as long as the request waits.
            let (request, _decoded) = match decode::<R>(&ctx, order, body).await {
                Ok(decoded) => decoded,
                Err(why) => return ctx.refuse(&why),
            };
            match handler(&ctx, request).await.into() {
                Answer::Reply(response) => {
                    encode(ctx.key, ctx.version(), ctx.header.correlation_id, &response)
                }
                Answer::Silent => Outcome::Silent,
                Answer::Close(why) => ctx.refuse(&why),
            }
        })
    };
    Row {
        key: R::KEY,
        order,
        serve: Box::new(serve),
    }
}

/// What a handler returns: an answer, or for `acks=0` none.
pub enum Answer<T> {
    /// An answer.
    Reply(T),
    /// Nothing to send.
    Silent,
    /// Close the connection, for this reason.
    Close(String),
}

impl<T> From<T> for Answer<T> {
    fn from(response: T) -> Answer<T> {
        Answer::Reply(response)
    }
}

impl Ctx {
    fn refuse(&self, why: &str) -> Outcome {
        let client = self.header.client_id.as_deref().unwrap_or("");
        Outcome::Refuse(format!(
            "{} version {} of client {client:?}: {why}",
            self.key.name(),
            self.version()
        ))
    }
}

/// A whole answer, ready to be sent.
pub(super) fn encode<T: Message>(key: ApiKey, version: i16, correlation_id: i32, response: &T) -> Outcome {
    match frame::encode_response(key, version, correlation_id, response) {
        Ok(frame) => Outcome::Reply(frame),
        Err(error) => Outcome::Refuse(format!("{} version {version}: answer: {error}", key.name())),
    }
}

/// The versions of an API that this broker serves: all the codec knows, but for those that Kafka itself holds back.
pub(super) fn served_versions(key: ApiKey) -> RangeInclusive<i16> {
    match key {
        // Version 6 (two-phase commit, KIP-939) is unstable in Kafka 4.4.
        ApiKey::InitProducerId => 0..=5,
        _ => key.versions(),
    }
}

/// How long a change may take by a request's own `timeout_ms`.
pub(super) fn deadline(timeout_ms: i32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(300);
    Duration::from_millis(timeout_ms.max(1) as u64).min(LONGEST)
}

/// How the request in `frame` goes with its neighbours. Unknown ones are refused alone.
pub fn order(core: &Core, frame: &Bytes) -> Order {
    peek(frame)
        .and_then(|(key, _)| core.rows.get(&key))
        .map_or(Order::Alone, |row| row.order)
}

/// Key and version, the first four bytes of every request.
fn peek(frame: &Bytes) -> Option<(i16, i16)> {
    let key = i16::from_be_bytes(frame.get(0..2)?.try_into().ok()?);
    let version = i16::from_be_bytes(frame.get(2..4)?.try_into().ok()?);
    Some((key, version))
}

/// Serves one request.
pub async fn serve(connection: Rc<Connection>, frame: Bytes) -> Outcome {
    let core = connection.core.clone();
    core.shard.counters.requested(frame.len() as u64);
    let Some((key, version)) = peek(&frame) else {
        return Outcome::Refuse("a request without a header".into());
    };
    let Some(row) = core.rows.get(&key) else {
        return Outcome::Refuse(format!("request key {key} version {version} is not served"));
    };
    if !served_versions(row.key).contains(&version) {
        return if row.key == ApiKey::ApiVersions {
            api_versions::unknown_version(&core, &frame)
        } else {
            Outcome::Refuse(format!("{} version {version} is not served", row.key.name()))
        };
    }
    let mut body = Decoder::new(frame);
    match RequestHeader::decode(&mut body) {
        Ok(mut header) => {
            // Its own copy, for the same reason: see `row`.
            header.client_id = header.client_id.map(|id| Str::copy_from(&id));
            (row.serve)(
                Ctx {
                    connection,
                    key: row.key,
                    header,
                },
                body,
            )
            .await
        }
        Err(error) => Outcome::Refuse(format!(
            "{} version {version}: bad header: {error}",
            row.key.name()
        )),
    }
}
