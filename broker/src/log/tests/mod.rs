//! Scenarios of whole logs, on both engines.
