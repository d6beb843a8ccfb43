//! Listeners and connections: frames in, replies out in order.

pub mod connection;
pub mod frames;
pub mod listener;
pub mod quota;
