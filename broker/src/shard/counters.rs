//! What one core counts. Written by its core alone, read by the metrics page from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

macro_rules! counters {
    ($($kind:ident $name:ident $help:literal;)*) => {
        /// Counters and gauges of one core.
        #[derive(Debug, Default)]
        pub struct ShardCounters {
            $(#[doc = $help] pub $name: AtomicU64,)*
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
    counter unclean_leader_elections "Partitions led by a replica that may miss acknowledged records, after this broker said how far its log goes";
    counter acknowledged_records_given_up "Records known to be acknowledged that were cut here, because an unclean leader misses them";
    gauge log_directories_offline "Log directories that failed";
}

impl ShardCounters {
    /// One append of `bytes`.
    pub fn appended(&self, bytes: u64) {
        self.appends.fetch_add(1, Relaxed);
        self.append_bytes.fetch_add(bytes, Relaxed);
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
}
