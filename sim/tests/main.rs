//! Networks of real nodes under faults: through the hub, and over UDP on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::pedantic,
    reason = "tests fail by panicking"
)]

mod bootstrap;
mod clocks;
mod collections;
mod crashes;
mod crowds;
mod distances;
mod functions;
mod groups;
mod losses;
mod partitions;
mod restarts;
mod streams;
mod support;
mod tickets;
