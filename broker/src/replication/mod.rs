//! Replication arithmetic: high watermark, in-sync replicas, leader epochs. Pure: offsets and epochs in, decisions out.
//!
//! Leaves IO, waiting and the choice of error codes to `shard/` and `api/`.

pub mod epochs;
pub mod follower;
pub mod leader;
