//! Replication: the requests that the consensus library has for other members.
//!
//! [`network`] is the library's client: one [pipelined stream](append_stream) of entries for each
//! follower, and single requests on the control streams of [peers]. [`acks`] and [`progress`] keep
//! what the members answered, and [`commit_notices`] tells followers what was committed.

pub(crate) mod acks;
pub(crate) mod append_stream;
pub(crate) mod commit_notices;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod progress;
