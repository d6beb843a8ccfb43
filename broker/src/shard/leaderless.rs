//! Replicas of partitions that nobody leads say how far their logs go, for as long as it lasts: where losses are allowed,
//! the longest log leads.
//!
//! Owns when it is said. Leaves the choice to `metadata/unclean.rs`.

use std::collections::BTreeSet;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::select;
use protocol::ids::TopicPartition;

use super::Shard;
use crate::metadata::{LogEnd, Reply, Request, UncleanLeader};
use crate::rt;

/// How long the quorum may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How often it is said.
const AGAIN: Duration = Duration::from_secs(1);
/// Partitions in one request.
const BATCH: usize = 2_000;

impl Shard {
    /// Runs for as long as the core lives.
    pub(super) async fn run_leaderless(self: Rc<Self>) {
        let mut open: BTreeSet<TopicPartition> = BTreeSet::new();
        loop {
            let told = self.shared.leaderless.wait();
            open.append(&mut self.shared.leaderless.take());
            let image = self.image();
            open.retain(|id| {
                let state = image.partition(id.topic_id, id.partition);
                state.is_some_and(|state| {
                    state.leader.is_none() && state.replicas.contains(&self.options.node_id)
                })
            });
            let all: Vec<TopicPartition> = open.iter().copied().collect();
            for some in all.chunks(BATCH) {
                self.say_log_ends(some).await;
            }
            match open.is_empty() {
                true => told.await,
                false => _ = select(told, pin!(rt::sleep(AGAIN))).await,
            }
        }
    }

    async fn say_log_ends(self: &Rc<Self>, open: &[TopicPartition]) {
        let (image, node) = (self.image(), self.options.node_id);
        let Some(broker_epoch) = image
            .broker(node)
            .filter(|own| own.incarnation_id == self.options.incarnation_id && own.serves())
            .map(|own| own.epoch)
        else {
            return;
        };
        let end = |id: &TopicPartition| {
            let partition = self.partition(id).filter(|found| !found.is_offline())?;
            let log = partition.log().ok()?;
            Some(LogEnd {
                partition: *id,
                leader_epoch: image.partition(id.topic_id, id.partition)?.leader_epoch,
                last_epoch: log.last_record_epoch().map_or(-1, |epoch| epoch.0),
                log_end: log.offsets().log_end.0,
            })
        };
        let ends: Vec<LogEnd> = open.iter().filter_map(end).collect();
        if ends.is_empty() {
            return;
        }
        let request = Request::LogEnds {
            node,
            broker_epoch,
            ends,
        };
        match self.submit(request, WITHIN).await {
            Ok(Reply::LogEnds(Ok(elected))) => {
                elected.iter().for_each(|leader| self.elected_uncleanly(leader))
            }
            Ok(Reply::LogEnds(Err(error))) | Err(error) => {
                tracing::debug!(partitions = open.len(), %error.message, "log ends were not heard; said again");
            }
            Ok(_) => {}
        }
    }

    /// Says so, and counts it, once per election: where the quorum's answer arrives.
    pub fn elected_uncleanly(&self, elected: &UncleanLeader) {
        self.counters.unclean_leader_elections.fetch_add(1, Relaxed);
        tracing::warn!(
            topic = %elected.topic, partition = elected.partition, leader = %elected.leader, epoch = elected.last_epoch,
            log_end = elected.log_end, missing = ?elected.missing,
            "a replica leads that may miss acknowledged records: what the missing brokers have from its log end on is given up \
             (unclean.leader.election.enable, or ElectLeaders)"
        );
    }
}
