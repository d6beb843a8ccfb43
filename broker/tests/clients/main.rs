//! Real brokers driven by third-party clients only: kcat (librdkafka), Kafka's Java client and console tools (new and
//! 2.5), the Python package of the examples, and for what none of them can be asked the codec of the crate `kafka-protocol`;
//! so that our own codec cannot hide its own bugs.
//! Run by `make clients`, which prepares what these tests need in `$MILLRACE_CACHE/clients`.

mod bad_input;
mod broker;
mod cluster;
mod commits;
mod console;
mod dump;
mod environment;
mod faults;
mod groups;
mod kcat;
mod kill;
mod load;
mod many;
mod program;
mod reassign;
mod rings;
mod syscalls;
mod wire;
