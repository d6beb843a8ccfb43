//! What the rest of the broker holds of the metadata quorum: submit a change, follow the image.
//!
//! Owns the bounded queue, deadlines, and the rule that the reply to a change leaves only after every subscriber has
//! installed the image with that change. Leaves deciding and committing to `proposer.rs`.
//!
//! Everything here may be called from any thread and never waits: a shard wraps [`Handle::submit`] with its own doorbell.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use protocol::ErrorCode;
use protocol::ids::NodeId;

use super::types::Voter;
use super::voters::{self, VotersReply, VotersRequest};
use crate::metadata::{MetadataImage, Reply, Request};
use crate::rt::control::sync::{mpsc, oneshot, watch};
use crate::rt::control::{self, ControlHandle};
use crate::rt::{Instant, now};

/// Changes waiting to be decided; more are refused at once, and politely.
pub(super) const QUEUE_LEN: usize = 1024;

/// Why a whole request was not carried out (or, for [`ErrorCode::RequestTimedOut`], may or may not have been).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Refused {
        Refused {
            code,
            message: message.into(),
        }
    }

    pub(super) fn stopping() -> Refused {
        Refused::new(
            ErrorCode::NotController,
            "this broker's part of the metadata quorum is stopping",
        )
    }
}

/// Called once with the answer, on a thread of the control plane: it must not wait (ring a doorbell, send on a channel).
pub type ReplyFn = Box<dyn FnOnce(Result<Reply, Refused>) + Send>;

/// A new image, handed to every subscriber.
#[derive(Clone)]
pub struct ImageUpdate {
    pub image: Arc<MetadataImage>,
    /// Drop it when the image is installed. Whoever skips an image because a newer one is there drops both guards.
    pub installed: InstalledGuard,
}

/// As long as one clone of it lives, replies to the changes in its image wait.
#[derive(Clone)]
pub struct InstalledGuard(#[expect(dead_code, reason = "its drop is what it is for")] Arc<Installing>);

struct Installing {
    number: u64,
    installed: watch::Sender<u64>,
}

impl Drop for Installing {
    fn drop(&mut self) {
        let number = self.number;
        // The maximum suffices: an image contains the ones before it.
        self.installed.send_if_modified(|highest| {
            let newer = number > *highest;
            *highest = number.max(*highest);
            newer
        });
    }
}

/// Called with every new image, on a thread of the control plane, in order. It must not wait; images may be skipped by
/// keeping only the latest.
pub type Subscriber = Box<dyn Fn(ImageUpdate) + Send + Sync>;

/// The latest image, and who wants to know.
pub(super) struct Publisher {
    latest: RwLock<Arc<MetadataImage>>,
    /// Held while an image is handed out, so that every subscriber sees images in order.
    turn: Mutex<Turn>,
    /// Offset in the metadata log and number of the latest image.
    published: watch::Sender<(u64, u64)>,
    installed: watch::Sender<u64>,
    /// Offset and number of an image that was not installed when somebody last asked, and the offset before it.
    asked: Mutex<(u64, u64, u64)>,
}

#[derive(Default)]
struct Turn {
    number: u64,
    subscribers: Vec<Subscriber>,
}

impl Publisher {
    pub(super) fn new(image: MetadataImage) -> Publisher {
        let offset = image.offset;
        Publisher {
            latest: RwLock::new(Arc::new(image)),
            turn: Mutex::default(),
            published: watch::Sender::new((offset, 0)),
            installed: watch::Sender::new(0),
            asked: Mutex::new((offset, 0, 0)),
        }
    }

    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands an image to every subscriber. The number is what [`Publisher::installed`] waits for.
    pub(super) fn publish(&self, image: MetadataImage) -> u64 {
        self.change(|_| image)
    }

    /// As [`Publisher::publish`], from the latest image.
    pub(super) fn change(&self, change: impl FnOnce(&MetadataImage) -> MetadataImage) -> u64 {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let image = Arc::new(change(&self.image()));
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = image.clone();
        turn.number += 1;
        let offset = image.offset;
        let update = self.update(turn.number, image);
        for subscriber in &turn.subscribers {
            subscriber(update.clone());
        }
        self.published.send_replace((offset, turn.number));
        turn.number
    }

    fn update(&self, number: u64, image: Arc<MetadataImage>) -> ImageUpdate {
        let installing = Installing {
            number,
            installed: self.installed.clone(),
        };
        ImageUpdate {
            image,
            installed: InstalledGuard(Arc::new(installing)),
        }
    }

    fn subscribe(&self, subscriber: Subscriber) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        subscriber(self.update(turn.number, self.image()));
        turn.subscribers.push(subscriber);
    }

    /// Waits until every subscriber has installed image `number`.
    pub(super) async fn installed(&self, number: u64) {
        let mut installed = self.installed.subscribe();
        // The sender lives as long as `self`.
        let _ = installed.wait_for(|highest| *highest >= number).await;
    }

    /// Waits until every subscriber has installed an image with everything up to entry `offset`.
    pub(super) async fn installed_upto(&self, offset: u64) {
        let mut published = self.published.subscribe();
        // The sender lives as long as `self`.
        let found = published
            .wait_for(|(at, _)| *at >= offset)
            .await
            .map(|found| *found);
        if let Ok((_, number)) = found {
            self.installed(number).await;
        }
    }

    /// An entry that every subscriber has certainly installed everything up to.
    pub(super) fn surely_installed(&self) -> u64 {
        let (offset, number) = *self.published.borrow();
        let installed = *self.installed.borrow();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if installed >= number {
            *asked = (offset, number, offset);
        } else if installed >= asked.1 {
            *asked = (offset, number, asked.0);
        }
        asked.2
    }
}

