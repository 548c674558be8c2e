//! The program's state machine, and what stands around it on each member.
//!
//! A [`replica`] applies commands to the machine, answers queries and freezes snapshots. The types of
//! the program end here: below, a command is a row of bytes (see [`commands`]), a snapshot a list of
//! chunks (see [`snapshot`]), and the program's own storage a mirror of the log (see
//! [`log_storage`]). [`sessions`] decides which commands were applied before.

pub(crate) mod commands;
pub(crate) mod log_storage;
pub(crate) mod preference;
pub(crate) mod query;
pub(crate) mod replica;
pub(crate) mod sessions;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
pub(crate) mod state_sync;
pub(crate) mod storage;
