//! What the quorum's leader does beside deciding: it forms the cluster's first record, listens for signs of life, and
//! fences brokers that give none.
//!
//! Owns the duties of one leader, begun anew with every term. Leaves deciding to `proposer.rs` and `metadata/`, expiry to
//! `sessions.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::admin::control as pb;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::ReadPolicy;
use protocol::ErrorCode;
use protocol::ids::NodeId;

use super::electing::{AGAIN_AFTER, Electing};
use super::handle::{AskedVoters, Handle, Refused};
use super::members::Members;
use super::proposer::not_leader;
use super::raft::Proposal;
use super::sessions::Sessions;
use super::succession;
use super::types::Voter;
use super::voters::{Known, Seen, Signs, VotersReply, VotersRequest};
use crate::metadata::{Broker, Defaults, Record, Reply, Request, record, statics};
use crate::rt::control::sync::{Semaphore, mpsc};
use crate::rt::control::{self, ControlTask};
use crate::rt::{Instant, now, wall_ms};

/// How often sessions are looked at.
const SWEEP: Duration = Duration::from_millis(100);
/// A change that fences or unfences must be through by then, or is begun again.
const FENCE_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts at that.
const FENCE_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Questions about voters that are on their way at once.
const VOTERS_ASKED: usize = 64;
/// Leaderships that move at once: clients of each look up its new leader.
const BALANCED_AT_ONCE: usize = 1_000;
/// What is left of the session of a predecessor at least, however long nothing was heard of it.
const LEAST_LEFT: Duration = Duration::from_millis(300);
/// How often a broker whose connection broke is looked at, and the time between.
const LOOKS: u32 = 10;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Broken connections not yet looked at.
const LOST_LEN: usize = 256;

/// A broker's connection ended: node and broker epoch.
pub(super) type Lost = (NodeId, i64);

/// The leader's duties of this broker; idle while another leads.
#[derive(Clone)]
pub(super) struct Leading(Arc<Shared>);

struct Shared {
    members: Members,
    handle: Handle,
    electing: Electing,
    /// What this broker was given at start.
    defaults: Defaults,
    session_timeout: Duration,
    balance_every: Option<Duration>,
    term: Mutex<Option<Term>>,
    lost: mpsc::Sender<Lost>,
}

/// One term in which this broker leads and knows everything that earlier leaders committed.
struct Term {
    number: u64,
    sessions: Sessions,
    /// Nodes whose fencing or unfencing is being decided.
    changing: BTreeSet<NodeId>,
    /// Brokers that asked to stop, in this life: None while that is being decided, then the entry after which nobody
    /// counts on them.
    leaving: BTreeMap<(NodeId, i64), Option<u64>>,
    /// Fenced brokers that give signs of life, and the entry they must know before they serve again: by the first such sign
    /// everything was decided that their fencing led to.
    returning: BTreeMap<(NodeId, i64), u64>,
    /// When leaders were balanced last.
    balanced: Instant,
    /// Members' last signs of life.
    signs: Signs,
    known: Known,
    /// When members had everything last, in ms since 1970.
    caught_up: BTreeMap<Voter, i64>,
}

/// A broker's sign of life.
pub(super) struct Sign {
    pub(super) from: Voter,
    /// Of the broker, not of the quorum.
    pub(super) epoch: i64,
    /// What all of its cores have installed.
    pub(super) applied: u64,
    pub(super) stopping: bool,
    /// host:port of its control listener.
    pub(super) address: String,
    pub(super) wants_vote: bool,
    /// Its disk has not answered for a while.
    pub(super) disk_stalled: bool,
}

impl Leading {
    /// Not leading yet. The receiver is for [`Leading::watch_lost`].
    pub(super) fn new(
        members: Members,
        handle: Handle,
        defaults: Defaults,
        session_timeout: Duration,
        balance_every: Option<Duration>,
    ) -> (Leading, mpsc::Receiver<Lost>) {
        let (lost, losses) = mpsc::channel(LOST_LEN);
        let shared = Shared {
            electing: Electing::new(members.clone()),
            members,
            handle,
            defaults,
            session_timeout,
            balance_every,
            term: Mutex::default(),
            lost,
        };
        (Leading(Arc::new(shared)), losses)
    }

