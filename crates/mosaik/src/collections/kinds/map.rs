//! `Map`: unordered keys and values.

use core::{borrow::Borrow, fmt, hash::Hash, time::Duration};
use std::sync::Arc;

use super::{
    super::{
        CollectionConfig, Error, Key, MutationFuture, OpenError, Status, StoreId, Value, Version,
        Watch, When,
        engine::{Everything, Handle, Live, Opening, Outcome},
        state::{Keyed, Trie},
    },
    keyed::{
        self, Batch, Container, Entry, KeyedKind, MapChange, Name, OneKey, keyed_writes, millis,
        op, update,
    },
};
use crate::groups::{GroupId, Groups};

/// A replicated map without order.
///
/// Reads are local and never wait; mutations go through the collection's group and take effect in
/// one order everywhere. See [`collections`](crate::collections) for what all kinds have in common.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::Map;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let prices = Map::<String, u64>::writer(&network, "prices");
/// prices.when().online().await;
/// prices.insert("ETH".into(), 1822).await?;
/// assert_eq!(prices.get("ETH"), Some(1822));
/// # Ok(())
/// # }
/// ```
pub struct Map<K: Key, V: Value, const IS_WRITER: bool = true>(Handle<MapKind<K, V>>);

/// A [`Map`] that can be changed.
pub type MapWriter<K, V> = Map<K, V, true>;
/// A [`Map`] that can only be read.
pub type MapReader<K, V> = Map<K, V, false>;

pub(crate) struct MapName;

impl Name for MapName {
    const NAME: &'static str = "map";
    const SIZE: &'static str = "mosaik.collections.map.size";
}

type Entries<K, V> = Trie<Entry<K, V>>;
pub(crate) type MapKind<K, V> = KeyedKind<MapName, Entries<K, V>, K, V>;

impl<K: Key, V: Value> Container<K, V> for Trie<Entry<K, V>> {
    fn len(&self) -> usize {
        self.len()
    }

    fn find(&self, key: &K) -> Option<&Arc<Entry<K, V>>> {
        self.get(key)
    }

    fn put(&mut self, entry: Arc<Entry<K, V>>) -> Option<Arc<Entry<K, V>>> {
        self.insert(entry)
    }

    fn take(&mut self, key: &K) -> Option<Arc<Entry<K, V>>> {
        self.remove(key)
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry<K, V>>> {
        self.iter()
    }

    fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k K>) {
        self.prefetch(keys);
    }
}

super::handles!(Map<K: Key, V: Value>, [K, V], MapKind<K, V>);

impl<K: Key, V: Value, const IS_WRITER: bool> Map<K, V, IS_WRITER> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.entries.len())
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the key has a value.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.read(|state| state.entries.get(key).is_some())
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // The value is cloned with no lock held: it may be large.
        let entry = self.0.read(|state| state.entries.get(key).cloned())?;
        Some(entry.value.clone())
    }

    /// The value of a key and the version that wrote it.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(V, Version)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.0.read(|state| state.entries.get(key).cloned())?;
        Some((entry.value.clone(), entry.version))
    }

    /// The values of several keys in one state, in the order of the keys.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> std::vec::Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
    {
        let state = self.0.snapshot().state;
        keys.into_iter()
            .map(|key| state.entries.get(key).map(|entry| entry.value.clone()))
            .collect()
    }

    /// All entries of the present state. The order is unspecified, and the same on all members with
    /// the same content.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + Send + use<K, V, IS_WRITER> {
        self.entries()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
    }

    /// All keys of the present state.
    pub fn keys(&self) -> impl Iterator<Item = K> + Send + use<K, V, IS_WRITER> {
        self.entries().map(|entry| entry.key.clone())
    }

    /// All values of the present state.
    pub fn values(&self) -> impl Iterator<Item = V> + Send + use<K, V, IS_WRITER> {
        self.entries().map(|entry| entry.value.clone())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> MapSnapshot<K, V> {
        MapSnapshot(self.0.snapshot())
    }

    fn entries(&self) -> impl Iterator<Item = Arc<Entry<K, V>>> + Send + use<K, V, IS_WRITER> {
        self.0.snapshot().state.entries.into_iter()
    }
}

keyed_writes!(Map<Key, V>, MapSnapshot);

/// Result of a compare-exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange<V> {
    /// True if the value was the expected one, and was replaced.
    pub applied: bool,
    /// The value before it.
    pub current: Option<V>,
}

pub(super) fn previous<K, V: Clone>(outcome: keyed::Outcome<K, V>) -> Option<V> {
    outcome.previous().map(|entry| entry.value.clone())
}

pub(super) fn exchange<K, V: Clone>(outcome: keyed::Outcome<K, V>) -> Exchange<V> {
    Exchange {
        applied: matches!(outcome, keyed::Outcome::Exchanged(true, _)),
        current: previous(outcome),
    }
}

/// Presence of the entry that a mutation is about.
pub(super) fn is_there<K, V>(outcome: keyed::Outcome<K, V>) -> bool {
    outcome.previous().is_some()
}

/// The state of a [`Map`] at one version.
#[derive(Clone)]
pub struct MapSnapshot<K: Key, V: Value>(Live<MapKind<K, V>>);

impl<K: Key, V: Value> MapSnapshot<K, V> {
    /// The version of this state.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.state.entries.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the key has a value.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).is_some()
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.state.entries.get(key).map(|entry| &entry.value)
    }

    /// The value of a key and the version that wrote it.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(&V, Version)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.0.state.entries.get(key)?;
        Some((&entry.value, entry.version))
    }

    /// The values of several keys, in the order of the keys given.
    pub fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> std::vec::Vec<Option<&V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// The time that a key had left when the snapshot was made; `None` when it is absent or does not
    /// expire. In the snapshot of a watch that goes on from an older version, also when the key was
    /// changed since.
    pub fn ttl(&self, key: &K) -> Option<Duration> {
        self.0.state.ttl(key, self.0.clock_millis)
    }

    /// All entries; the order is unspecified.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + Send {
        let entries = self.0.state.entries.iter();
        entries.map(|entry| (entry.key(), &entry.value))
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Send {
        self.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> + Send {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Key, V: Value> fmt::Debug for MapSnapshot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<MapKind<K, V>>("MapSnapshot", &self.0, f)
    }
}
