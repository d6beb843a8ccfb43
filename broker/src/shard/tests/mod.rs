//! Scenarios of whole cores.

mod images;
mod replication;
