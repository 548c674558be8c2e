//! Stands in for `tokio` in integration tests: `extern crate mosaik_test as tokio;` at the root
//! makes every `#[tokio::test]` below it end with a check that nothing outlives the test.
//!
//! Everything else is tokio's own, except that [`spawn`] notes the test's own tasks, which are
//! aborted at the end, so that only those of the library can be left.
#![allow(
    clippy::disallowed_methods,
    reason = "this is what tests spawn their tasks with"
)]

pub mod ends;

pub use mosaik_test_macros::test;
pub use tokio as real;
#[allow(clippy::wildcard_imports, reason = "it stands in for all of it")]
pub use tokio::*;

/// `tokio::spawn`, for the test itself: the task is aborted when the test's body is done.
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let task = tokio::spawn(future);
    ends::abort_at_the_end(task.abort_handle());
    task
}
