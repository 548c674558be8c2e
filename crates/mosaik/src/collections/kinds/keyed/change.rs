//! Changes of a keyed collection.

use core::fmt;
use std::sync::Arc;

use super::{
    super::{
        super::Version,
        sides::{Cause, Sides},
    },
    entry::Entry,
};

/// A change of one entry of a [`Map`](crate::collections::Map) or an
/// [`OrderedMap`](crate::collections::OrderedMap), and of a
/// [`Set`](crate::collections::Set), whose entries have no value.
pub struct MapChange<K, V> {
    sides: Sides<Entry<K, V>>,
    cause: Cause,
}

/// A change of one element of a [`Set`](crate::collections::Set).
pub type SetChange<T> = MapChange<T, ()>;

impl<K, V> MapChange<K, V> {
    pub(super) fn put(old: Option<Arc<Entry<K, V>>>, new: Arc<Entry<K, V>>) -> Self {
        Self {
            sides: Sides::put(old, new),
            cause: Cause::Write,
        }
    }

    pub(super) fn removed(old: Arc<Entry<K, V>>, cause: Cause) -> Self {
        Self {
            sides: Sides::Removed(old),
            cause,
        }
    }

    pub(super) fn old_entry(&self) -> Option<&Arc<Entry<K, V>>> {
        self.sides.before()
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.sides.last().key
    }

    /// The value before the change; `None` when the key was absent.
    pub fn old(&self) -> Option<&V> {
        self.sides.before().map(|entry| &entry.value)
    }

    /// The version that wrote the value before the change.
    pub fn old_version(&self) -> Option<Version> {
        self.sides.before().map(|entry| entry.version)
    }

    /// The value after the change; `None` when the entry was removed.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the value after the change, as `old` is the one before"
    )]
    pub fn new(&self) -> Option<&V> {
        self.sides.after().map(|entry| &entry.value)
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

impl<K, V> Clone for MapChange<K, V> {
    fn clone(&self) -> Self {
        Self {
            sides: self.sides.clone(),
            cause: self.cause,
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for MapChange<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapChange")
            .field("key", self.key())
            .field("old", &self.old())
            .field("new", &self.new())
            .field("cause", &self.cause)
            .finish()
    }
}
