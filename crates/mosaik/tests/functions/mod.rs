//! Remote functions.

mod basics;
mod capacity;
mod common;
mod conditions;
mod crash;
mod declared;
mod ends;
mod failover;
mod hostile;
mod identity;
mod limits;
mod refusals;
mod streaming;
mod surface;
mod tickets;
mod transfers;
