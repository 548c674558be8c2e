//! `OrderedMap`: keys and values in the order of the keys.

use core::{
    borrow::Borrow,
    fmt,
    ops::{Bound, RangeBounds},
    time::Duration,
};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    super::{
        CollectionConfig, Error, MutationFuture, OpenError, OrderedKey, Status, StoreId, Value,
        Version, Watch, When,
        engine::{Everything, Handle, Live, Opening, Outcome, Select},
    },
    keyed::{
        Batch, Container, Entry, KeyedKind, MapChange, Name, OneKey, keyed_writes, millis, op,
        part, those, update,
    },
    map::{Exchange, exchange, is_there, previous},
    pieces::{End, PIECE, Pieces},
};
use crate::groups::{GroupId, Groups};

/// A replicated map in the order of its keys.
///
/// Everything that a [`Map`](super::Map) has, and reads by range, prefix and page.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::OrderedMap;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let config = OrderedMap::<String, String>::writer(&network, "config");
/// config.when().online().await;
/// config.insert("db/host".into(), "10.0.0.5".into()).await?;
/// config.insert("db/port".into(), "5432".into()).await?;
/// assert_eq!(config.prefix("db/").count(), 2);
/// # Ok(())
/// # }
/// ```
pub struct OrderedMap<K: OrderedKey, V: Value, const IS_WRITER: bool = true>(
    Handle<OrderedMapKind<K, V>>,
);

/// An [`OrderedMap`] that can be changed.
pub type OrderedMapWriter<K, V> = OrderedMap<K, V, true>;
/// An [`OrderedMap`] that can only be read.
pub type OrderedMapReader<K, V> = OrderedMap<K, V, false>;

pub(crate) struct OrderedMapName;

impl Name for OrderedMapName {
    const NAME: &'static str = "ordered-map";
    const SIZE: &'static str = "mosaik.collections.ordered_map.size";
}

pub(crate) type OrderedMapKind<K, V> = KeyedKind<OrderedMapName, Tree<K, V>, K, V>;

/// Entries by their keys. The tree keeps a key of its own beside each entry's, so that borrowed
/// forms of it can be looked up.
pub(crate) struct Tree<K: Ord, V>(RedBlackTreeMapSync<K, Arc<Entry<K, V>>>);

impl<K: Ord, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Ord, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<K: OrderedKey, V: Value> Container<K, V> for Tree<K, V> {
    fn len(&self) -> usize {
        self.0.size()
    }

    fn find(&self, key: &K) -> Option<&Arc<Entry<K, V>>> {
        self.0.get(key)
    }

    fn put(&mut self, entry: Arc<Entry<K, V>>) -> Option<Arc<Entry<K, V>>> {
        let former = self.0.get(&entry.key).cloned();
        self.0.insert_mut(entry.key.clone(), entry);
        former
    }

    fn take(&mut self, key: &K) -> Option<Arc<Entry<K, V>>> {
        let former = self.0.get(key).cloned()?;
        self.0.remove_mut(key);
        Some(former)
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry<K, V>>> {
        self.0.values()
    }

    fn keys_between(&self, start: Bound<K>, end: Bound<K>) -> Vec<K> {
        let range = (start, end);
        if is_inverted(&range) {
            return Vec::new();
        }
        self.0.range(range).map(|(key, _)| key.clone()).collect()
    }
}

super::handles!(
    OrderedMap<K: OrderedKey, V: Value>,
    [K, V],
    OrderedMapKind<K, V>
);

impl<K: OrderedKey, V: Value, const IS_WRITER: bool> OrderedMap<K, V, IS_WRITER> {
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
        Q: Ord + ?Sized,
    {
        self.0.read(|state| state.entries.0.contains_key(key))
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let entry = self.0.read(|state| state.entries.0.get(key).cloned())?;
        Some(entry.value.clone())
    }

    /// The value of a key and the version that wrote it.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(V, Version)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let entry = self.0.read(|state| state.entries.0.get(key).cloned())?;
        Some((entry.value.clone(), entry.version))
    }

    /// The values of several keys in one state, in the order of the keys given.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized + 'q,
    {
        let snapshot = self.snapshot();
        keys.into_iter()
            .map(|key| snapshot.get(key).cloned())
            .collect()
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Option<(K, V)> {
        let entry = self
            .0
            .read(|state| Some(state.entries.0.first()?.1.clone()))?;
        Some((entry.key.clone(), entry.value.clone()))
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Option<(K, V)> {
        let entry = self
            .0
            .read(|state| Some(state.entries.0.last()?.1.clone()))?;
        Some((entry.key.clone(), entry.value.clone()))
    }

    /// All entries of the present state, in the order of their keys. The state is kept as long as the
    /// iterator.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, V)> + Send + use<K, V, IS_WRITER> {
        let tree = self.0.snapshot().state.entries.0;
        pairs(between((Bound::Unbounded, Bound::Unbounded), tree))
    }

    /// All keys of the present state, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> + Send + use<K, V, IS_WRITER> {
        self.iter().map(|(key, _)| key)
    }

