//! Changes of a queue.

use core::fmt;
use std::sync::Arc;

use super::{
    super::sides::{Cause, Sides},
    entry::Entry,
};

/// A change of one entry of a [`PriorityQueue`](crate::collections::PriorityQueue).
pub struct QueueChange<P, K, V> {
    sides: Sides<Entry<P, K, V>>,
    cause: Cause,
}

impl<P, K, V> QueueChange<P, K, V> {
    pub(super) fn put(old: Option<Arc<Entry<P, K, V>>>, new: Arc<Entry<P, K, V>>) -> Self {
        Self {
            sides: Sides::put(old, new),
            cause: Cause::Write,
        }
    }

    pub(super) fn removed(old: Arc<Entry<P, K, V>>, cause: Cause) -> Self {
        Self {
            sides: Sides::Removed(old),
            cause,
        }
    }

    pub(super) fn old_entry(&self) -> Option<&Arc<Entry<P, K, V>>> {
        self.sides.before()
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.sides.last().key
    }

    /// Priority and value before the change; `None` when the key was absent.
    pub fn old(&self) -> Option<(&P, &V)> {
        self.sides
            .before()
            .map(|entry| (&entry.priority, &entry.value))
    }

    /// Priority and value after the change; `None` when the entry was removed.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the value after the change, as `old` is the one before"
    )]
    pub fn new(&self) -> Option<(&P, &V)> {
        self.sides
            .after()
            .map(|entry| (&entry.priority, &entry.value))
    }

    /// Returns whether the key was absent before, and is not any more.
    pub fn is_created(&self) -> bool {
        matches!(self.sides, Sides::Created(_))
    }

    /// Returns whether the entry was removed, for any cause.
    pub fn is_removed(&self) -> bool {
        matches!(self.sides, Sides::Removed(_))
    }

    /// Cause of the change.
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl<P, K, V> Clone for QueueChange<P, K, V> {
    fn clone(&self) -> Self {
        Self {
            sides: self.sides.clone(),
            cause: self.cause,
        }
    }
}

impl<P: fmt::Debug, K: fmt::Debug, V: fmt::Debug> fmt::Debug for QueueChange<P, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueChange")
            .field("key", self.key())
            .field("old", &self.old())
            .field("new", &self.new())
            .field("cause", &self.cause)
            .finish()
    }
}
