//! Waiting: [conditions](conditions) over what changes, the [signal](signal) that wakes those who
//! wait, and [futures](opaque) whose bodies are compiled here.

mod conditions;
mod opaque;
mod signal;

pub(crate) use conditions::{Condition, ConditionSource, Tagged};
pub(crate) use opaque::Opaque;
pub(crate) use signal::{Signal, WakerSlot};
