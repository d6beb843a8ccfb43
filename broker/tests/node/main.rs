//! One broker in this process, driven over its Kafka port by a small raw client: both engines, one and two shards.
//!
//! Each test is a scenario in the words of a client; `harness.rs` starts and stops, `client.rs` speaks.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of the functions that the lint exempts"
)]

mod bad_input;
mod client;
mod commits;
mod connections;
mod durability;
mod fetching;
mod groups;
mod harness;
mod idempotence;
mod listeners;
mod process;
mod producing;
mod replicating;
mod restart;
mod topics;
