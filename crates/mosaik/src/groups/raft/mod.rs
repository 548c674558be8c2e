//! Consensus: the only place that names the `openraft` library.
//!
//! One instance ([`Node`]) per group, member and lineage. Around the library stand: the [log](log),
//! the [apply task](apply) with de-duplication, the [network](network) with its pipelined
//! [streams](session), [elections], the [tenure](tenure): the time in which a leader accepts commands, and
//! linearizable [reads](reads). A member that lacks much [fetches it](intake) from
//! [several others](supply), and [what is frozen](shelf) need not stay in the log. Observers are
//! [fed](follow) by whoever is near.
//!
//! | task | started by | ends when |
//! |---|---|---|
//! | the library's core, ticks, replication | [`Node::start`] | [`Node::shutdown`] |
//! | role follower, [pulse](pulse), command forwarder, [compaction](compaction) | [`Node::start`] | its scope ends |

mod acks;
mod applied;
mod apply;
mod compaction;
mod config;
mod core;
mod disk;
mod elections;
mod feed;
mod follow;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod intake;
mod log;
mod log_storage;
mod network;
mod node;
mod peers;
mod progress;
mod pulse;
mod reads;
mod rounds;
mod serve;
mod session;
mod shelf;
mod snapshot;
mod supply;
mod tenure;
mod told;
mod types;
mod view;
mod volume;
mod window;
mod wire;

pub(crate) use core::NodeCore;
pub(crate) use node::{Inheritance, Node, NodeOptions, Stopped};
pub(crate) use peers::Peers;
pub(crate) use view::View;

#[cfg(test)]
mod tests;