/// One submitted request on its way: its answer is given once, by whoever comes first, the decision or the deadline.
pub(super) struct Submitted {
    pub(super) request: Request,
    pub(super) deadline: Instant,
    /// False: it was forwarded to us already, and is refused where we do not lead.
    pub(super) forward: bool,
    pub(super) slot: ReplySlot,
}

/// A reply, and the entry of the metadata log that whoever has applied it knows of the change.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) offset: u64,
}

type AnswerFn = Box<dyn FnOnce(Result<Answered, Refused>) + Send>;

/// Where the answer goes.
#[derive(Clone)]
pub(super) struct ReplySlot(Arc<Mutex<Option<AnswerFn>>>);

impl ReplySlot {
    /// Answers, unless that was done already.
    pub(super) fn answer(&self, answer: Result<Answered, Refused>) {
        let reply = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = reply {
            reply(answer);
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// A question about voters on its way to the leader.
pub(super) struct AskedVoters {
    pub(super) request: VotersRequest,
    pub(super) deadline: Instant,
    pub(super) answer: VotersFn,
}

/// As [`ReplyFn`], for [`Handle::ask_voters`].
pub type VotersFn = Box<dyn FnOnce(Result<VotersReply, Refused>) + Send>;

/// How the metadata quorum stands, for readiness, metrics and DescribeQuorum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuorumState {
    /// Who leads, as far as this broker knows.
    pub leader: Option<Voter>,
    pub term: u64,
    pub voters: Vec<Voter>,
    /// Index of the last entry in the log.
    pub log_end: Option<u64>,
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    /// Index of the last entry in a snapshot.
    pub snapshot: Option<u64>,
    /// Why it will not work again before a restart, in words: its disk failed.
    pub failed: Option<String>,
}

/// The metadata quorum, for any thread.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Submitted>,
    voters: mpsc::Sender<AskedVoters>,
    publisher: Arc<Publisher>,
    state: watch::Receiver<QuorumState>,
    control: ControlHandle,
    /// How long a broker counts as alive after a sign of life; none for a broker that is its whole cluster.
    session_timeout: Option<Duration>,
    /// When the last sign of life was sent that the leader answered well: since the clock's zero, in nanoseconds.
    well_at: AtomicU64,
}

impl Handle {
    pub(super) fn new(
        queue: mpsc::Sender<Submitted>,
        voters: mpsc::Sender<AskedVoters>,
        publisher: Arc<Publisher>,
        state: watch::Receiver<QuorumState>,
        control: ControlHandle,
        session_timeout: Option<Duration>,
    ) -> Handle {
        Handle(Arc::new(Shared {
            queue,
            voters,
            publisher,
            state,
            control,
            session_timeout,
            well_at: AtomicU64::new(0),
        }))
    }

