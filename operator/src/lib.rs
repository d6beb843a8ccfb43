//! The Millrace operator: makes `KafkaCluster` and `KafkaTopic` resources true, on Kubernetes or on one machine.
//!
//! ```text
//!            watches (cache)                       file (local)
//!                 |                                     |
//!   cluster:  observe - validate - build - plan - apply - status
//!   topic:    observe -                    plan - apply - status
//! ```
//! `observe` and `apply` do IO, the rest is pure and never sees a Kubernetes client.

pub mod broker;
pub mod cache;
pub mod cluster;
pub mod crd;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod kafka;
pub mod lease;
pub mod local;
pub mod queue;
pub mod run;
pub mod telemetry;
pub mod topic;
