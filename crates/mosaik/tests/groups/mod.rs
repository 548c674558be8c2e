//! Groups over real endpoints.

mod commands;
#[cfg(feature = "storage")]
mod durability;
mod failover;
mod formation;
mod machines;
mod membership;
mod tickets;
