//! Scenarios of whole cores.

mod replication;
