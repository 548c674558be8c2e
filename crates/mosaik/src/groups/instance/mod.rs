//! One group on one node, from joining until leaving.
//!
//! What all its parts share is in the [core](core); beside it stand its [bonds](bonds) with other
//! members, the [writing rights](access) of both sides, the [history](history) that it takes part in,
//! and the [way](peers) on which that history's consensus reaches the others.

mod access;
mod bonds;
mod core;
mod describe;
mod history;
mod peers;
pub(crate) mod persistent_identity;
mod profile;
pub(crate) mod registry;

pub(crate) use core::{Host, Instance, InstanceOptions, Role, Wishes};

#[cfg(test)]
#[cfg(feature = "storage")]
mod stored_tests;
