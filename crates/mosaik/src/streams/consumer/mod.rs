//! The receiving side of a stream.
//!
//! A consumer's manager watches the catalog and keeps one subscription to every producer that
//! qualifies (the rules are in `state`); each subscription reads in a task of its own, and all
//! fill one queue.

mod allowance;
mod builder;
mod config;
mod engine;
mod events;
mod handle;
mod manager;
mod queue;
mod seen;
mod state;
mod subscription;

pub use builder::Builder;
pub use config::ConsumerConfig;
pub(super) use engine::ConsumerCore;
pub use events::{Event, UndecodableReason};
pub use handle::Consumer;
