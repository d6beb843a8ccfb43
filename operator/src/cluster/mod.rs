//! A `KafkaCluster` becomes brokers: observe, validate, build, plan, apply, status.

pub mod build;
pub mod model;
pub mod validate;