    /// One that decides alone and remembers nothing, in a simulated world.
    #[cfg(test)]
    pub(crate) fn deciding(image: MetadataImage) -> Handle {
        let (queue, mut submitted) = mpsc::channel::<Submitted>(QUEUE_LEN);
        let publisher = Arc::new(Publisher::new(image));
        let control = ControlHandle::simulated();
        let shared = publisher.clone();
        let run = async move {
            while let Some(Submitted { request, slot, .. }) = submitted.recv().await {
                let mut image = MetadataImage::clone(&shared.image());
                let reply = crate::metadata::fixtures::done(&mut image, &request);
                image.offset += 1;
                let offset = image.offset;
                let number = shared.publish(image);
                shared.installed(number).await;
                slot.answer(Ok(Answered { reply, offset }));
            }
        };
        drop(control.spawn(run));
        let (_, state) = watch::channel(QuorumState::default());
        let (voters, _) = mpsc::channel(1);
        Handle::new(queue, voters, publisher, state, control, None)
    }

    /// Asks for a change. The reply comes when the change is synced, applied and installed by every subscriber, or is
    /// refused, or at the deadline (then the change may still happen). Never waits.
    pub fn submit(&self, request: Request, deadline: Instant, reply: ReplyFn) {
        let answer = Box::new(move |answered: Result<Answered, Refused>| reply(answered.map(|it| it.reply)));
        self.enqueue(request, deadline, true, answer);
    }

    /// Asks this broker's own share of the quorum: refused where it does not lead.
    pub(super) async fn request_here(&self, request: Request, within: Duration) -> Result<Answered, Refused> {
        let (send, answer) = oneshot::channel();
        let reply = Box::new(move |answered| {
            // Nobody listens any more: then nobody needs the answer.
            let _ = send.send(answered);
        });
        self.enqueue(request, now() + within, false, reply);
        answer.await.unwrap_or_else(|_| Err(Refused::stopping()))
    }

    fn enqueue(&self, request: Request, deadline: Instant, forward: bool, answer: AnswerFn) {
        let slot = ReplySlot(Arc::new(Mutex::new(Some(answer))));
        let submitted = Submitted {
            request,
            deadline,
            forward,
            slot: slot.clone(),
        };
        let refused = match self.0.queue.try_send(submitted) {
            Ok(()) => {
                self.0.control.spawn(expire(slot, deadline));
                return;
            }
            Err(mpsc::error::TrySendError::Full(_)) => Refused::new(
                ErrorCode::RequestTimedOut,
                format!("{QUEUE_LEN} changes of metadata are waiting already; try again"),
            ),
            Err(mpsc::error::TrySendError::Closed(_)) => Refused::stopping(),
        };
        slot.answer(Err(refused));
    }

    /// [`Handle::submit`] for tasks of the control plane. Not for shards.
    pub async fn request(&self, request: Request, within: Duration) -> Result<Reply, Refused> {
        let (send, answer) = oneshot::channel();
        let reply = Box::new(move |reply| {
            // Nobody listens any more: then nobody needs the answer.
            let _ = send.send(reply);
        });
        self.submit(request, now() + within, reply);
        answer.await.unwrap_or_else(|_| Err(Refused::stopping()))
    }

