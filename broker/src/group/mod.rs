//! Consumer groups as a replicated state machine: request in, records and replies out. Pure.
