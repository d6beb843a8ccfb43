//! The closed list of what one core asks another. One message per (core, request), never one per partition.
//!
//! Owns the questions and answers and the one place that serves them; the channels underneath are `rt::mesh`. A question
//! to the own core is a plain call and never becomes a message.

use std::rc::Rc;

use super::Shard;
use super::produce::{PartOutcome, Produce};
use super::queries::{EpochQuery, EpochReply, OffsetQuery, OffsetReply};
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
    /// A question to the group coordinators of that core.
    Group(Box<super::coordinator::Request>),
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
    /// The coordinator's reply.
    Group(super::coordinator::Reply),
}

impl Shard {
    /// Asks the owner `to`; its own questions this core answers itself.
    pub async fn ask(self: &Rc<Self>, to: ShardId, message: Message) -> Answer {
        if to == self.id {
            return self.answer(message).await;
        }
        // A core that is gone means a process that ends: nothing is left to tell the client.
        self.mesh.request(to, message).await.unwrap_or(Answer::Done)
    }

    /// Serves the other cores' questions in order of arrival, for as long as this core lives.
    pub(super) async fn run_mesh(self: Rc<Self>, inbound: Inbound<Message, Answer>) {
        let shard = self.clone();
        inbound
            .run(move |_from, message, replier| shard.begin(message, replier))
            .await;
    }

    /// Appends at once, so that appends happen in the order in which they arrive; all that may wait gets its own task.
    fn begin(self: &Rc<Self>, message: Message, replier: Replier<Message, Answer>) {
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
            Message::Group(request) => Answer::Group(self.coordinators.serve(self, *request).await),
        }
    }
}
