//! Replication arithmetic: high watermark, in-sync replicas, leader epochs; and what brokers say to each other about it.
//! Pure: offsets, epochs and bytes in, decisions and bytes out.
//!
//! Leaves IO, waiting and the choice of error codes to `shard/` and `api/`.

pub mod bytes;
pub mod epochs;
pub mod follower;
pub mod handshake;
pub mod leader;
pub mod session;
pub mod throttle;
pub mod wire;
