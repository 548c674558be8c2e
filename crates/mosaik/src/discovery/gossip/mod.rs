//! Gossip: announcements of entries, departures and suspicions to the whole network.
//!
//! [`layer`] keeps the gossip library running; [`worker`] broadcasts and receives.

pub(crate) mod layer;
pub(crate) mod worker;
