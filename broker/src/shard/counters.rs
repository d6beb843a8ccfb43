//! What one core counts. Written by its core alone, read by the metrics page from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Monotonic counters and gauges of one core. Names are those of the metrics page, without the prefix.
        #[derive(Debug, Default)]
        pub struct ShardCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl ShardCounters {
            /// Every counter with its name, in the order of the list.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Requests answered.
    requests,
    /// Connections accepted.
    connections_accepted,
    /// Connections open now.
    connections_open,
    /// Connections closed for what they sent.
    connections_refused,
    /// Bytes of requests received.
    bytes_received,
    /// Bytes of answers sent.
    bytes_sent,
    /// Produce parts appended.
    appends,
    /// Bytes appended to logs.
    append_bytes,
    /// Durability rounds run.
    rounds,
    /// Logs written in all rounds.
    round_logs,
    /// Fetch answers sent.
    fetches,
    /// Bytes of records in fetch answers.
    fetch_bytes,
    /// Partitions this core owns now.
    partitions,
    /// Partitions this core leads now.
    leaders,
    /// Appends refused because the disk is nearly full.
    disk_full_refusals,
    /// Fetch sessions held now.
    fetch_sessions,
    /// Bytes of the receive budget in use now.
    receive_bytes_in_use,
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
        self.bytes_received.fetch_add(bytes, Relaxed);
    }

    /// An answer of `bytes` was sent.
    pub fn replied(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Relaxed);
    }

    /// A fetch was answered with `bytes` of records.
    pub fn fetched(&self, bytes: u64) {
        self.fetches.fetch_add(1, Relaxed);
        self.fetch_bytes.fetch_add(bytes, Relaxed);
    }

    /// One durability round over `logs` logs.
    pub fn round(&self, logs: u64) {
        self.rounds.fetch_add(1, Relaxed);
        self.round_logs.fetch_add(logs, Relaxed);
    }
}
