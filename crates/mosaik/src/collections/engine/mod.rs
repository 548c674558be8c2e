//! The engine of all kinds of collections: one replicated content per collection and node.
//!
//! ```text
//! handle ── encodes an operation, once ──► group ── log, majority ──► machine ── applies ──► replica
//!    ▲                                                                                        │
//!    └────────────── reads the replica, waits for versions, learns what its operation did ◄───┘
//! ```
//!
//! A kind is a [`Kind`]: its state, and functions that apply operations to it and take it apart for
//! other members. It knows neither groups nor locks. What operations change goes into a ring, which
//! watchers follow at their own pace; the keeper sets the clock forward that the log carries, where
//! entries expire.

mod changes;
mod command;
mod describe;
mod handle;
mod keeper;
mod kind;
mod machine;
mod mismatches;
mod observer;
mod replica;
mod watch;
mod wire;

#[cfg(test)]
pub(super) use changes::Changes;
#[cfg(test)]
pub(super) use command::{Command, Request};
pub(crate) use describe::Described;
pub(super) use handle::{Handle, Opening, Submitter};
pub use handle::{MutationFuture, Outcome};
pub(super) use kind::{Alarm, Applied, Clock, Kind, Limits, Place, Tick};
pub(super) use machine::ITEM;
pub(super) use observer::{Everything, Select};
pub(super) use replica::Live;
#[cfg(test)]
pub(super) use replica::Replica;
pub use watch::{Event, Watch};
pub(super) use wire::{Element, Print, Reader, Writer, key_bytes};
