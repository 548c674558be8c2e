//! Groups over real endpoints.

mod catch_up;
mod commands;
#[cfg(feature = "storage")]
mod durability;
mod failover;
mod faulty;
mod formation;
mod intruders;
mod leaving;
pub(crate) mod machines;
mod many;
mod membership;
mod metrics;
mod observers;
#[cfg(feature = "storage")]
mod places;
mod reforms;
#[cfg(feature = "storage")]
mod stored;
mod tables;
mod tickets;
