//! Producer ids: this core hands them out of a block of its own; the quorum sees one request per block, not per producer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use protocol::ProducerId;

use super::Shard;
use crate::metadata::{Reply, Request};

/// The ids this core may still hand out. Lost at a restart: ids are plenty, and none may be given twice.
#[derive(Default)]
pub struct Block {
    next: Cell<i64>,
    end: Cell<i64>,
}

impl Block {
    fn take(&self) -> Option<ProducerId> {
        let id = self.next.get();
        if id >= self.end.get() {
            return None;
        }
        self.next.set(id + 1);
        Some(ProducerId(id))
    }
}

impl Shard {
    /// An id that no producer of this cluster has or had. None when the quorum gave no block in time.
    pub async fn next_producer_id(self: &Rc<Self>, deadline: Duration) -> Option<ProducerId> {
        if let Some(id) = self.producer_ids.take() {
            return Some(id);
        }
        let request = Request::AllocateProducerIds {
            node: self.options.node_id,
        };
        match self.submit(request, deadline).await {
            Ok(Reply::AllocateProducerIds(Ok(block))) => {
                // Another producer may have fetched a block meanwhile; the newer one is used up first.
                self.producer_ids.next.set(block.first.0);
                self.producer_ids.end.set(block.first.0 + block.len);
                self.producer_ids.take()
            }
            Ok(Reply::AllocateProducerIds(Err(error))) | Err(error) => {
                tracing::warn!(
                    code = error.code.name(),
                    "ask the quorum for producer ids: {}",
                    error.message
                );
                None
            }
            Ok(_) => None,
        }
    }
}
