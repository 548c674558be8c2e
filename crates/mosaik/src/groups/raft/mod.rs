//! Consensus: the only place that names the `openraft` library.
//!
//! One instance ([`Node`]) per group, member and lineage. Around the library stand: the [log](log),
//! the [apply task](apply) with de-duplication, the [network](network) with its pipelined
//! [streams](session), the [tenure](node): the time in which a leader accepts commands, and
//! linearizable [reads](reads). A member that lacks much [fetches it](intake) from
//! [several others](supply), and [what is frozen](shelf) need not stay in the log.
//!
//! | task | started by | ends when |
//! |---|---|---|
//! | the library's core, ticks, replication | [`Node::start`] | [`Node::shutdown`] |
//! | role follower, [pulse](pulse), command forwarder, [compaction](compaction) | [`Node::start`] | its scope ends |

mod apply;
mod compaction;
mod disk;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod intake;
mod log;
mod network;
mod node;
mod pulse;
mod reads;
mod serve;
mod session;
mod shelf;
mod supply;
mod types;
mod window;
mod wire;

pub(crate) use network::Peers;
pub(crate) use node::{Inheritance, Node, NodeCore, NodeOptions, Stopped, View};

#[cfg(test)]
mod tests;
