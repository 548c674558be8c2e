//! Changes of a sequence.

use core::fmt;
use std::sync::Arc;

/// A change of a [`Vec`](crate::collections::Vec): from an index on, some elements were replaced by
/// others, and what follows has moved.
///
/// Applied in order to a `std::vec::Vec` with `splice`, changes lead from one state to the next.
///
/// # Examples
///
/// ```
/// use mosaik::collections::VecChange;
///
/// fn follow(copy: &mut Vec<u64>, change: &VecChange<u64>) {
///     let start = change.index() as usize;
///     let end = start + change.removed().len();
///     copy.splice(start..end, change.inserted().copied());
/// }
/// ```
pub struct VecChange<T> {
    pub(super) index: u64,
    pub(super) removed: Elements<T>,
    pub(super) inserted: Elements<T>,
}

/// An element and the bytes of its encoding.
pub(crate) struct Item<T> {
    pub(super) value: T,
    pub(super) size: u64,
}

/// Elements that a change shares with the content.
pub(super) enum Elements<T> {
    None,
    One(Arc<Item<T>>),
    Many(Arc<[Arc<Item<T>>]>),
}

impl<T> Elements<T> {
    pub(super) fn as_slice(&self) -> &[Arc<Item<T>>] {
        match self {
            Self::None => &[],
            Self::One(element) => core::slice::from_ref(element),
            Self::Many(elements) => elements,
        }
    }
}

impl<T> From<Vec<Arc<Item<T>>>> for Elements<T> {
    fn from(mut elements: Vec<Arc<Item<T>>>) -> Self {
        match elements.len() {
            0 => Self::None,
            1 => elements.pop().map_or(Self::None, Self::One),
            _ => Self::Many(elements.into()),
        }
    }
}

impl<T> Clone for Elements<T> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(element) => Self::One(element.clone()),
            Self::Many(elements) => Self::Many(elements.clone()),
        }
    }
}

impl<T> VecChange<T> {
    /// Index at which the change begins, both before and after it.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The elements that were there.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = &T> {
        self.removed.as_slice().iter().map(|element| &element.value)
    }

    /// The elements that are there now.
    pub fn inserted(&self) -> impl ExactSizeIterator<Item = &T> {
        self.inserted
            .as_slice()
            .iter()
            .map(|element| &element.value)
    }
}

impl<T> Clone for VecChange<T> {
    fn clone(&self) -> Self {
        Self {
            index: self.index,
            removed: self.removed.clone(),
            inserted: self.inserted.clone(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for VecChange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VecChange")
            .field("index", &self.index)
            .field("removed", &self.removed().collect::<Vec<_>>())
            .field("inserted", &self.inserted().collect::<Vec<_>>())
            .finish()
    }
}
