//! The Millrace operator: makes `KafkaCluster` and `KafkaTopic` resources true.

pub mod broker;
pub mod cluster;
pub mod crd;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod kafka;
pub mod local;
pub mod topic;
