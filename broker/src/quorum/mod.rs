//! The control plane of one broker: the metadata quorum, its log, and the admin service.
