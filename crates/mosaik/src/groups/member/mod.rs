//! Life cycle of a member: founding, joining, healing, leaving, merging.
//!
//! [`rules`] decides, without clock and connections; [`worker`] watches, and has carried out what
//! concerns other [members](acquaintance), [histories](histories), the [membership](membership) and
//! the [end](departure).

mod acquaintance;
mod departure;
mod histories;
mod membership;
mod quorum;
pub(crate) mod rules;
mod stalls;
pub(crate) mod worker;
