//! Whole brokers in a simulated world: virtual time, an in-memory network and disks, faults by seed. Every failure prints
//! its seed; `SIM_SEED=<n> cargo test --test sim <name>` runs that one alone, `SIM_SEEDS=<n>` runs that many,
//! `SIM_LOG=info` prints the history of a run in virtual time.

mod client;
mod cluster;
mod damage;
mod failover;
mod life;
mod losses;
mod machine;
mod making;
mod moving;
mod replicated;
mod replicating;
mod routed;
mod seeds;
mod single;
mod voters;
