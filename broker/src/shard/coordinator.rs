//! Runs a replicated state machine on a partition of an internal topic that this core leads: load, decide, append,
//! replay, answer once committed, fire timers.
//!
//! ```text
//!   ask ──▶ queue ──▶ turn: handle… fire… ──▶ one batch ──▶ flight ──(committed)──▶ answers
//! ```
//! Everything that waits when a turn begins is decided in it, and its records become one batch. Answers leave in the order
//! of their decisions, and none before every record that was appended before it is below the high watermark: nobody learns
//! of a state that a power cut could take back. When the log refuses or loses a batch, the state in memory is ahead of the
//! log; then it is thrown away, who waits is told to come again, and the next request loads the log anew.
//!
//! Owns the order of these steps for every machine. Which machines there are is in `groups.rs`, what they decide in the pure
//! folders.

mod groups;
mod load;
mod timers;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, LocalBoxFuture, pending, ready, select};
use futures::stream::{FuturesOrdered, StreamExt};
use protocol::ErrorCode;
use protocol::ids::LeaderEpoch;
use protocol::record::batch::BatchBuilder;
use protocol::record::compression::Compression;

pub use groups::{Coordinators, GroupOptions, OFFSETS_TOPIC};

use super::Shard;
use super::error::PartitionError;
use super::partitions::Partition;
pub use crate::group::{Reply, Request};
use crate::rt::local::{Answer, Event, Notify, oneshot};
use crate::rt::{self, Instant};
use crate::state_machine::{Given, IfRefused, OutcomeOf, Record, StateMachine, Ticket, TimerChange};
use timers::Timers;

/// How long a request waits for the log to be loaded before its client is told to come again.
const LOAD_PATIENCE: Duration = Duration::from_millis(500);

/// Time between two attempts to load one log.
const REST: Duration = Duration::from_millis(250);

/// A batch is closed when its records take this many bytes; a larger record has a batch to itself.
const BATCH_BYTES: usize = 512 * 1024;

/// One machine on one partition. Core-local.
pub(super) struct Runner<M: StateMachine> {
    partition: Rc<Partition>,
    /// Under which the partition was led when this began: what was committed since by another leader is not in it.
    epoch: Option<LeaderEpoch>,
    inner: RefCell<Inner<M>>,
    /// Something is in the queue, or the runner was stopped.
    wake: Notify,
    /// No longer loading.
    settled: Event,
}

enum Phase<M> {
    Loading,
    Running(M),
    /// Of no more use, for this reason, since then.
    Stopped(ErrorCode, Instant),
}

type Asker<M> = Answer<Result<<M as StateMachine>::Reply, ErrorCode>>;

struct Inner<M: StateMachine> {
    phase: Phase<M>,
    queue: VecDeque<(Ticket, M::Request)>,
    askers: BTreeMap<Ticket, Asker<M>>,
    next_ticket: u64,
    timers: Timers<M::Timer>,
    /// The log refused a batch that was replayed already: each outcome is appended before it is replayed, until the log
    /// accepts again, so that a refusal costs its asker a retry and not everybody the state.
    careful: bool,
}

/// Answers that wait for the log.
struct Flight<R> {
    replies: Vec<(Ticket, R)>,
    landed: Result<(), PartitionError>,
}

type Flights<R> = FuturesOrdered<LocalBoxFuture<'static, Flight<R>>>;

/// What a turn has decided and not appended yet.
struct Batch<R> {
    records: Vec<Record>,
    bytes: usize,
    replies: Vec<(Ticket, R)>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Batch {
            records: Vec::new(),
            bytes: 0,
            replies: Vec::new(),
        }
    }
}

