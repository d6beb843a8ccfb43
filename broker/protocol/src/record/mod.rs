//! Record batches: the bytes that Produce carries, the log stores and Fetch returns.

pub mod batch;
pub mod compression;
pub mod control;
#[allow(clippy::module_inception)]
pub mod record;
