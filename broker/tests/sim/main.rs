//! Whole brokers in a simulated world: virtual time, an in-memory network and disks, faults by seed. Every failure prints
//! its seed; `SIM_SEED=<n> cargo test --test sim <name>` runs that one alone, `SIM_SEEDS=<n>` runs that many,
//! `SIM_LOG=info` prints the history of a run in virtual time.

mod apis;
mod authority;
mod balance;
mod behind;
mod client;
mod clocks;
mod cluster;
mod converged;
mod damage;
mod deposed;
mod disks;
mod failover;
mod faults;
mod fencing;
mod ledger;
mod life;
mod links;
mod losses;
mod machine;
mod making;
mod many;
mod members;
mod moving;
mod narrow;
mod quorumless;
mod racks;
mod replicated;
mod replicating;
mod routed;
mod seeds;
mod single;
mod stalled;
mod transport;
mod upheaval;
mod voters;
mod watch;
