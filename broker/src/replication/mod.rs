//! Replication arithmetic: high watermark, in-sync replicas, leader epochs. Pure.
