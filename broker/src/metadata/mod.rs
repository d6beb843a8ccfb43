//! Cluster metadata as pure functions: records, the image they build, and the decisions that make new records.
