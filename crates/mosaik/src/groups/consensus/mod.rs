//! Consensus: with the [log](super::log), the only place that names the `openraft` library.
//!
//! One instance ([`Node`]) per group, member and lineage. Around the library stand: the
//! [apply task](apply) with de-duplication, [replication] to the followers, [elections], the
//! [leader](leader)'s acceptance of commands, and linearizable [reads](read_index). A member that
//! lacks much [fetches it](catch_up_client) from [several others](catch_up_server), and
//! [snapshots](super::catch_up::snapshot_cache) let the log be [cut off](compactor). Observers are
//! [fed](follow) by the nearest member or observer that has room. What is [committed] may come from
//! others than the leader. All that others open is served [here](channels).
//!
//! Each part of an instance's state has an owner with its lock: the [leader](leader)'s right to put
//! commands into the log, and the parts in [state]. [`NodeCore`] holds them together.
//!
//! | task | started by | ends when |
//! |---|---|---|
//! | the library's core, ticks, replication | [`Node::start`] | [`Node::shutdown`] |
//! | role follower, [heartbeat], command forwarder, [compactor] | [`Node::start`] | its scope ends |

mod apply;
mod catch_up_client;
mod catch_up_server;
mod channels;
mod committed;
mod compactor;
mod config;
mod core;
mod elections;
mod follow;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod heartbeat;
mod leader;
mod library;
mod node;
pub(crate) mod pending_commands;
mod read_index;
mod replication;
mod server;
mod state;
mod wire;

pub(crate) use apply::applied::Failure;
pub(crate) use core::NodeCore;
pub(crate) use node::{Inheritance, Node, NodeOptions, Stopped};
pub(crate) use replication::peers::Peers;
pub(crate) use state::{feed::Transfer, view::View};

#[cfg(test)]
mod tests;
