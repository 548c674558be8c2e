//! Entries of a queue.

use core::cmp::Ordering;

use super::super::super::{
    Key,
    engine::{Element, Print, key_bytes},
    state::Keyed,
};

/// An entry. Never changed: a write makes a new one.
pub(crate) struct Entry<P, K, V> {
    pub(super) priority: P,
    pub(super) key: K,
    pub(super) value: V,
    /// Fingerprint of the value's encoding, for comparisons.
    pub(super) print: Print,
    /// Bytes of the encoded priority, key and value, in this order.
    pub(super) sizes: [u64; 3],
}

impl<P, K: Key, V> Keyed for Entry<P, K, V> {
    type Key = K;

    fn key(&self) -> &K {
        &self.key
    }

    fn tie(&self, other: &Self) -> Ordering {
        key_bytes(&self.key).cmp(&key_bytes(&other.key))
    }
}

impl<P, K, V> Entry<P, K, V> {
    pub(super) fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

impl<P: Clone, K: Clone, V: Clone> Entry<P, K, V> {
    pub(super) fn with_value(&self, value: Element<V>, print: Print) -> Self {
        Self {
            sizes: [self.sizes[0], self.sizes[1], value.size],
            priority: self.priority.clone(),
            key: self.key.clone(),
            value: value.value,
            print,
        }
    }

    pub(super) fn parts(&self) -> (P, K, V) {
        (self.priority.clone(), self.key.clone(), self.value.clone())
    }
}
