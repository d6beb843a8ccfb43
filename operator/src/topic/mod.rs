//! A `KafkaTopic` becomes a topic: observe, plan, apply, status.

pub mod apply;
pub mod plan;
pub mod status;