    /// All values of the present state, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = V> + Send + use<K, V, IS_WRITER> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries of a range of keys, in order; none when it is empty or inverted.
    pub fn range<Q, R>(
        &self,
        range: R,
    ) -> impl DoubleEndedIterator<Item = (K, V)> + Send + use<K, V, IS_WRITER, Q, R>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        R: RangeBounds<Q>,
    {
        let tree = self.0.snapshot().state.entries.0;
        let ends = (!is_inverted(&range)).then(|| {
            let mut range = tree.range(range).map(|(_, entry)| entry.clone());
            let first = range.next()?;
            let last = range.next_back().unwrap_or_else(|| first.clone());
            Some((Bound::Included(first), Bound::Included(last)))
        });
        let entries = ends.flatten().map(|ends| between(ends, tree));
        pairs(entries.into_iter().flatten())
    }

    /// The entries whose key, a text or bytes, begins with this, in order.
    pub fn prefix<Q>(
        &self,
        prefix: &Q,
    ) -> impl DoubleEndedIterator<Item = (K, V)> + Send + use<K, V, IS_WRITER, Q>
    where
        K: Borrow<Q>,
        Q: Ord + AsRef<[u8]> + ?Sized,
    {
        let tree = self.0.snapshot().state.entries.0;
        // All at once: where the last of them is can't be looked up.
        let entries: Vec<_> = tree
            .range((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| {
                let key: &Q = (*key).borrow();
                key.as_ref().starts_with(prefix.as_ref())
            })
            .map(|(_, entry)| entry.clone())
            .collect();
        pairs(entries.into_iter())
    }

    /// Page of at most `limit` entries with keys greater than `after`, and whether there are more.
    pub fn page(&self, after: Option<&K>, limit: usize) -> (Vec<(K, V)>, bool) {
        let tree = self.0.snapshot().state.entries;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = tree.0.range::<K, _>((start, Bound::Unbounded));
        let page = rest
            .by_ref()
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.value.clone()))
            .collect();
        (page, rest.next().is_some())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> OrderedMapSnapshot<K, V> {
        OrderedMapSnapshot(self.0.snapshot())
    }
}

/// The entries between two, taken as they are asked for.
fn between<K: OrderedKey, V: Value>(
    ends: (Bound<Arc<Entry<K, V>>>, Bound<Arc<Entry<K, V>>>),
    tree: RedBlackTreeMapSync<K, Arc<Entry<K, V>>>,
) -> impl DoubleEndedIterator<Item = Arc<Entry<K, V>>> + Send + use<K, V> {
    Pieces::new(ends, move |low, high, end| {
        let bounds = (low.map(|low| &low.key), high.map(|high| &high.key));
        let entries = tree.range::<K, _>(bounds).map(|(_, entry)| entry.clone());
        match end {
            End::First => entries.take(PIECE).collect(),
            End::Last => entries.rev().take(PIECE).collect(),
        }
    })
}

/// Clones keys and values as they are asked for.
fn pairs<K: OrderedKey, V: Value, I>(
    entries: I,
) -> impl DoubleEndedIterator<Item = (K, V)> + Send + use<K, V, I>
where
    I: DoubleEndedIterator<Item = Arc<Entry<K, V>>> + Send,
{
    entries.map(|entry| (entry.key.clone(), entry.value.clone()))
}

/// Returns whether a range has its start behind its end, on which trees panic.
fn is_inverted<Q: Ord + ?Sized>(range: &impl RangeBounds<Q>) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Excluded(start), Bound::Excluded(end)) => start >= end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start > end,
        _ => false,
    }
}

keyed_writes!(OrderedMap<OrderedKey, V>, OrderedMapSnapshot);

impl<K: OrderedKey, V: Value, const IS_WRITER: bool> OrderedMap<K, V, IS_WRITER> {
    /// Watches a range of keys, from now on.
    pub fn watch_range(
        &self,
        range: impl RangeBounds<K> + Send + Sync + 'static,
    ) -> Watch<OrderedMapSnapshot<K, V>, MapChange<K, V>> {
        self.0.watch(KeyRange(range), OrderedMapSnapshot)
    }

    /// Watches the keys, texts or bytes, that begin with this, from now on.
    pub fn watch_prefix(
        &self,
        prefix: impl AsRef<[u8]>,
    ) -> Watch<OrderedMapSnapshot<K, V>, MapChange<K, V>>
    where
        K: AsRef<[u8]>,
    {
        let prefix = KeyPrefix(prefix.as_ref().into());
        self.0.watch(prefix, OrderedMapSnapshot)
    }
}

/// A range of keys that is watched.
struct KeyRange<R>(R);

