//! The gRPC contract between operator and broker.
