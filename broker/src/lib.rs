//! The Millrace broker: one process that speaks the Kafka protocol and keeps its promises on disk.

pub mod api;
pub mod config;
pub mod directory;
pub mod group;
pub mod http;
pub mod log;
pub mod metadata;
pub mod net;
pub mod node;
pub mod quorum;
pub mod replication;
pub mod rt;
pub mod shard;
pub mod state_machine;
pub mod telemetry;
