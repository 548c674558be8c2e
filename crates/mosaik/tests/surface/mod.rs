//! Programs are written against names, types and traits: these stay.
#![allow(
    clippy::bool_comparison,
    clippy::let_underscore_future,
    clippy::needless_borrows_for_generic_args,
    clippy::nonminimal_bool,
    clippy::op_ref,
    clippy::unnecessary_literal_unwrap,
    reason = "forms are spelled out to see that they compile"
)]

mod collections;
mod discovery;
mod functions;
mod glob;
mod groups;
mod network;
mod primitives;
mod streams;
mod tickets;

/// Fails to compile for types that are not shared between threads.
pub(crate) fn shared<T: Send + Sync + 'static>() {}

/// Fails to compile for futures that can't be spawned.
pub(crate) fn spawnable<F: Future + Send + 'static>(future: F) -> F {
    future
}
