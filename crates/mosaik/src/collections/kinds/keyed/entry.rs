//! Entries, and the structures that hold them.

use core::{cmp::Ordering, ops::Bound};
use std::sync::Arc;

use super::{
    super::super::{
        Key, Value, Version,
        engine::{Print, key_bytes},
        state::Keyed,
    },
    op::Pair,
};

/// An entry of a keyed collection. Never changed: a write makes a new one.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The version that wrote it.
    pub(crate) version: Version,
    /// Fingerprint of the value's encoding, for comparisons.
    pub(super) print: Print,
    /// Bytes of its encoded key and value.
    pub(super) size: u64,
}

impl<K: Key, V> Keyed for Entry<K, V> {
    type Key = K;

    fn key(&self) -> &K {
        &self.key
    }

    fn tie(&self, other: &Self) -> Ordering {
        key_bytes(&self.key).cmp(&key_bytes(&other.key))
    }
}

/// The structure that holds the entries.
pub(crate) trait Container<K: 'static, V: 'static>:
    Clone + Default + Send + Sync + 'static
{
    fn len(&self) -> usize;
    fn find(&self, key: &K) -> Option<&Arc<Entry<K, V>>>;
    /// Returns the entry that was replaced.
    fn put(&mut self, entry: Arc<Entry<K, V>>) -> Option<Arc<Entry<K, V>>>;
    fn take(&mut self, key: &K) -> Option<Arc<Entry<K, V>>>;
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry<K, V>>>;

    /// Brings what is about to be changed into the processor's caches, where that helps.
    fn prefetch<'k>(&self, _keys: impl Iterator<Item = &'k K>) {}

    /// The keys of a range, where there is an order.
    fn keys_between(&self, _start: Bound<K>, _end: Bound<K>) -> Vec<K> {
        Vec::new()
    }
}

impl<K: Key, V: Value> Entry<K, V> {
    pub(super) fn new((key, value, print): Pair<K, V>, version: Version) -> Self {
        Self {
            size: key.size + value.size,
            key: key.value,
            value: value.value,
            version,
            print,
        }
    }
}
