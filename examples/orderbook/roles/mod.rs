//! The three roles of the fleet.

pub(crate) mod matcher;
pub(crate) mod reporter;
pub(crate) mod trader;
