//! Whole networks in one process: nodes that talk through an in-memory hub instead of sockets,
//! under latency, loss, partitions and pauses that one seed decides.
//!
//! ```text
//! Fleet ──── builds nodes of one network; ids and network follow from the seed
//!   │
//!   ▼
//! Hub ────── carries their packets: Conditions (always) and faults (when told)
//!   ▲
//!   │
//! invariants ─ what must hold in every run, one per file
//! ```
//!
//! [`groups`] builds on this: seeded runs of groups under faults, whose members may also run in
//! processes of their own. [`collections`] runs replicated collections and watches of them.
//!
//! Time is real: QUIC reads the system's monotonic clock, which only `unsafe` code could replace,
//! so a simulated minute takes a minute. *Reproducible* means that the seed decides who is who,
//! who fails and which packets a pair of nodes loses; thread scheduling is not replayed.

pub mod collections;
pub mod fleet;
pub mod groups;
pub mod hub;
pub mod invariants;
pub mod stats;
mod task;
mod wait;

pub use fleet::{EVENTS_BACKLOG, Fleet, show_logs};
pub use hub::{Conditions, Hub, Traffic};
pub use wait::{Late, bound, each_until, timed};
