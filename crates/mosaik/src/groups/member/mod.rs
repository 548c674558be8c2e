//! How members find together: founding, joining, healing, leaving, merging.
//!
//! [`rules`] decides, without clock and connections; [`worker`] watches and carries out.

mod dial;
mod id;
pub(crate) mod rules;
pub(crate) mod worker;

pub(crate) use id::{Lineage, MemberId};
