//! Bonds: one direct, authenticated connection with each other member.
//!
//! A bond is a control stream on the pooled connection of two nodes. Streams for log entries,
//! commands and snapshots are opened beside it, so that large transfers delay no sign of life.

pub(crate) mod access;
pub(crate) mod close;
pub(crate) mod core;
pub(crate) mod keep_alive;
pub(crate) mod proof;
pub(crate) mod set;
pub(crate) mod wire;
