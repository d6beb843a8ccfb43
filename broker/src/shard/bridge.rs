//! Control plane -> this core: metadata images, and the replies to what this core submitted to the quorum.
//!
//! Owns the inbox and the order in which images are installed: one at a time, the guard of an image dropped only when every
//! partition it adds is open here and every one it removes is gone. So the answer to a metadata change leaves when every core
//! already serves it. Leaves deciding what a change is to `metadata/`, opening and deleting logs to `replicas.rs`.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::{ErrorCode, TopicId};

use super::Shard;
use crate::metadata::{ItemError, Reply, Request};
use crate::quorum::{ImageUpdate, Refused, VotersReply, VotersRequest};
use crate::rt;
use crate::rt::doorbell;
use crate::rt::local::{Question, oneshot};

/// What arrives from other threads.
pub enum Inbox {
    /// A newer image is in the slot.
    Image,
    /// The reply to submission number so-and-so.
    Reply(u64, Box<Result<Decided, Refused>>),
    /// Logs of this topic could not be made a while ago.
    OpenAgain(TopicId),
}

/// What the quorum answers to a submission.
pub enum Decided {
    Metadata(Reply),
    Voters(VotersReply),
}

/// The control plane's end of one core: hand `publish` to `quorum::Handle::subscribe`. Any thread.
#[derive(Clone)]
pub struct Bridge {
    /// Images not taken yet. They are cumulative, so the core installs the newest and keeps the guards of all until then.
    waiting: Arc<Mutex<Vec<ImageUpdate>>>,
    bell: doorbell::Sender<Inbox>,
}

/// The core's end of its bridge.
pub struct BridgeEnd {
    bridge: Bridge,
    inbox: doorbell::Receiver<Inbox>,
}

/// Replies that may wait in the inbox of one core; a core has far fewer submissions open.
const INBOX_LIMIT: usize = 65_536;

/// Both ends of one core's bridge.
pub fn pair() -> std::io::Result<(Bridge, BridgeEnd)> {
    let (bell, inbox) = doorbell::channel(INBOX_LIMIT)?;
    let bridge = Bridge {
        waiting: Arc::default(),
        bell,
    };
    Ok((bridge.clone(), BridgeEnd { bridge, inbox }))
}

impl Bridge {
    /// A committed image for this core. Its guard is held until the core has installed it, or a newer one.
    pub fn publish(&self, update: ImageUpdate) {
        self.lock().push(update);
        // A full inbox already rings; a closed one belongs to a core that is gone, and the guards must not outlive it.
        if let Err(doorbell::SendError::Closed(_)) = self.bell.try_send(Inbox::Image) {
            self.lock().clear();
        }
    }

    /// The core tries again to make the logs that it lacks of a topic, between two images.
    pub(super) fn open_again(&self, topic: TopicId) {
        // A core that is gone needs no logs; an inbox that is full cannot happen, see INBOX_LIMIT.
        let _ = self.bell.try_send(Inbox::OpenAgain(topic));
    }

    fn take(&self) -> Vec<ImageUpdate> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ImageUpdate>> {
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shard {
    /// Serves the inbox for as long as the core lives.
    pub async fn run_bridge(self: Rc<Self>, mut end: BridgeEnd) {
        while let Some(message) = end.inbox.recv().await {
            match message {
                Inbox::Image => self.install_newest(end.bridge.take()).await,
                Inbox::Reply(number, reply) => {
                    if let Some(waiting) = self.submissions.borrow_mut().remove(&number) {
                        // Nobody waits any more after a deadline; the change itself stands.
                        let _ = waiting.send(*reply);
                    }
                }
                Inbox::OpenAgain(topic) => {
                    // Clients wait for images to be installed, and nobody for this.
                    self.install_newest(end.bridge.take()).await;
                    self.open_again(topic).await;
                }
            }
        }
    }

    async fn install_newest(self: &Rc<Self>, updates: Vec<ImageUpdate>) {
        if let Some(newest) = updates.iter().max_by_key(|update| update.image.offset) {
            self.install(newest.image.clone()).await;
        }
        drop(updates);
    }

    /// Hands a change to the quorum and waits for its reply: committed, and installed on every core. Refused as a whole
    /// when the quorum cannot decide, or not in time; then the change may still happen.
    pub async fn submit(self: &Rc<Self>, request: Request, within: Duration) -> Result<Reply, ItemError> {
        let (decided, question) = self.question(Decided::Metadata);
        self.quorum.submit(request, rt::now() + within, decided);
        match decision(question.await)? {
            Decided::Metadata(reply) => Ok(reply),
            Decided::Voters(_) => Err(misplaced()),
        }
    }

    /// Asks the quorum's leader about its voters; see [`crate::quorum::Handle::ask_voters`].
    pub async fn ask_voters(
        self: &Rc<Self>,
        request: VotersRequest,
        within: Duration,
    ) -> Result<VotersReply, ItemError> {
        let (decided, question) = self.question(Decided::Voters);
        self.quorum.ask_voters(request, rt::now() + within, decided);
        match decision(question.await)? {
            Decided::Voters(reply) => Ok(reply),
            Decided::Metadata(_) => Err(misplaced()),
        }
    }

    /// A place for an answer from another thread, and who waits for it.
    fn question<T: 'static>(&self, kind: fn(T) -> Decided) -> (Told<T>, Question<Result<Decided, Refused>>) {
        let number = self.next_submission.get();
        self.next_submission.set(number + 1);
        let (answer, question) = oneshot();
        self.submissions.borrow_mut().insert(number, answer);
        let bell = self.bridge.bell.clone();
        let reply = move |reply: Result<T, Refused>| {
            // A core that is gone needs no reply; an inbox that is full of replies cannot happen, see INBOX_LIMIT.
            let _ = bell.try_send(Inbox::Reply(number, Box::new(reply.map(kind))));
        };
        (Box::new(reply), question)
    }
}

/// Carries an answer of the control plane to the core that asked.
type Told<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;

fn decision<E>(answered: Result<Result<Decided, Refused>, E>) -> Result<Decided, ItemError> {
    match answered {
        Ok(reply) => reply.map_err(|refused| ItemError::new(refused.code, refused.message)),
        Err(_) => Err(ItemError::new(ErrorCode::NotController, "the broker is stopping")),
    }
}

/// A broken invariant, told instead of hidden.
fn misplaced() -> ItemError {
    ItemError::new(
        ErrorCode::UnknownServerError,
        "the metadata quorum answered another question than was asked",
    )
}
