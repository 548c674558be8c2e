//! The Raft log of one history: its latest entries in memory, and all of it on the disk of a durable
//! member.
//!
//! [`raft_log`] is the log, [`memory_tail`] the part in memory, [`disk_log`] the rows in the node's
//! store, and [`log_storage`] the interface through which the consensus library reads and appends.
//! [`types`] are the library's types as all groups use them, and [`format`] what is encoded of them.

pub(crate) mod disk_log;
pub(crate) mod format;
pub(crate) mod log_storage;
pub(crate) mod memory_tail;
pub(crate) mod raft_log;
pub(crate) mod types;
