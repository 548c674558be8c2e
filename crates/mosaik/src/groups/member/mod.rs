//! How members find together: founding, joining, healing, leaving, merging.
//!
//! [`rules`] decides, without clock and connections; [`worker`] watches and carries out.

pub(crate) mod rules;
pub(crate) mod worker;
