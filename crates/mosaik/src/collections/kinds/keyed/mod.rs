//! Common parts of `Map`, `OrderedMap` and `Set`: entries that are found by a key.

mod batch;
mod change;
mod entry;
mod kind;
pub(super) mod op;
mod select;
mod state;
mod timers;
mod writes;

pub(super) use batch::millis;
pub use batch::{Batch, BatchOutcome, Expected, SetBatch};
pub use change::{MapChange, SetChange};
pub(super) use entry::{Container, Entry};
pub(super) use kind::KeyedKind;
pub(super) use select::{OneKey, part, those};
pub(super) use state::{Name, Outcome};
pub(super) use writes::{keyed_writes, update};

#[cfg(test)]
#[path = "keyed_tests.rs"]
mod tests;