    /// Asks the quorum's leader about its voters, whichever broker that is. The reply comes by the deadline, or a little
    /// later; a change that timed out may still happen. Never waits.
    pub fn ask_voters(&self, request: VotersRequest, deadline: Instant, reply: VotersFn) {
        let asked = AskedVoters {
            request,
            deadline,
            answer: reply,
        };
        match self.0.voters.try_send(asked) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(asked)) => (asked.answer)(Err(Refused::new(
                ErrorCode::RequestTimedOut,
                "too many questions about voters are waiting already; try again",
            ))),
            Err(mpsc::error::TrySendError::Closed(asked)) => (asked.answer)(Err(Refused::stopping())),
        }
    }

    /// Why the quorum cannot do without `node` now, in words, as its leader knows it; where no leader answers, that.
    pub(super) async fn missed(&self, node: NodeId, within: Duration) -> Option<String> {
        let (send, answer) = oneshot::channel();
        let reply = Box::new(move |reply| {
            // Nobody listens any more: then nobody needs the answer.
            let _ = send.send(reply);
        });
        self.ask_voters(VotersRequest::Describe, now() + within, reply);
        match answer.await.unwrap_or_else(|_| Err(Refused::stopping())) {
            Ok(VotersReply::Described(quorum)) => voters::missed(&quorum, node.0),
            Ok(VotersReply::Changed) => Some("the metadata quorum's leader does not describe it".into()),
            Err(refused) => Some(format!(
                "nobody says who else votes in the metadata quorum: {}",
                refused.message
            )),
        }
    }

    /// Why the metadata quorum cannot be counted on from here, in words; none while it answers. A broker that is its
    /// whole cluster always has it.
    pub fn out_of_reach(&self) -> Option<String> {
        if self.sure_of_itself() {
            return None;
        }
        Some(match self.state().leader {
            Some(leader) => format!(
                "the metadata quorum's leader {leader} does not count on this broker, or leads a minority; it serves what \
                 it knows"
            ),
            None => {
                "the metadata quorum has no leader that this broker can reach; it serves what it knows".into()
            }
        })
    }

    /// Calls `subscriber` with the latest image at once, and with every later one.
    pub fn subscribe(&self, subscriber: Subscriber) {
        self.0.publisher.subscribe(subscriber);
    }

    /// The latest image of this broker.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.0.publisher.image()
    }

    pub fn state(&self) -> QuorumState {
        self.0.state.borrow().clone()
    }

    /// The quorum's leader answered a sign of life sent at `sent`, and counts on this broker.
    pub(super) fn well(&self, sent: Instant) {
        let nanos = u64::try_from(sent.since_zero().as_nanos()).unwrap_or(u64::MAX);
        self.0.well_at.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Whether nobody can have taken this broker's leaderships over without its knowing, as far as its last sign of life
    /// says. While it is not sure it serves on, but says nothing that cannot be taken back.
    pub fn sure_of_itself(&self) -> bool {
        let Some(timeout) = self.0.session_timeout else {
            return true;
        };
        let well_at = Duration::from_nanos(self.0.well_at.load(Ordering::Relaxed));
        now().since_zero().saturating_sub(well_at) < timeout
    }

    /// Waits until the quorum has failed for good, and gives the words. Never returns while it is well.
    pub async fn failed(&self) -> String {
        let mut state = self.0.state.clone();
        loop {
            let failed = state.borrow_and_update().failed.clone();
            if let Some(words) = failed {
                return words;
            }
            if state.changed().await.is_err() {
                // The quorum was stopped, which is not a failure.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Who leads the quorum, as far as this broker knows.
    pub fn controller(&self) -> Option<NodeId> {
        self.0.state.borrow().leader.map(|voter| NodeId(voter.node))
    }
}

/// Answers at the deadline, if nothing else did. A slot that is answered earlier keeps only this small task alive.
async fn expire(slot: ReplySlot, deadline: Instant) {
    control::sleep_until(deadline).await;
    slot.answer(Err(Refused::new(
        ErrorCode::RequestTimedOut,
        "the metadata quorum did not finish the change in time; it may still happen",
    )));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(offset: u64) -> MetadataImage {
        let mut image = MetadataImage::default();
        image.offset = offset;
        image
    }

    /// Keeps the updates it gets.
    fn keeper(publisher: &Publisher) -> Arc<Mutex<Vec<ImageUpdate>>> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = kept.clone();
        publisher.subscribe(Box::new(move |update| keep.lock().unwrap().push(update)));
        kept
    }

    #[test]
    fn an_image_is_installed_when_the_last_subscriber_drops_its_guard() {
        let publisher = Publisher::new(image(0));
        let (one, two) = (keeper(&publisher), keeper(&publisher));
        let number = publisher.publish(image(7));
        let installed = || *publisher.installed.borrow();
        assert!(installed() < number);
        one.lock().unwrap().clear();
        assert!(installed() < number, "one of two has it");
        assert_eq!(two.lock().unwrap().last().unwrap().image.offset, 7);
        two.lock().unwrap().clear();
        assert_eq!(installed(), number);
    }

    #[test]
    fn a_newer_image_installed_counts_for_the_older_ones() {
        let publisher = Publisher::new(image(0));
        let slow = keeper(&publisher);
        publisher.publish(image(1));
        let last = publisher.publish(image(2));
        let newest = slow.lock().unwrap().pop();
        drop(newest);
        assert_eq!(*publisher.installed.borrow(), last);
    }

    #[test]
    fn without_subscribers_nothing_waits() {
        let publisher = Publisher::new(image(0));
        let number = publisher.publish(image(1));
        assert_eq!(*publisher.installed.borrow(), number);
    }

    #[test]
    fn an_answer_is_given_once() {
        let count = Arc::new(Mutex::new(0));
        let counting = count.clone();
        let reply: AnswerFn = Box::new(move |_| *counting.lock().unwrap() += 1);
        let slot = ReplySlot(Arc::new(Mutex::new(Some(reply))));
        assert!(!slot.is_answered());
        slot.answer(Err(Refused::stopping()));
        slot.answer(Err(Refused::stopping()));
        assert!(slot.is_answered());
        assert_eq!(*count.lock().unwrap(), 1);
    }
}
