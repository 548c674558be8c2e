//! Runs code that the user wrote where a panic must not end a stream.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

/// The answer of a user's predicate; a panic counts as `false`.
pub(super) fn holds(predicate: impl FnOnce() -> bool) -> bool {
    run(predicate).unwrap_or(false)
}

/// The result of a user's code, `None` if it panicked.
pub(super) fn run<R>(code: impl FnOnce() -> R) -> Option<R> {
    let result = catch_unwind(AssertUnwindSafe(code));
    if result.is_err() {
        error!("code given to a stream panicked; the stream goes on");
    }
    result.ok()
}