impl<K, V, R> Select<OrderedMapKind<K, V>> for KeyRange<R>
where
    K: OrderedKey,
    V: Value,
    R: RangeBounds<K> + Send + Sync + 'static,
{
    fn changes(&self, changes: &Arc<[MapChange<K, V>]>) -> Option<Arc<[MapChange<K, V>]>> {
        those(changes, |key| self.0.contains(key))
    }

    fn content(&self, live: &Live<OrderedMapKind<K, V>>) -> Live<OrderedMapKind<K, V>> {
        let (start, end) = (self.0.start_bound(), self.0.end_bound());
        if is_inverted::<K>(&(start, end)) {
            return part(live, []);
        }
        let range = live.state.entries.0.range::<K, _>((start, end));
        part(live, range.map(|(_, entry)| entry))
    }
}

/// Keys of one beginning that are watched.
struct KeyPrefix(Box<[u8]>);

impl<K, V> Select<OrderedMapKind<K, V>> for KeyPrefix
where
    K: OrderedKey + AsRef<[u8]>,
    V: Value,
{
    fn changes(&self, changes: &Arc<[MapChange<K, V>]>) -> Option<Arc<[MapChange<K, V>]>> {
        those(changes, |key| key.as_ref().starts_with(&self.0))
    }

    /// Looks at all keys: their order need not be that of their bytes.
    fn content(&self, live: &Live<OrderedMapKind<K, V>>) -> Live<OrderedMapKind<K, V>> {
        let entries = live.state.entries.entries();
        part(
            live,
            entries.filter(|entry| entry.key.as_ref().starts_with(&self.0)),
        )
    }
}

impl<K: OrderedKey, V: Value> OrderedMap<K, V, true> {
    /// Removes all keys of a range, as one mutation; none when it is empty or inverted.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn remove_range(&self, range: impl RangeBounds<K>) -> MutationFuture<Version, ()> {
        let op = op::remove_range(range.start_bound(), range.end_bound());
        Box::pin(self.0.submit(op, ()))
    }
}

/// The state of an [`OrderedMap`] at one version.
#[derive(Clone)]
pub struct OrderedMapSnapshot<K: OrderedKey, V: Value>(Live<OrderedMapKind<K, V>>);

impl<K: OrderedKey, V: Value> OrderedMapSnapshot<K, V> {
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

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.state.entries.0.get(key).map(|entry| &entry.value)
    }

    /// Returns whether the key has a value.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key).is_some()
    }

    /// The value of a key and the version that wrote it.
    pub fn get_versioned<Q>(&self, key: &Q) -> Option<(&V, Version)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let entry = self.0.state.entries.0.get(key)?;
        Some((&entry.value, entry.version))
    }

    /// The values of several keys, in the order of the keys given.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<&V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized + 'q,
    {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// The time that a key had left when the snapshot was made; `None` when it is absent or does not
    /// expire. In the snapshot of a watch that goes on from an older version, also when the key was
    /// changed since.
    pub fn ttl(&self, key: &K) -> Option<Duration> {
        self.0.state.ttl(key, self.0.clock_millis)
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// The entries whose key, a text or bytes, begins with this, in order.
    pub fn prefix<Q>(&self, prefix: &Q) -> impl DoubleEndedIterator<Item = (&K, &V)> + Send
    where
        K: Borrow<Q>,
        Q: Ord + AsRef<[u8]> + ?Sized,
    {
        let tree = &self.0.state.entries.0;
        let entries = tree.range((Bound::Included(prefix), Bound::Unbounded));
        let entries = entries.take_while(|(key, _)| {
            let key: &Q = (*key).borrow();
            key.as_ref().starts_with(prefix.as_ref())
        });
        let entries: Vec<_> = entries.map(|(key, entry)| (key, &entry.value)).collect();
        entries.into_iter()
    }

    /// Page of at most `limit` entries with keys greater than `after`, and whether there are more.
    pub fn page(&self, after: Option<&K>, limit: usize) -> (Vec<(&K, &V)>, bool) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tree = &self.0.state.entries.0;
        let mut rest = tree.range::<K, _>((start, Bound::Unbounded));
        let page = rest.by_ref().take(limit);
        let page = page.map(|(key, entry)| (key, &entry.value)).collect();
        (page, rest.next().is_some())
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Send {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Send {
        self.iter().map(|(_, value)| value)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Send {
        let entries = self.0.state.entries.0.iter();
        entries.map(|(key, entry)| (key, &entry.value))
    }

    /// The entries of a range of keys, in order; none when it is empty or inverted.
    pub fn range<Q, R>(&self, range: R) -> impl DoubleEndedIterator<Item = (&K, &V)> + Send
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        R: RangeBounds<Q> + Send,
    {
        let range = (!is_inverted(&range)).then_some(range);
        let entries = range.map(|range| self.0.state.entries.0.range(range));
        let entries: Vec<_> = entries.into_iter().flatten().collect();
        entries.into_iter().map(|(key, entry)| (key, &entry.value))
    }
}

impl<K: OrderedKey, V: Value> fmt::Debug for OrderedMapSnapshot<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<OrderedMapKind<K, V>>("OrderedMapSnapshot", &self.0, f)
    }
}
