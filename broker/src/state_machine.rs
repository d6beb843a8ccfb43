//! The contract between `shard/coordinator` and the pure folders that are replicated state machines (`group/`, later
//! `txn/`).
//!
//! ```text
//! request, timer ──handle / fire──▶ Outcome { records, replies, timers }
//!                                        │ append, then replay ──▶ durable state
//!                                        └ replies leave when the records are committed
//! ```
//!
//! A machine splits its state in two. Durable state changes in [`StateMachine::replay`] only, so that a restart rebuilds
//! exactly what was promised. Soft state (parked requests, session deadlines) may change in `handle`; it is lost with the
//! core, as it should be. Owns the types of that contract; running it (log, clock, waiting) is the shard's part.

use std::hash::Hash;

use bytes::Bytes;

/// Names one parked request; the runtime gives it out and finds the asker by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One record for the internal topic; no value deletes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the record is about.
    pub key: Bytes,
    /// What is true of it from now on.
    pub value: Option<Bytes>,
}

/// What a decision may know beside the state: nothing is read from a clock or a dice inside.
pub struct Given<'a> {
    /// Wall clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Sixteen random bytes at every call.
    pub fresh_id: &'a mut dyn FnMut() -> [u8; 16],
}

/// A change to one of the machine's timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerChange<T> {
    /// Fires once after so many milliseconds; replaces the timer of the same name.
    Set {
        /// Which one.
        timer: T,
        /// From now, never negative.
        after_ms: i64,
    },
    /// No longer needed.
    Cancel(T),
}

/// What to do when the log refuses an outcome's records before writing any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfRefused {
    /// Soft state has already moved on with the records: it must be dropped and loaded again.
    #[default]
    Reload,
    /// Nothing but the records happened: it is enough to tell the asker.
    TellAsker,
}

/// What a decision wants done, in this order: append the records, replay them, set the timers, and send the replies once
/// these records and all before them are committed.
#[derive(Debug)]
pub struct Outcome<R, T> {
    /// To be appended, all or none.
    pub records: Vec<Record>,
    /// Parked requests that are answered by this.
    pub replies: Vec<(Ticket, R)>,
    /// In order.
    pub timers: Vec<TimerChange<T>>,
    /// If the append is refused.
    pub if_refused: IfRefused,
}

impl<R, T> Default for Outcome<R, T> {
    fn default() -> Self {
        Outcome {
            records: Vec::new(),
            replies: Vec::new(),
            timers: Vec::new(),
            if_refused: IfRefused::default(),
        }
    }
}

impl<R, T> Outcome<R, T> {
    /// Answers a parked request.
    pub fn reply(&mut self, ticket: Ticket, reply: R) {
        self.replies.push((ticket, reply));
    }

    /// Lets `timer` fire after `after_ms`.
    pub fn set_timer(&mut self, timer: T, after_ms: i64) {
        let after_ms = after_ms.max(0);
        self.timers.push(TimerChange::Set { timer, after_ms });
    }

    /// Takes `timer` back.
    pub fn cancel_timer(&mut self, timer: T) {
        self.timers.push(TimerChange::Cancel(timer));
    }
}

/// The outcome type of a machine.
pub type OutcomeOf<M> = Outcome<<M as StateMachine>::Reply, <M as StateMachine>::Timer>;

/// A replicated state machine on one partition of an internal topic. Lives on the core that owns the partition.
pub trait StateMachine: Sized {
    /// What clients ask of it.
    type Request;
    /// What they are answered.
    type Reply;
    /// Names of its timers.
    type Timer: Clone + Eq + Hash;
    /// A record it cannot read.
    type Unreadable: std::error::Error;

    /// Applies one record to the durable state: at load, and for its own records once they are appended.
    fn replay(&mut self, record: &Record) -> Result<(), Self::Unreadable>;

    /// Everything in the log was replayed: builds the soft state and starts the timers.
    fn start(&mut self, given: &mut Given<'_>) -> OutcomeOf<Self>;

    /// Decides on a request. It may stay parked: then a later outcome answers `ticket`.
    fn handle(&mut self, given: &mut Given<'_>, ticket: Ticket, request: Self::Request) -> OutcomeOf<Self>;

    /// A timer is due.
    fn fire(&mut self, given: &mut Given<'_>, timer: Self::Timer) -> OutcomeOf<Self>;
}
