//! An entry before and after a change, and what changed it.

use std::sync::Arc;

/// Cause of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A mutation of its key, or of everything.
    Write,
    /// Its time to live was over.
    Expired,
    /// The capacity of its queue was exceeded.
    Evicted,
}

/// An entry before and after: on one side at least there is one.
pub(super) enum Sides<E> {
    Created(Arc<E>),
    Replaced(Arc<E>, Arc<E>),
    Removed(Arc<E>),
}

impl<E> Sides<E> {
    pub(super) fn put(old: Option<Arc<E>>, new: Arc<E>) -> Self {
        match old {
            Some(old) => Self::Replaced(old, new),
            None => Self::Created(new),
        }
    }

    /// The entry after, or else the one before.
    pub(super) fn last(&self) -> &Arc<E> {
        match self {
            Self::Created(entry) | Self::Replaced(_, entry) | Self::Removed(entry) => entry,
        }
    }

    pub(super) fn before(&self) -> Option<&Arc<E>> {
        match self {
            Self::Created(_) => None,
            Self::Replaced(old, _) | Self::Removed(old) => Some(old),
        }
    }

    pub(super) fn after(&self) -> Option<&Arc<E>> {
        match self {
            Self::Created(new) | Self::Replaced(_, new) => Some(new),
            Self::Removed(_) => None,
        }
    }
}

impl<E> Clone for Sides<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Created(new) => Self::Created(new.clone()),
            Self::Replaced(old, new) => Self::Replaced(old.clone(), new.clone()),
            Self::Removed(old) => Self::Removed(old.clone()),
        }
    }
}