impl<M> Runner<M>
where
    M: StateMachine + 'static,
{
    /// A runner that has yet to load; `run` does. `careful`: the log refused the one before it.
    pub(super) fn new(partition: Rc<Partition>, careful: bool) -> Rc<Runner<M>> {
        let inner = Inner {
            phase: Phase::Loading,
            queue: VecDeque::new(),
            askers: BTreeMap::new(),
            next_ticket: 0,
            timers: Timers::new(),
            careful,
        };
        Rc::new(Runner {
            epoch: partition.leader_epoch(),
            partition,
            inner: RefCell::new(inner),
            wake: Notify::default(),
            settled: Event::default(),
        })
    }

    /// Whether it is of no more use.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.inner.borrow().phase, Phase::Stopped(..))
    }

    /// Whether it stopped a moment ago: a log that cannot be loaded is not tried again with every request.
    pub(super) fn rests(&self) -> bool {
        match self.inner.borrow().phase {
            Phase::Stopped(_, since) => since.elapsed() < REST,
            Phase::Loading | Phase::Running(_) => false,
        }
    }

    /// Whether it runs on this partition, under its present leadership.
    pub(super) fn runs_on(&self, partition: &Rc<Partition>) -> bool {
        Rc::ptr_eq(&self.partition, partition) && self.epoch == partition.leader_epoch()
    }

    /// Whether the log refused something and has accepted nothing since.
    pub(super) fn is_careful(&self) -> bool {
        self.inner.borrow().careful
    }

    /// Asks the machine, and waits for its answer however long that takes.
    pub(super) async fn ask(&self, request: M::Request) -> Result<M::Reply, ErrorCode> {
        self.loaded().await?;
        let (answer, question) = oneshot();
        let ticket = self.enqueue(request)?;
        self.inner.borrow_mut().askers.insert(ticket, answer);
        question.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// Tells the machine something that needs no answer.
    pub(super) fn tell(&self, request: M::Request) {
        // One that stopped has nothing left to be told.
        let _ = self.enqueue(request);
    }

    fn enqueue(&self, request: M::Request) -> Result<Ticket, ErrorCode> {
        let mut inner = self.inner.borrow_mut();
        if let Phase::Stopped(code, _) = inner.phase {
            return Err(code);
        }
        let ticket = Ticket(inner.next_ticket);
        inner.next_ticket += 1;
        inner.queue.push_back((ticket, request));
        self.wake.notify_one();
        Ok(ticket)
    }

    async fn loaded(&self) -> Result<(), ErrorCode> {
        let settled = self.settled.wait();
        if matches!(self.inner.borrow().phase, Phase::Loading) {
            let _ = rt::timeout(LOAD_PATIENCE, settled).await;
        }
        match self.inner.borrow().phase {
            Phase::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Running(_) => Ok(()),
            Phase::Stopped(code, _) => Err(code),
        }
    }

    /// Ends it: the partition is led elsewhere, gone, or did not take what it was given.
    pub(super) fn stop(&self, code: ErrorCode) {
        let askers = {
            let mut inner = self.inner.borrow_mut();
            inner.phase = Phase::Stopped(code, rt::now());
            inner.queue.clear();
            std::mem::take(&mut inner.askers)
        };
        for (_, asker) in askers {
            // A client that went away needs no answer.
            let _ = asker.send(Err(code));
        }
        self.settled.notify_all();
        self.wake.notify_one();
    }

    /// Loads the log into `machine`, then serves until stopped.
    pub(super) async fn run(self: Rc<Self>, shard: Rc<Shard>, mut machine: M) {
        if let Err(error) = load::load(&shard, &self.partition, &mut machine).await {
            let (topic, number) = (&self.partition.topic, self.partition.id.partition);
            tracing::error!(%topic, partition = number, %error, "load a coordinator; its clients are told to retry");
            return self.stop(ErrorCode::CoordinatorNotAvailable);
        }
        let mut flights = Flights::new();
        if !self.begin(&shard, machine, &mut flights) {
            return;
        }
        loop {
            let Some(landed) = self.next_event(&mut flights).await else {
                return;
            };
            if let Some(flight) = landed
                && !self.land(flight)
            {
                return;
            }
            if !self.turn(&shard, &mut flights) {
                return;
            }
        }
    }

    /// The log is loaded: the machine's first decision, then requests. False if it was stopped meanwhile, or by this.
    fn begin(&self, shard: &Rc<Shard>, mut machine: M, flights: &mut Flights<M::Reply>) -> bool {
        if self.is_stopped() {
            return false;
        }
        let outcome = with_given(|given| machine.start(given));
        self.inner.borrow_mut().phase = Phase::Running(machine);
        self.settled.notify_all();
        let mut batch = Batch::default();
        self.absorb(shard, outcome, &mut batch, flights) && self.flush(shard, batch, flights)
    }

    /// Waits for a flight to land, a request, or a timer. None once stopped.
    async fn next_event(&self, flights: &mut Flights<M::Reply>) -> Option<Option<Flight<M::Reply>>> {
        let due = self.inner.borrow().timers.next();
        let timer = async {
            match due {
                Some(due) => rt::sleep_until(due).await,
                None => pending().await,
            }
        };
        let landing = async {
            match flights.next().await {
                Some(flight) => flight,
                None => pending().await,
            }
        };
        let (wake, timer, landing) = (pin!(self.wake.notified()), pin!(timer), pin!(landing));
        let landed = match select(landing, select(wake, timer)).await {
            Either::Left((flight, _)) => Some(flight),
            Either::Right(_) => None,
        };
        (!self.is_stopped()).then_some(landed)
    }

    /// Answers whom a flight carried. False if its records were lost, and everything with them.
    fn land(&self, flight: Flight<M::Reply>) -> bool {
        if let Err(error) = flight.landed {
            let (topic, number) = (&self.partition.topic, self.partition.id.partition);
            tracing::warn!(%topic, partition = number, %error, "commit coordinator records; loading the log again");
            self.stop(ErrorCode::NotCoordinator);
            return false;
        }
        self.inner.borrow_mut().careful = false;
        self.answer(flight.replies);
        true
    }

    fn answer(&self, replies: Vec<(Ticket, M::Reply)>) {
        for (ticket, reply) in replies {
            let asker = self.inner.borrow_mut().askers.remove(&ticket);
            if let Some(asker) = asker {
                // A client that went away needs no answer.
                let _ = asker.send(Ok(reply));
            }
        }
    }

    /// Decides on everything that waits now. False if the state is lost.
    fn turn(&self, shard: &Rc<Shard>, flights: &mut Flights<M::Reply>) -> bool {
        let mut batch = Batch::default();
        let waiting = self.inner.borrow().queue.len();
        for _ in 0..waiting {
            let Some((ticket, request)) = self.inner.borrow_mut().queue.pop_front() else {
                break;
            };
            let Some(outcome) = self.decide(|machine, given| machine.handle(given, ticket, request)) else {
                return false;
            };
            if !self.absorb(shard, outcome, &mut batch, flights) {
                return false;
            }
        }
        let now = rt::now();
        loop {
            let Some(timer) = self.inner.borrow_mut().timers.take_due(now) else {
                break;
            };
            let Some(outcome) = self.decide(|machine, given| machine.fire(given, timer)) else {
                return false;
            };
            if !self.absorb(shard, outcome, &mut batch, flights) {
                return false;
            }
        }
        self.flush(shard, batch, flights)
    }

    fn decide(&self, decision: impl FnOnce(&mut M, &mut Given<'_>) -> OutcomeOf<M>) -> Option<OutcomeOf<M>> {
        match &mut self.inner.borrow_mut().phase {
            Phase::Running(machine) => Some(with_given(|given| decision(machine, given))),
            Phase::Loading | Phase::Stopped(..) => None,
        }
    }

    /// Takes one outcome into the batch. False if the state is lost.
    fn absorb(
        &self,
        shard: &Rc<Shard>,
        mut outcome: OutcomeOf<M>,
        batch: &mut Batch<M::Reply>,
        flights: &mut Flights<M::Reply>,
    ) -> bool {
        self.set_timers(std::mem::take(&mut outcome.timers));
        if self.is_careful() && !outcome.records.is_empty() {
            return self.absorb_carefully(shard, outcome, flights);
        }
        for record in outcome.records {
            if !self.replay(&record) {
                return false;
            }
            batch.bytes += record.key.len() + record.value.as_ref().map_or(0, Bytes::len);
            batch.records.push(record);
            if batch.bytes >= BATCH_BYTES && !self.flush(shard, std::mem::take(batch), flights) {
                return false;
            }
        }
        batch.replies.append(&mut outcome.replies);
        true
    }

    /// Appends one outcome by itself, and replays it only once the log has taken it.
    fn absorb_carefully(
        &self,
        shard: &Rc<Shard>,
        outcome: OutcomeOf<M>,
        flights: &mut Flights<M::Reply>,
    ) -> bool {
        match append(shard, &self.partition, &outcome.records) {
            Ok(committed) => {
                flights.push_back(Box::pin(fly(committed, outcome.replies)));
                outcome.records.iter().all(|record| self.replay(record))
            }
            Err(error) if outcome.if_refused == IfRefused::TellAsker => {
                let code = refusal(&error);
                for (ticket, _) in outcome.replies {
                    if let Some(asker) = self.inner.borrow_mut().askers.remove(&ticket) {
                        let _ = asker.send(Err(code));
                    }
                }
                true
            }
            Err(error) => {
                self.refused(&error);
                false
            }
        }
    }

    /// Appends what the turn decided; the answers fly until it is committed. False if the log refuses it.
    fn flush(&self, shard: &Rc<Shard>, batch: Batch<M::Reply>, flights: &mut Flights<M::Reply>) -> bool {
        if batch.records.is_empty() {
            if flights.is_empty() {
                self.answer(batch.replies);
            } else if !batch.replies.is_empty() {
                // Decided on a state whose records are still on their way: it waits for them too.
                let flight = Flight {
                    replies: batch.replies,
                    landed: Ok(()),
                };
                flights.push_back(Box::pin(ready(flight)));
            }
            return true;
        }
        match append(shard, &self.partition, &batch.records) {
            Ok(committed) => {
                flights.push_back(Box::pin(fly(committed, batch.replies)));
                true
            }
            Err(error) => {
                self.refused(&error);
                false
            }
        }
    }

    fn refused(&self, error: &PartitionError) {
        let (topic, number) = (&self.partition.topic, self.partition.id.partition);
        tracing::warn!(%topic, partition = number, %error, "append coordinator records; loading the log again");
        self.inner.borrow_mut().careful = true;
        self.stop(refusal(error));
    }

    fn replay(&self, record: &Record) -> bool {
        let replayed = match &mut self.inner.borrow_mut().phase {
            Phase::Running(machine) => machine.replay(record),
            Phase::Loading | Phase::Stopped(..) => return false,
        };
        if let Err(error) = replayed {
            let (topic, number) = (&self.partition.topic, self.partition.id.partition);
            tracing::error!(%topic, partition = number, %error, "read a record that this broker has just written");
            self.stop(ErrorCode::UnknownServerError);
            return false;
        }
        true
    }

    fn set_timers(&self, changes: Vec<TimerChange<M::Timer>>) {
        let now = rt::now();
        let timers = &mut self.inner.borrow_mut().timers;
        for change in changes {
            match change {
                TimerChange::Set { timer, after_ms } => {
                    timers.set(timer, now + Duration::from_millis(after_ms.max(0) as u64));
                }
                TimerChange::Cancel(timer) => timers.cancel(&timer),
            }
        }
    }
}

fn with_given<T>(decision: impl FnOnce(&mut Given<'_>) -> T) -> T {
    let mut fresh_id = rt::random_uuid;
    decision(&mut Given {
        now_ms: rt::wall_ms(),
        fresh_id: &mut fresh_id,
    })
}

type Committed = LocalBoxFuture<'static, Result<(), PartitionError>>;

/// Appends at once, so that batches lie in the log in the order of their decisions; the future resolves when the batch is
/// below the high watermark. An error means that nothing was written.
fn append(
    shard: &Rc<Shard>,
    partition: &Rc<Partition>,
    records: &[Record],
) -> Result<Committed, PartitionError> {
    let now_ms = rt::wall_ms();
    let mut batch = BatchBuilder::new(now_ms);
    for record in records {
        batch.record(now_ms, Some(&record.key), record.value.as_deref());
    }
    let bytes = batch
        .build(Compression::None)
        .map_err(|error| PartitionError::InvalidRecord(format!("build a batch: {error}")))?;
    let (shard, partition) = (shard.clone(), partition.clone());
    let mut committed: Committed =
        Box::pin(async move { shard.append_committed(&partition, bytes).await.map(|_| ()) });
    // The append happens at the first poll. Whoever awaits it polls again, so this waker is never needed.
    match committed
        .as_mut()
        .poll(&mut Context::from_waker(std::task::Waker::noop()))
    {
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(())) => Ok(Box::pin(ready(Ok(())))),
        Poll::Pending => Ok(committed),
    }
}

async fn fly<R>(committed: Committed, replies: Vec<(Ticket, R)>) -> Flight<R> {
    Flight {
        landed: committed.await,
        replies,
    }
}

/// What a client is told whose request the log did not take. All are retried: by looking for the coordinator again, or
/// after a pause.
fn refusal(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown
        | PartitionError::NotLeader
        | PartitionError::Storage
        | PartitionError::Stopping => ErrorCode::NotCoordinator,
        _ => ErrorCode::CoordinatorNotAvailable,
    }
}
