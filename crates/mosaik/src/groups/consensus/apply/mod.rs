//! Applying: committed entries reach the replica, and the calls that wait for them.
//!
//! The [task](task) takes committed entries from the consensus library; [`applied`] passes over what
//! was applied before, and tells the rest of the group how far it is.

pub(crate) mod applied;
pub(crate) mod task;
