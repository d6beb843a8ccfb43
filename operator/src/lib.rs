//! The Millrace operator: makes `KafkaCluster` and `KafkaTopic` resources true.

pub mod crd;
