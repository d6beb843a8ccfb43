//! What one core counts. Written by its core alone, read by the metrics page from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::rt::Instant;

use protocol::ids::{LeaderEpoch, NodeId};

/// One number with its name and meaning, as the metrics page shows it.
pub struct Counted {
    /// Name without `_total`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// It may fall.
    pub is_gauge: bool,
    /// As it is now.
    pub value: u64,
}

/// How a partition is led here, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// Under which leader epoch.
    pub epoch: LeaderEpoch,
    /// Its in-sync set.
    pub isr: Vec<NodeId>,
}

macro_rules! counters {
    ($($kind:ident $name:ident $help:literal;)*) => {
        /// Counters and gauges of one core.
        #[derive(Debug, Default)]
        pub struct ShardCounters {
            $(#[doc = $help] pub $name: AtomicU64,)*
            /// Since when the round under way has waited for the disk without any log being done: nanoseconds of the clock; 0
            /// while no round runs.
            waits_for_disk_since: AtomicU64,
        }

        impl ShardCounters {
            /// All of them, in the order of the list.
            pub fn snapshot(&self) -> Vec<Counted> {
                vec![$(Counted {
                    name: concat!("millrace_", stringify!($name)),
                    help: $help,
                    is_gauge: stringify!($kind).len() == "gauge".len(),
                    value: self.$name.load(Relaxed),
                },)*]
            }
        }
    };
}

counters! {
    counter requests "Requests received";
    counter connections_accepted "Connections accepted";
    gauge connections_open "Connections open";
    counter connections_refused "Connections closed for what came over them";
    counter received_bytes "Bytes of requests received";
    counter sent_bytes "Bytes of answers sent";
    counter appends "Batches appended to logs";
    counter append_bytes "Bytes appended to logs";
    counter sync_rounds "Durability rounds run";
    counter sync_round_logs "Logs written in all durability rounds";
    counter fetches "Fetches answered";
    counter fetch_bytes "Bytes of records in fetch answers";
    counter metadata_partitions_looked_at "Partitions that cores looked at because metadata changed";
    gauge partitions "Partitions on this broker";
    gauge leaders "Partitions this broker leads";
    counter disk_full_refusals "Appends refused because little disk space is left";
    gauge replication_sessions_serving "Sessions of followers that this broker serves";
    gauge replication_sessions_fetching "Sessions with leaders that this broker follows";
    counter replication_connects "Connections to leaders begun";
    counter replication_out_bytes "Bytes sent to followers";
    counter replication_throttled_bytes "Bytes of records sent to replicas whose copying is throttled";
    counter replication_in_bytes "Bytes received from leaders";
    gauge replicas_damaged "Replicas here with records that their disk does not hold any more";
    counter damaged_replicas_refetched "Damaged replicas given up to be fetched again";
    counter leader_elections "Leader epochs begun by partitions that this broker leads";
    counter isr_shrinks "In-sync sets of partitions led here that somebody left";
    counter isr_expands "In-sync sets of partitions led here that somebody joined";
    counter unclean_leader_elections "Partitions led by a replica that may miss acknowledged records, after this broker said how far its log goes or was asked for an election";
    counter acknowledged_records_given_up "Records known to be acknowledged that were cut here, because an unclean leader misses them";
    counter unsettled_records_given_up "Records cut beside those, of which this replica does not know whether they were acknowledged";
    gauge log_directories_offline "Log directories that failed";
}

impl ShardCounters {
    /// A round waits for the disk from `since` on, or none does.
    pub fn waits_for_disk(&self, since: Option<Instant>) {
        let since = since.map_or(0, |at| {
            u64::try_from(at.since_zero().as_nanos())
                .unwrap_or(u64::MAX)
                .max(1)
        });
        self.waits_for_disk_since.store(since, Relaxed);
    }

    /// For how long the disk has done nothing for the round under way; zero where there is none.
    pub fn disk_wait(&self, now: Instant) -> Duration {
        match self.waits_for_disk_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => now.since_zero().saturating_sub(Duration::from_nanos(since)),
        }
    }

    /// One append of `bytes`.
    pub fn appended(&self, bytes: u64) {
        self.appends.fetch_add(1, Relaxed);
        self.append_bytes.fetch_add(bytes, Relaxed);
    }

    /// Metadata changed, and one partition was looked at for it.
    pub fn looked_at_partition(&self) {
        self.metadata_partitions_looked_at.fetch_add(1, Relaxed);
    }

    /// A connection came.
    pub fn connection_opened(&self) {
        self.connections_accepted.fetch_add(1, Relaxed);
        self.connections_open.fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Relaxed);
    }

    /// A connection was closed for what came over it.
    pub fn refused(&self) {
        self.connections_refused.fetch_add(1, Relaxed);
    }

    /// A request of `bytes` arrived.
    pub fn requested(&self, bytes: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// An answer of `bytes` was sent.
    pub fn replied(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    /// A fetch was answered with `bytes` of records.
    pub fn fetched(&self, bytes: u64) {
        self.fetches.fetch_add(1, Relaxed);
        self.fetch_bytes.fetch_add(bytes, Relaxed);
    }

    /// An append was refused for want of disk space.
    pub fn refused_for_space(&self) {
        self.disk_full_refusals.fetch_add(1, Relaxed);
    }

    /// One durability round over `logs` logs.
    pub fn round(&self, logs: u64) {
        self.sync_rounds.fetch_add(1, Relaxed);
        self.sync_round_logs.fetch_add(logs, Relaxed);
    }

    /// A partition is led here, and was led here as `before` says. The in-sync set that a new leader begins with is part of
    /// its election. What came and went between two images that this core installed is not seen.
    pub fn led(&self, before: Option<&Led>, now: &Led) {
        let elected = before.is_none_or(|before| before.epoch != now.epoch);
        self.leader_elections.fetch_add(u64::from(elected), Relaxed);
        let Some(before) = before else { return };
        let misses = |set: &[NodeId], of: &[NodeId]| of.iter().any(|node| !set.contains(node));
        let (shrunk, expanded) = (misses(&now.isr, &before.isr), misses(&before.isr, &now.isr));
        self.isr_shrinks.fetch_add(u64::from(shrunk), Relaxed);
        self.isr_expands.fetch_add(u64::from(expanded), Relaxed);
    }
}
