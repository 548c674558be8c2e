//! Programs are written against names, types and traits: these stay.

mod discovery;
mod functions;
mod glob;
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
