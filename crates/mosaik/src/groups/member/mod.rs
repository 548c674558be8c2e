//! Life cycle of a member: founding, joining, healing, leaving, merging.
//!
//! [`rules`] decides, without clock and connections; [`worker`] watches, and has carried out what
//! concerns other [members](peers), [histories](lineages), the [membership](membership) and
//! the [end](leave), and starts consensus again that has [crashed](crashes). Observers are no members, and have [sources](observing) instead.

mod admissions;
mod crashes;
mod feeding;
mod halt_detector;
mod leave;
mod lineages;
mod membership;
mod observing;
mod peers;
pub(crate) mod rules;
mod sources;
mod stalls;
mod strikes;
pub(crate) mod worker;
