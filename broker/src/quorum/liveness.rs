//! This broker's life in the cluster: it registers at start, with a random incarnation id by which a restart is seen, and
//! tells the quorum's leader that it lives.
//!
//! Owns registration and heartbeats of one incarnation. Leaves judging silence to the leader's `leading.rs`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::admin::control as pb;
use futures::future::{Either, select};
use protocol::ErrorCode;
use protocol::ids::NodeId;

use super::Quorum;
use super::handle::{Handle, Publisher, Refused};
use super::leading::{Leading, Sign};
use super::members::Members;
use super::peers::Client;
use super::succession;
use crate::metadata::{Registration, Reply, Request};
use crate::rt::control::sync::watch;
use crate::rt::control::{self, ControlTask};
use crate::rt::{Instant, now};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Between two lines about what a registration waits for.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// While it is fenced, or has no leader to tell, a broker asks more often.
const EAGER: Duration = Duration::from_millis(50);

/// Registers this broker and returns its epoch. Asks again while the quorum has no leader; the same incarnation
/// registers once however often it asks. While another process runs as this broker it waits for the end of that one, as it may
/// be on its way down; `waits` is told. A refusal that will not change is returned.
pub async fn register(
    quorum: &Handle,
    registration: &Registration,
    waits: impl Fn(&str),
) -> Result<i64, Refused> {
    let mut said: Option<Instant> = None;
    loop {
        let request = Request::RegisterBroker(registration.clone());
        match quorum.request(request, ANSWER_WITHIN).await {
            Ok(Reply::RegisterBroker(Ok(registered))) => return Ok(registered.epoch),
            Ok(Reply::RegisterBroker(Err(error))) if error.code == ErrorCode::DuplicateBrokerRegistration => {
                waits(&error.message);
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    tracing::error!(node = %registration.node, "{}; this process waits for that", error.message);
                    said = Some(now());
                }
                control::sleep(AGAIN_AFTER).await;
            }
            Ok(Reply::RegisterBroker(Err(error))) => return Err(Refused::new(error.code, error.message)),
            Ok(other) => {
                return Err(Refused::new(
                    ErrorCode::UnknownServerError,
                    format!("answered with {other:?}"),
                ));
            }
            Err(refused) if refused.code.retriable() && quorum.state().failed.is_none() => {
                tracing::info!(%refused, "registration is asked again");
                control::sleep(AGAIN_AFTER).await;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// What the leader last said of this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// It may lead and serve, as far as the leader's last answer says.
    pub unfenced: bool,
    /// Asked to stop, and nothing is lost by it.
    pub may_stop: bool,
}

/// Whether this broker's disk has not answered for longer than others should wait for it. Any thread.
pub type DiskStalled = Arc<dyn Fn() -> bool + Send + Sync>;

/// Signs of life, as long as it is held.
pub struct Heartbeats {
    standing: watch::Receiver<Standing>,
    stopping: watch::Sender<bool>,
    task: ControlTask<()>,
}

impl Heartbeats {
    /// Begins to tell the leader that this incarnation lives, and whether its disk does. One per registration.
    pub fn begin(
        quorum: &Quorum,
        node: NodeId,
        epoch: i64,
        every: Duration,
        disk_stalled: DiskStalled,
    ) -> Heartbeats {
        let (tell, standing) = watch::channel(Standing::default());
        let (stopping, asked) = watch::channel(false);
        let beating = Beating {
            members: quorum.members.clone(),
            leading: quorum.leading.clone(),
            handle: quorum.handle.clone(),
            publisher: quorum.publisher.clone(),
            node,
            epoch,
            place: quorum.place.clone().unwrap_or_default(),
            every,
            disk_stalled,
            tell,
            asked,
            attending: None,
            ended: watch::channel(()),
        };
        let task = quorum.control.spawn(beating.run());
        Heartbeats {
            standing,
            stopping,
            task,
        }
    }

    /// Waits until the leader says that this broker may serve. Unbounded: a broker that nobody unfences is not ready.
    pub async fn unfenced(&self) {
        let mut standing = self.standing.clone();
        // Ends only with the task, which is with the process.
        let _ = standing.wait_for(|standing| standing.unfenced).await;
    }

    /// Asks for leave to stop, for at most `within`. Whether it was given.
    pub async fn ask_to_stop(&self, within: Duration) -> bool {
        self.stopping.send_replace(true);
        let mut standing = self.standing.clone();
        let given = control::timeout(within, standing.wait_for(|standing| standing.may_stop)).await;
        matches!(given, Ok(Ok(_)))
    }

    /// No more signs of life.
    pub fn end(self) {
        self.task.abort();
    }
}

struct Beating {
    members: Members,
    leading: Leading,
    handle: Handle,
    publisher: Arc<Publisher>,
    node: NodeId,
    epoch: i64,
    /// Its control listener, and whether it is to vote.
    place: (String, bool),
    every: Duration,
    disk_stalled: DiskStalled,
    tell: watch::Sender<Standing>,
    asked: watch::Receiver<bool>,
    /// The open connection to a leader, by which it notices our end.
    attending: Option<(super::Voter, ControlTask<()>)>,
    /// Told when that connection ends.
    ended: (watch::Sender<()>, watch::Receiver<()>),
}

impl Beating {
    async fn run(mut self) {
        loop {
            let stopping = *self.asked.borrow_and_update();
            let sent = now();
            let answered = self.beat(stopping).await;
            if let Some(reply) = &answered {
                if !reply.fenced && !reply.stale_epoch {
                    self.handle.well(sent);
                }
                if reply.stale_epoch {
                    tracing::error!(
                        node = %self.node,
                        epoch = self.epoch,
                        "another process registered as this broker; this one is not part of the cluster any more"
                    );
                }
                let standing = Standing {
                    unfenced: !reply.fenced && !reply.stale_epoch,
                    may_stop: reply.may_stop,
                };
                self.tell.send_if_modified(|known| {
                    let changed = *known != standing;
                    *known = standing;
                    changed
                });
            }
            let calm = answered.is_some_and(|reply| !reply.fenced && !stopping);
            let wait = if calm { self.every } else { EAGER.min(self.every) };
            let lost = {
                let (asked, ended) = (pin!(self.asked.changed()), pin!(self.ended.1.changed()));
                let woken = control::timeout(wait, select(asked, ended)).await;
                matches!(woken, Ok(Either::Right(_)))
            };
            if lost {
                // Whoever leads next must be able to notice our end too, not only after the next beat that was due.
                self.ended.1.borrow_and_update();
                control::sleep(EAGER.min(wait)).await;
            }
        }
    }

    async fn beat(&mut self, stopping: bool) -> Option<pb::HeartbeatReply> {
        let (leader, address) = self.members.leader()?;
        let applied = self.publisher.surely_installed();
        let (own_address, wants_vote) = self.place.clone();
        let disk_stalled = (self.disk_stalled)();
        let reply = if leader == self.members.peers.here() {
            self.attending = None;
            self.leading.heartbeat(Sign {
                from: leader,
                epoch: self.epoch,
                applied,
                stopping,
                address: own_address,
                wants_vote,
                disk_stalled,
            })
        } else {
            self.attend(leader, &address);
            let message = pb::HeartbeatRequest {
                caller: Some(self.members.peers.caller(Some(leader))),
                broker_epoch: self.epoch,
                applied,
                stopping,
                address: own_address,
                wants_vote,
                disk_stalled,
            };
            let call = |mut client: Client| async move { client.heartbeat(message).await };
            let reply = self
                .members
                .peers
                .call(&address, self.every.max(EAGER) * 2, call)
                .await;
            reply
                .inspect_err(|error| tracing::debug!(%error, "a heartbeat was not answered"))
                .ok()?
        };
        (!reply.not_leader).then_some(reply)
    }

    /// Keeps a stream open to the leader; opens it again when it broke or the leader is another one.
    fn attend(&mut self, leader: super::Voter, address: &str) {
        let open = self
            .attending
            .as_ref()
            .is_some_and(|(to, task)| *to == leader && !task.is_finished());
        if open {
            return;
        }
        if let Some((_, task)) = self.attending.take() {
            task.abort();
        }
        let message = pb::AttendRequest {
            caller: Some(self.members.peers.caller(Some(leader))),
            broker_epoch: self.epoch,
        };
        let (members, address) = (self.members.clone(), address.to_string());
        let ended = self.ended.0.clone();
        let task = control::spawn(async move {
            let call = |mut client: Client| async move { client.attend(message).await };
            if let Ok(mut beats) = members.peers.call(&address, ANSWER_WITHIN, call).await {
                while let Ok(Some(_)) = beats.message().await {}
            }
            ended.send_replace(());
            if succession::is_gone(&address).await {
                members.succeed(leader).await;
            }
        });
        self.attending = Some((leader, task));
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        if let Some((_, task)) = self.attending.take() {
            task.abort();
        }
    }
}

/// Lets this broker lead and serve, or takes that away.
pub async fn fence(quorum: &Handle, node: NodeId, fenced: bool) -> Result<(), Refused> {
    let request = Request::FenceBroker {
        node,
        epoch: None,
        fenced,
    };
    match quorum.request(request, ANSWER_WITHIN).await? {
        Reply::FenceBroker(Ok(())) => Ok(()),
        Reply::FenceBroker(Err(error)) => Err(Refused::new(error.code, error.message)),
        other => Err(Refused::new(
            ErrorCode::UnknownServerError,
            format!("answered with {other:?}"),
        )),
    }
}
