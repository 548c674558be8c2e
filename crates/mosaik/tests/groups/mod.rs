//! Groups over real endpoints.

mod commands;
mod failover;
mod formation;
mod machines;
mod membership;
mod tickets;
