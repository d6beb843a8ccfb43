//! Listeners and connections: frames in, replies out in order.
