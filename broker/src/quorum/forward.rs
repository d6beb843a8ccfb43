//! Changes of metadata on their way to the broker that leads the quorum.
//!
//! Owns finding the leader, asking again where nothing was begun, and waiting until this broker's own cores know of the
//! change. Leaves deciding to the leader's `proposer.rs`.

use std::sync::Arc;
use std::time::Duration;

use ::admin::control as pb;
use bytes::Bytes;
use protocol::ErrorCode;

use super::handle::{Answered, Publisher, Refused, Submitted};
use super::members::Members;
use super::peers::{Client, PeerError};
use crate::metadata::Request;
use crate::rt::control;
use crate::rt::control::sync::{Semaphore, mpsc};
use crate::rt::{Instant, now};

/// Changes under way at once; more are refused, and politely.
const MOST: usize = 512;
/// A leader that does not answer a repeatable change by then is asked again, or its successor is.
const ONE_CALL: Duration = Duration::from_secs(2);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Carries changes to the leader.
pub(super) struct Forwarder {
    pub(super) members: Members,
    pub(super) publisher: Arc<Publisher>,
    /// Where a change goes when this broker leads by now.
    pub(super) queue: mpsc::WeakSender<Submitted>,
    pub(super) room: Arc<Semaphore>,
}

impl Forwarder {
    pub(super) fn new(
        members: Members,
        publisher: Arc<Publisher>,
        queue: mpsc::WeakSender<Submitted>,
    ) -> Forwarder {
        Forwarder {
            members,
            publisher,
            queue,
            room: Arc::new(Semaphore::new(MOST)),
        }
    }

    /// Takes a change to the leader, in a task of its own.
    pub(super) fn carry(&self, submitted: Submitted) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let message = format!(
                "{MOST} changes of metadata are on their way to the quorum's leader already; try again"
            );
            return submitted
                .slot
                .answer(Err(Refused::new(ErrorCode::RequestTimedOut, message)));
        };
        let (members, publisher, queue) = (self.members.clone(), self.publisher.clone(), self.queue.clone());
        control::spawn(async move {
            let _permit = permit;
            carry(members, publisher, queue, submitted).await;
        });
    }
}

async fn carry(
    members: Members,
    publisher: Arc<Publisher>,
    queue: mpsc::WeakSender<Submitted>,
    submitted: Submitted,
) {
    let body = match encode(&submitted.request) {
        Ok(body) => body,
        Err(words) => {
            let refused = Refused::new(ErrorCode::UnknownServerError, words);
            return submitted.slot.answer(Err(refused));
        }
    };
    // The deadline answers for us; nothing is begun after it.
    while !submitted.slot.is_answered() && now() < submitted.deadline {
        match members.leader() {
            Some((leader, _)) if leader == members.peers.here() => {
                let Some(queue) = queue.upgrade() else { return };
                let slot = submitted.slot.clone();
                if queue.try_send(submitted).is_err() {
                    slot.answer(Err(Refused::stopping()));
                }
                return;
            }
            Some((leader, address)) => {
                match ask(&members, leader, &address, &submitted, body.clone()).await {
                    Asked::Answered(answered) => {
                        publisher.installed_upto(answered.offset).await;
                        return submitted.slot.answer(Ok(answered));
                    }
                    Asked::Refused(refused) => return submitted.slot.answer(Err(refused)),
                    Asked::NotBegun => control::sleep(AGAIN_AFTER).await,
                }
            }
            None => control::sleep(AGAIN_AFTER).await,
        }
    }
}

enum Asked {
    Answered(Answered),
    Refused(Refused),
    /// Nothing was done, or doing it again does no harm.
    NotBegun,
}

async fn ask(members: &Members, leader: super::Voter, address: &str, it: &Submitted, body: Bytes) -> Asked {
    let repeatable = repeatable(&it.request);
    let left = left(it.deadline);
    let within = if repeatable { left.min(ONE_CALL) } else { left };
    let message = pb::SubmitRequest {
        caller: Some(members.peers.caller(Some(leader))),
        request: body,
        within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
    };
    let call = |mut client: Client| async move { client.submit(message).await };
    let reply: pb::SubmitReply = match members.peers.call(address, within, call).await {
        Ok(reply) => reply,
        Err(PeerError::Unreachable(_) | PeerError::Refused { .. }) => return Asked::NotBegun,
        Err(PeerError::Lost(_) | PeerError::TimedOut(..)) if repeatable => return Asked::NotBegun,
        Err(error) => {
            let message = format!(
                "the quorum's leader was asked and did not answer; the change may still happen: {error}"
            );
            return Asked::Refused(Refused::new(ErrorCode::RequestTimedOut, message));
        }
    };
    if reply.code == i32::from(ErrorCode::NotController.code()) {
        return Asked::NotBegun;
    }
    if reply.code != 0 {
        let code = i16::try_from(reply.code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code);
        return Asked::Refused(Refused::new(code, reply.message));
    }
    match decode(&reply.reply) {
        Ok(decoded) => Asked::Answered(Answered {
            reply: decoded,
            offset: reply.offset,
        }),
        Err(words) => Asked::Refused(Refused::new(ErrorCode::UnknownServerError, words)),
    }
}

fn left(deadline: Instant) -> Duration {
    deadline - now()
}

/// Whether doing it twice is the same as doing it once: guarded by an epoch or an id, or a plain setting.
fn repeatable(request: &Request) -> bool {
    matches!(
        request,
        Request::RegisterBroker(_)
            | Request::FenceBroker { .. }
            | Request::ControlledShutdown { .. }
            | Request::AlterPartition { .. }
            | Request::GiveUpDamaged { .. }
            | Request::LogEnds { .. }
            | Request::UpdateListeners { .. }
            | Request::SetDynamicConfigs { .. }
            | Request::AllocateProducerIds { .. }
    )
}

/// A request or reply as it travels: MessagePack with the names of fields, so that brokers of neighbouring versions
/// understand each other.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Bytes, String> {
    let bytes = rmp_serde::to_vec_named(value);
    bytes.map(Bytes::from).map_err(|error| error.to_string())
}

/// See [`encode`].
pub(super) fn decode_request<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("a forwarded change means nothing here: {error}"))
}

/// See [`encode`].
pub(super) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("the leader's answer means nothing here: {error}"))
}
