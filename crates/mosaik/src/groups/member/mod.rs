//! Life cycle of a member: founding, joining, healing, leaving, merging.
//!
//! [`rules`] decides, without clock and connections; [`worker`] watches, and has carried out what
//! concerns other [members](acquaintance), [histories](histories), the [membership](membership) and
//! the [end](departure). Observers are no members, and have [sources](observing) instead.

mod acquaintance;
mod departure;
mod feeding;
mod histories;
mod membership;
mod observing;
mod quorum;
pub(crate) mod rules;
mod sources;
mod stalls;
pub(crate) mod worker;
