//! The closed list of what one core asks another. One message per (core, request), never one per partition.
//!
//! Owns the questions and answers and the one place that serves them; the channels underneath are `rt::mesh`. A question
//! to the own core is a plain call and never becomes a message.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Shard;
use super::produce::{PartOutcome, Produce};
use super::queries::{DirReplicas, EpochQuery, EpochReply, OffsetQuery, OffsetReply};
use super::read::{Read, ReadReply, WatchTicket, Watching};
use crate::rt::mesh::{Inbound, Replier};
use crate::rt::{self, ShardId};

/// What one core asks the owner of some partitions.
pub enum Message {
    /// Append batches, answer when they are as durable as asked.
    Produce(Produce),
    /// Read what is there now.
    Read(Read),
    /// Answer as soon as one of these partitions has something the asker has not seen.
    Watch(Watching),
    /// The asker no longer waits for that watch.
    Unwatch(WatchTicket),
    /// Offsets by timestamp or by name.
    ListOffsets(Vec<OffsetQuery>),
    /// Where leader epochs ended.
    EpochEnds(Vec<EpochQuery>),
    /// What replicas it has.
    Replicas,
    /// A question to the group coordinators of that core.
    Group(Box<super::coordinator::Request>),
    /// A follower that wants that core, and came in at another.
    Follower(Box<super::peers::Arrival>),
}

/// The answer to each kind of `Message`, in the same order.
pub enum Answer {
    /// One outcome per partition, in the order asked.
    Produce(Vec<PartOutcome>),
    /// One reply per partition, in the order asked.
    Read(Vec<ReadReply>),
    /// Which of the watched partitions moved, by the asker's numbering.
    Moved(Vec<usize>),
    /// Nothing to say.
    Done,
    /// One reply per query, in the order asked.
    ListOffsets(Vec<OffsetReply>),
    /// One reply per query, in the order asked.
    EpochEnds(Vec<EpochReply>),
    /// One for each log directory.
    Replicas(Vec<DirReplicas>),
    /// The coordinator's reply.
    Group(super::coordinator::Reply),
}

/// A question with the metadata its asker goes by (the offset of its image): cores install an image one after the other,
/// and the owner of a partition must not deny what the asker has already seen of it.
pub struct Asked {
    seen: u64,
    message: Message,
}

/// Questions that came before the metadata they rest on, in order of arrival.
pub(super) type Early = VecDeque<(Asked, Replier<Asked, Answer>)>;

impl Shard {
    /// Asks the owner `to`; its own questions this core answers itself.
    pub async fn ask(self: &Rc<Self>, to: ShardId, message: Message) -> Answer {
        if to == self.id {
            return self.answer(message).await;
        }
        // A core that is gone means a process that ends: nothing is left to tell the client.
        let seen = self.image.borrow().offset;
        let asked = Asked { seen, message };
        self.mesh.request(to, asked).await.unwrap_or(Answer::Done)
    }

    /// Serves the other cores' questions in order of arrival, for as long as this core lives.
    pub(super) async fn run_mesh(self: Rc<Self>, inbound: Inbound<Asked, Answer>) {
        let shard = self.clone();
        inbound
            .run(move |_from, asked, replier| {
                // One behind another that waits, waits too: order is kept.
                let early = asked.seen > shard.image.borrow().offset || !shard.early.borrow().is_empty();
                if early {
                    shard.early.borrow_mut().push_back((asked, replier));
                } else {
                    shard.begin(asked.message, replier);
                }
            })
            .await;
    }

    /// A newer image is installed: serves what waited for it. The windows of the mesh bound how much that is, and the
    /// image is committed and on its way.
    pub(super) fn begin_early(self: &Rc<Self>) {
        let installed = self.image.borrow().offset;
        loop {
            let mut early = self.early.borrow_mut();
            let Some((asked, replier)) = early.pop_front_if(|(asked, _)| asked.seen <= installed) else {
                return;
            };
            drop(early);
            self.begin(asked.message, replier);
        }
    }

    /// Appends at once, so that appends happen in the order in which they arrive; all that may wait gets its own task.
    fn begin(self: &Rc<Self>, message: Message, replier: Replier<Asked, Answer>) {
        match message {
            Message::Produce(produce) => {
                let appended = self.begin_produce(produce);
                rt::spawn(async move { replier.send(Answer::Produce(appended.settle().await)) }).detach();
            }
            message => {
                let shard = self.clone();
                rt::spawn(async move { replier.send(shard.answer(message).await) }).detach();
            }
        }
    }

    /// Serves a question on the core that owns what it is about. The part up to the first wait runs at once: that is what
    /// keeps the appends of one asker in order.
    pub async fn answer(self: &Rc<Self>, message: Message) -> Answer {
        match message {
            Message::Produce(produce) => {
                let appended = self.begin_produce(produce);
                Answer::Produce(appended.settle().await)
            }
            Message::Read(read) => Answer::Read(self.read(read).await),
            Message::Watch(watching) => Answer::Moved(self.watch(watching).await),
            Message::Unwatch(ticket) => {
                self.unwatch(&ticket);
                Answer::Done
            }
            Message::ListOffsets(queries) => Answer::ListOffsets(self.list_offsets(queries).await),
            Message::EpochEnds(queries) => Answer::EpochEnds(self.epoch_ends(&queries)),
            Message::Replicas => Answer::Replicas(self.replicas()),
            Message::Group(request) => Answer::Group(self.coordinators.serve(self, *request).await),
            Message::Follower(arrival) => {
                super::peers::welcome(self, *arrival);
                Answer::Done
            }
        }
    }
}