    fn term<T>(&self, with: impl FnOnce(&mut Option<Term>) -> T) -> T {
        with(&mut self.0.term.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the process that registered so may still run.
    pub(super) fn lives(&self, broker: &Broker) -> bool {
        self.term(|term| match term {
            Some(term) => term.sessions.lives(broker, now()),
            None => !broker.fenced,
        })
    }

    /// Whether nobody else can lead.
    pub(super) fn is_sure(&self) -> bool {
        self.0.members.surely_leads()
    }

    /// Where the end of a broker's connection is told. A full channel loses it: the session will expire.
    pub(super) fn lost(&self) -> mpsc::Sender<Lost> {
        self.0.lost.clone()
    }

    /// Begins and ends terms. Runs as long as the quorum.
    pub(super) async fn run(self) {
        let mut metrics = self.0.members.raft.metrics();
        let here = self.0.members.peers.here();
        let mut predecessor = None;
        loop {
            let mine = self.0.members.leads();
            let other = self.0.members.leader().filter(|(leader, _)| *leader != here);
            predecessor = other.map(|(leader, _)| leader).or(predecessor);
            let number = metrics.borrow_watched().current_term;
            let begun = self.term(|term| term.as_ref().map(|term| term.number));
            if !mine {
                self.term(|term| *term = None);
            } else if begun != Some(number) {
                self.term(|term| *term = None);
                match self.begin().await {
                    Ok(()) => {
                        tracing::info!(term = number, "this broker leads the metadata quorum");
                        let sessions = self.sessions_after(predecessor.take());
                        self.term(|term| {
                            *term = Some(Term {
                                number,
                                sessions,
                                changing: BTreeSet::new(),
                                leaving: BTreeMap::new(),
                                returning: BTreeMap::new(),
                                balanced: now(),
                                signs: Signs::new(),
                                known: Known::new(now()),
                                caught_up: BTreeMap::new(),
                            })
                        });
                        self.look_after_all();
                    }
                    Err(why) => {
                        tracing::info!(term = number, why, "leading the metadata quorum did not begin");
                        control::sleep(SWEEP).await;
                        continue;
                    }
                }
            }
            let leads = self.term(|term| term.is_some());
            if leads {
                self.sweep();
                // A term that ends is noticed at the next sweep: what it decides meanwhile is not committed.
                control::sleep(SWEEP).await;
            } else if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// The sessions of a new term. A majority elected another leader than the predecessor, so it had not heard of that one
    /// for a lease, and this broker knows for how long it has not. Who lives still gets the time to say so.
    fn sessions_after(&self, predecessor: Option<Voter>) -> Sessions {
        let mut sessions = Sessions::new(self.0.session_timeout);
        let image = self.0.handle.image();
        let Some(predecessor) = predecessor else {
            return sessions;
        };
        if let Some(broker) = image.broker(NodeId(predecessor.node)) {
            let heard = self.0.members.leader_heard.silence(predecessor, now());
            let silence = self.0.members.lease().max(heard.unwrap_or_default());
            let most = self.0.session_timeout.saturating_sub(LEAST_LEFT);
            sessions.silent(broker.node, broker.epoch, silence.min(most), now());
        }
        sessions
    }

    /// Whoever was lost with the last leader, that leader itself mostly, is noticed at once.
    fn look_after_all(&self) {
        let here = self.0.members.peers.here().node;
        for broker in self.0.handle.image().brokers.values() {
            if broker.node.0 != here && !broker.fenced {
                // A full channel loses it: the session will expire.
                let _ = self.0.lost.try_send((broker.node, broker.epoch));
            }
        }
    }

    /// Catches up, and writes the cluster's first records where there are none. Nobody hears that this broker leads before what
    /// it was given at start holds for all.
    async fn begin(&self) -> Result<(), String> {
        let raft = &self.0.members.raft;
        let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let linearizer = linearizer.map_err(|error| error.to_string())?;
        linearizer
            .await_ready(raft)
            .await
            .map_err(|error| error.to_string())?;
        let image = self.0.handle.image();
        if !image.cluster_id.is_empty() {
            return publish_statics(&self.0.handle, &self.0.defaults).await;
        }
        let formed = record::Formed {
            cluster_id: self.0.members.peers.cluster_id().clone(),
            formed_at_ms: wall_ms(),
        };
        let formed = std::iter::once(Record::from(formed));
        let proposal = Proposal {
            records: Arc::new(formed.chain(statics::records(&image, &self.0.defaults)).collect()),
        };
        raft.client_write(proposal)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn sweep(&self) {
        let image = self.0.handle.image();
        let expired = self.term(|term| match term {
            Some(term) => term.sessions.expired(&image, now()),
            None => Vec::new(),
        });
        for (node, epoch) in expired {
            let timeout = self.0.session_timeout;
            tracing::warn!(%node, epoch, ?timeout, "broker was not heard of for a whole session; it is fenced");
            self.fence(node, epoch, true);
        }
        let roll = self.0.members.roll();
        let looked = self.term(|term| {
            let term = term.as_mut()?;
            term.known.look(&roll, now());
            let known = |voter: &Voter| roll.addresses.contains_key(voter);
            term.signs.retain(|voter, _| known(voter));
            term.caught_up.retain(|voter, _| known(voter));
            let wall = wall_ms();
            term.caught_up
                .extend(roll.caught_up.iter().map(|voter| (*voter, wall)));
            Some((term.signs.clone(), term.known.clone()))
        });
        if let Some((signs, known)) = looked {
            let registered = |voter: &Voter| {
                let broker = image.broker(NodeId(voter.node));
                broker.is_some_and(|broker| broker.directory_id == voter.directory)
            };
            self.0.electing.sweep(&signs, &known, registered);
        }
        let due = self.term(|term| {
            let (Some(term), Some(every)) = (term, self.0.balance_every) else {
                return false;
            };
            let due = now() - term.balanced >= every;
            if due {
                term.balanced = now();
            }
            due
        });
        if due {
            self.balance();
        }
    }

    /// Gives leaderships back to the brokers that should have them, some at a time.
    fn balance(&self) {
        let leading = self.clone();
        control::spawn(async move {
            let request = Request::BalanceLeaders {
                most: BALANCED_AT_ONCE,
            };
            match leading
                .0
                .handle
                .request_here(request, FENCE_WITHIN)
                .await
                .map(|it| it.reply)
            {
                Ok(Reply::BalanceLeaders(moved)) if moved > 0 => {
                    tracing::info!(moved, "leaderships were given back to preferred replicas");
                }
                _ => {}
            }
        });
    }

    /// Decides that in a task of its own, once at a time per node.
    fn fence(&self, node: NodeId, epoch: i64, fenced: bool) {
        let begins = self.term(|term| term.as_mut().is_some_and(|term| term.changing.insert(node)));
        if !begins {
            return;
        }
        let leading = self.clone();
        control::spawn(async move {
            let request = Request::FenceBroker {
                node,
                epoch: Some(epoch),
                fenced,
            };
            let decided = leading.0.handle.request_here(request, FENCE_WITHIN).await;
            if let Err(refused) = &decided {
                tracing::warn!(%node, epoch, fenced, %refused, "fencing was not decided; it is tried again");
                // A leader that cannot commit now cannot hurry either.
                control::sleep(FENCE_AGAIN_AFTER).await;
            }
            leading.term(|term| {
                let Some(term) = term else { return };
                term.changing.remove(&node);
                if decided.is_ok() {
                    // Fenced again, it has to know what that leads to, not only what the last time did.
                    term.returning.remove(&(node, epoch));
                }
            });
        });
    }

    /// Describes or changes the voters, as the leader; see [`Electing::answer`].
    pub(super) async fn voters(
        &self,
        request: VotersRequest,
        deadline: Instant,
    ) -> Result<VotersReply, Refused> {
        let signs = || self.term(|term| term.as_ref().map(|term| term.signs.clone()));
        let caught_up = || self.term(|term| term.as_ref().map(|term| term.caught_up.clone()));
        let electing = &self.0.electing;
        electing
            .answer(request, deadline, signs, || caught_up().unwrap_or_default())
            .await
    }

    /// Asks the leader, whoever that is, until the deadline.
    async fn ask_voters(&self, request: VotersRequest, deadline: Instant) -> Result<VotersReply, Refused> {
        let members = &self.0.members;
        loop {
            let answered = match members.leader() {
                Some((leader, _)) if leader == members.peers.here() => {
                    self.voters(request.clone(), deadline).await
                }
                Some((leader, address)) => {
                    let electing = &self.0.electing;
                    electing.call(leader, &address, &request, deadline).await
                }
                None => Err(not_leader(None)),
            };
            match answered {
                Err(refused)
                    if refused.code == ErrorCode::NotController && now() + AGAIN_AFTER < deadline =>
                {
                    control::sleep(AGAIN_AFTER).await;
                }
                answered => return answered,
            }
        }
    }

    /// Carries questions about voters to the leader. Runs as long as the quorum.
    pub(super) async fn run_voters(self, mut asked: mpsc::Receiver<AskedVoters>) {
        let room = Arc::new(Semaphore::new(VOTERS_ASKED));
        while let Some(asked) = asked.recv().await {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            let leading = self.clone();
            control::spawn(async move {
                let _permit = permit;
                let AskedVoters {
                    request,
                    deadline,
                    answer,
                } = asked;
                answer(leading.ask_voters(request, deadline).await);
            });
        }
    }

    /// Who asks to join, or how far it has to catch up, lives. It sends no heartbeats yet.
    pub(super) fn asked(&self, from: Voter) {
        self.term(|term| {
            let Some(term) = term else { return };
            let seen = Seen {
                at: now(),
                // Whatever it was before: it may have come back elsewhere.
                address: String::new(),
                wants_vote: false,
            };
            term.signs.insert(from, seen);
        });
    }

    /// A broker lives.
    pub(super) fn heartbeat(&self, sign: Sign) -> pb::HeartbeatReply {
        let Sign {
            from,
            epoch,
            applied,
            stopping,
            address,
            wants_vote,
            disk_stalled,
        } = sign;
        let node = NodeId(from.node);
        let mut reply = pb::HeartbeatReply::default();
        // A leader that a majority does not hear may have been replaced: it counts on nobody, itself included.
        let surely = self.0.members.surely_leads();
        let leads = self.term(|term| match term {
            Some(term) => {
                term.sessions.heard(node, epoch, now());
                term.signs.insert(
                    from,
                    Seen {
                        at: now(),
                        address,
                        wants_vote,
                    },
                );
                true
            }
            None => false,
        });
        if !(leads && surely) {
            reply.not_leader = true;
            return reply;
        }
        let image = self.0.handle.image();
        let Some(broker) = image.broker(node).filter(|broker| broker.epoch == epoch) else {
            reply.stale_epoch = true;
            return reply;
        };
        reply.fenced = broker.fenced;
        if stopping {
            reply.may_stop = self.may_stop(node, epoch, applied);
        }
        let knows_enough = self.term(|term| {
            let Some(term) = term else { return false };
            if !broker.fenced {
                term.returning.remove(&(node, epoch));
                return true;
            }
            // A broker that was paused or cut off still believes that it leads what others lead by now.
            let needed = *term.returning.entry((node, epoch)).or_insert(image.offset);
            applied >= needed
        });
        if broker.fenced && !stopping && !disk_stalled && knows_enough {
            self.fence(node, epoch, false);
        }
        // Who is about to stop gives everything up anyway, and says so with every sign.
        if !broker.fenced && !stopping && (disk_stalled || broker.stopping) {
            self.disk_stalled(node, epoch, disk_stalled);
        }
        reply
    }

    /// Decides what a stalled disk means, in a task of its own, once at a time per node.
    fn disk_stalled(&self, node: NodeId, epoch: i64, stalled: bool) {
        let begins = self.term(|term| {
            let Some(term) = term else { return false };
            // It does not want to stop, or not any more.
            term.leaving.remove(&(node, epoch));
            term.changing.insert(node)
        });
        if !begins {
            return;
        }
        let leading = self.clone();
        control::spawn(async move {
            let request = Request::DiskStalled { node, epoch, stalled };
            let answered = leading.0.handle.request_here(request, FENCE_WITHIN).await;
            match answered.map(|answered| answered.reply) {
                Ok(Reply::DiskStalled(Ok(changed))) if stalled && changed > 0 => tracing::warn!(
                    %node, epoch, partitions = changed,
                    "the disk of a broker does not answer; others lead and go on without it where enough are in sync: look \
                     after that disk"
                ),
                Ok(Reply::DiskStalled(Ok(_))) if !stalled => {
                    tracing::info!(%node, epoch, "the disk of a broker answers again");
                }
                Ok(_) => {}
                Err(refused) => {
                    tracing::warn!(%node, epoch, stalled, %refused, "what a stalled disk means was not decided; tried again");
                    control::sleep(FENCE_AGAIN_AFTER).await;
                }
            }
            leading.term(|term| term.as_mut().map(|term| term.changing.remove(&node)));
        });
    }

    /// Begins what a broker's wish to stop asks for; true once it is decided, and the broker's cores know.
    fn may_stop(&self, node: NodeId, epoch: i64, applied: u64) -> bool {
        let key = (node, epoch);
        let known = self.term(|term| {
            let term = term.as_mut()?;
            match term.leaving.get(&key) {
                Some(known) => Some(*known),
                None => {
                    term.leaving.insert(key, None);
                    None
                }
            }
        });
        if let Some(decided) = known {
            return decided.is_some_and(|decided| applied >= decided);
        }
        let leading = self.clone();
        control::spawn(async move {
            let request = Request::ControlledShutdown { node, epoch };
            let answered = leading.0.handle.request_here(request, FENCE_WITHIN).await;
            if let Ok(Reply::ControlledShutdown(Ok(still_led))) =
                answered.as_ref().map(|answered| &answered.reply)
            {
                tracing::info!(%node, epoch, still_led, "broker is about to stop; its leaderships moved where they could");
            }
            leading.term(|term| {
                let Some(term) = term else { return };
                match answered {
                    Ok(answered) => term.leaving.insert(key, Some(answered.offset)),
                    // Asked again with the next heartbeat.
                    Err(_) => term.leaving.remove(&key).flatten().map(Some),
                };
            });
        });
        false
    }

    /// Looks after brokers whose connection broke: one that cannot be connected to again is fenced at once.
    pub(super) async fn watch_lost(self, mut losses: mpsc::Receiver<Lost>) {
        while let Some(lost) = losses.recv().await {
            let leading = self.clone();
            let _: ControlTask<()> = control::spawn(async move { leading.look_after(lost).await });
        }
    }

    /// Fences a broker whose connection ended if nobody listens at its address. A process that is killed may close its
    /// connections before the socket that takes new ones, and a life may end before its unfencing is known here: so it is
    /// looked at for a while.
    async fn look_after(&self, (node, epoch): Lost) {
        for _ in 0..LOOKS {
            let image = self.0.handle.image();
            let Some(broker) = image.broker(node).filter(|broker| broker.epoch == epoch) else {
                return;
            };
            if self.term(|term| term.is_none()) {
                return;
            }
            let voter = Voter {
                node: node.0,
                directory: broker.directory_id,
            };
            if let Some(address) = self.0.members.address(voter).filter(|_| !broker.fenced)
                && succession::is_gone(&address).await
            {
                self.term(|term| term.as_mut().map(|term| term.sessions.ended(node, epoch, now())));
                tracing::warn!(%node, epoch, address, "broker's connection broke and nobody listens there; it is fenced");
                return self.fence(node, epoch, true);
            }
            control::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// Makes what this broker, which leads, was given at start hold for the cluster, where there is one value for all.
pub(super) async fn publish_statics(handle: &Handle, defaults: &Defaults) -> Result<(), String> {
    let image = handle.image();
    let mut differing = statics::differing(&image, defaults).peekable();
    if differing.peek().is_none() {
        return Ok(());
    }
    let answered = handle.request_here(Request::PublishStatics, FENCE_WITHIN).await;
    answered.map_err(|refused| refused.to_string())?;
    for (name, own, held) in differing {
        tracing::info!(
            name,
            value = own,
            before = held,
            "holds for the whole cluster where nothing else is set, as given to this broker, which leads the metadata quorum"
        );
    }
    Ok(())
}
