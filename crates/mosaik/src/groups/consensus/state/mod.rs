//! State of a consensus instance by part. Each owns its lock, takes no other while it holds it, and
//! knows neither the library nor the other parts.

pub(crate) mod candidacy;
pub(crate) mod confirmations;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod supply_limits;
pub(crate) mod view;
