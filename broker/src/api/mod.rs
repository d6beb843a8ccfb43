//! The table of request handlers; ApiVersions is computed from it.
