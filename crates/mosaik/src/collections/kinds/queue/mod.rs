//! `PriorityQueue`: double-ended, keyed.

mod change;
mod entry;
mod kind;

use core::{borrow::Borrow, fmt, hash::Hash, ops::RangeBounds};
use std::sync::Arc;

pub use change::QueueChange;
use entry::Entry;
use kind::{QueueKind, op};

use super::super::{
    CollectionConfig, Error, Key, MutationFuture, OpenError, OrderedKey, Status, StoreId, Value,
    Version, Watch, When,
    engine::{Everything, Handle, Live, Opening, Outcome},
};
use crate::groups::{GroupId, Groups};

/// A replicated queue of values with a priority each, unique by key, open at both ends.
///
/// Of equal priorities the entry with the smaller encoded key comes first. A queue with a capacity
/// drops the entry that comes first of all while it holds more.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::PriorityQueue;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let orders = PriorityQueue::<u64, String, f64>::writer(&network, "orders");
/// orders.when().online().await;
/// orders.insert(1822, "order-1".into(), 0.5).await?;
/// orders.insert(1830, "order-2".into(), 1.5).await?;
/// assert_eq!(orders.max_priority(), Some(1830));
/// let best = orders.pop_max().await?.value;
/// assert_eq!(best, Some((1830, "order-2".into(), 1.5)));
/// # Ok(())
/// # }
/// ```
pub struct PriorityQueue<
    P: OrderedKey,
    K: Key,
    V: Value,
    const CAP: u64 = { u64::MAX },
    const IS_WRITER: bool = true,
>(Handle<QueueKind<P, K, V, CAP>>);

/// A [`PriorityQueue`] that can be changed.
pub type PriorityQueueWriter<P, K, V, const CAP: u64 = { u64::MAX }> =
    PriorityQueue<P, K, V, CAP, true>;
/// A [`PriorityQueue`] that can only be read.
pub type PriorityQueueReader<P, K, V, const CAP: u64 = { u64::MAX }> =
    PriorityQueue<P, K, V, CAP, false>;
/// A [`PriorityQueue`] without a capacity.
pub type UnboundedPriorityQueue<P, K, V, const IS_WRITER: bool = true> =
    PriorityQueue<P, K, V, { u64::MAX }, IS_WRITER>;
/// A [`PriorityQueue`] with a capacity.
pub type BoundedPriorityQueue<P, K, V, const CAP: u64, const IS_WRITER: bool = true> =
    PriorityQueue<P, K, V, CAP, IS_WRITER>;

super::handles!(
    PriorityQueue<P: OrderedKey, K: Key, V: Value; const CAP>,
    [P, K, V],
    QueueKind<P, K, V, CAP>
);

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64, const IS_WRITER: bool>
    PriorityQueue<P, K, V, CAP, IS_WRITER>
{
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.keys.len())
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most entries that the queue holds.
    pub const fn capacity(&self) -> u64 {
        CAP
    }

    /// Returns whether the key has an entry.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.read(|state| state.keys.get(key).is_some())
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.0.read(|state| state.keys.get(key).cloned())?;
        Some(entry.value.clone())
    }

    /// The priority of a key.
    pub fn get_priority<Q>(&self, key: &Q) -> Option<P>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.0.read(|state| state.keys.get(key).cloned())?;
        Some(entry.priority.clone())
    }

    /// An entry of the lowest priority.
    pub fn get_min(&self) -> Option<(P, K, V)> {
        let first = self.0.read(|state| state.first().cloned())?;
        Some(first.parts())
    }

    /// An entry of the highest priority.
    pub fn get_max(&self) -> Option<(P, K, V)> {
        let last = self.0.read(|state| state.last().cloned())?;
        Some(last.parts())
    }

    /// The lowest priority.
    pub fn min_priority(&self) -> Option<P> {
        let first = self.0.read(|state| state.first().cloned())?;
        Some(first.priority.clone())
    }

    /// The highest priority.
    pub fn max_priority(&self) -> Option<P> {
        let last = self.0.read(|state| state.last().cloned())?;
        Some(last.priority.clone())
    }

    /// The same as [`iter_asc`](Self::iter_asc).
    pub fn iter(&self) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        self.iter_asc()
    }

    /// All entries of the present state, by ascending priority.
    pub fn iter_asc(
        &self,
    ) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        let entries = self.0.snapshot().state.into_entries();
        entries.map(|entry| entry.parts())
    }

    /// All entries of the present state, by descending priority.
    pub fn iter_desc(
        &self,
    ) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        let entries = self.0.snapshot().state.into_entries();
        entries.rev().map(|entry| entry.parts())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> PriorityQueueSnapshot<P, K, V, CAP> {
        PriorityQueueSnapshot(self.0.snapshot())
    }

    /// Watches everything, from now on.
    pub fn watch(&self) -> Watch<PriorityQueueSnapshot<P, K, V, CAP>, QueueChange<P, K, V>> {
        self.0.watch(Everything, PriorityQueueSnapshot)
    }

    /// Watches everything after a version; see [`Map::watch_from`](super::Map::watch_from).
    pub fn watch_from(
        &self,
        version: Version,
    ) -> Watch<PriorityQueueSnapshot<P, K, V, CAP>, QueueChange<P, K, V>> {
        self.0.watch_from(version, PriorityQueueSnapshot)
    }
}

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64> PriorityQueue<P, K, V, CAP, true> {
    /// Inserts an entry, or replaces priority and value of its key.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all arguments.
    pub fn insert(
        &self,
        priority: P,
        key: K,
        value: V,
    ) -> impl Future<Output = Result<Version, Error<(P, K, V)>>>
    + Send
    + Sync
    + 'static
    + use<P, K, V, CAP> {
        let op = op::insert(&priority, &key, &value);
        self.0.submit(op, (priority, key, value))
    }

    /// Inserts many entries as one mutation, in order.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all entries.
    pub fn extend<I>(&self, items: I) -> MutationFuture<Version, std::vec::Vec<(P, K, V)>>
    where
        I: IntoIterator<Item = (P, K, V)>,
    {
        let items: std::vec::Vec<_> = items.into_iter().collect();
        let op = (!items.is_empty()).then(|| op::extend(&items));
        Box::pin(self.0.submit_some(op, items))
    }

    /// Changes the priority of a key; without effect when it is absent.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the key.
    pub fn update_priority(
        &self,
        key: &K,
        new_priority: P,
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static + use<P, K, V, CAP>
    {
        let op = op::update_priority(key, &new_priority);
        self.0.submit(op, key.clone())
    }

    /// Changes the value of a key; without effect when it is absent.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the key.
    pub fn update_value(
        &self,
        key: &K,
        new_value: V,
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static + use<P, K, V, CAP>
    {
        let op = op::update_value(key, &new_value);
        self.0.submit(op, key.clone())
    }

    /// Replaces the value of a key if it is the expected one, or removes the entry when `new` is
    /// `None`. Values are compared by their encoding.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the key.
    pub fn compare_exchange_value(
        &self,
        key: &K,
        expected: V,
        new: Option<V>,
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static + use<P, K, V, CAP>
    {
        let op = op::compare_exchange(key, &expected, new.as_ref());
        self.0.submit(op, key.clone())
    }

    /// Removes a key; without effect when it is absent.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the key.
    pub fn remove(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static + use<P, K, V, CAP>
    {
        self.0.submit(op::remove(key), key.clone())
    }

    /// Removes many keys as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all keys.
    pub fn remove_keys(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> MutationFuture<Version, std::vec::Vec<K>> {
        let keys: std::vec::Vec<_> = keys.into_iter().collect();
        let op = (!keys.is_empty()).then(|| op::remove_keys(&keys));
        Box::pin(self.0.submit_some(op, keys))
    }

    /// Removes all entries whose priority is in a range; none when it is empty or inverted.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn remove_range(&self, range: impl RangeBounds<P>) -> MutationFuture<Version, ()> {
        let op = op::remove_range::<P>(range.start_bound(), range.end_bound());
        Box::pin(self.0.submit(op, ()))
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<P, K, V, CAP>
    {
        self.0.submit(Ok(op::clear()), ())
    }

    /// Removes an entry of the lowest priority, and tells it: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_min(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<(P, K, V)>>, Error<()>>>
    + Send
    + Sync
    + 'static
    + use<P, K, V, CAP> {
        let op = Ok(op::pop_min());
        self.0.submit_returning(op, (), removed)
    }

    /// Removes an entry of the highest priority, and tells it: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_max(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<(P, K, V)>>, Error<()>>>
    + Send
    + Sync
    + 'static
    + use<P, K, V, CAP> {
        let op = Ok(op::pop_max());
        self.0.submit_returning(op, (), removed)
    }
}

fn removed<P: Clone, K: Clone, V: Clone>(entry: Option<Arc<Entry<P, K, V>>>) -> Option<(P, K, V)> {
    entry.map(|entry| entry.parts())
}

/// The state of a [`PriorityQueue`] at one version.
#[derive(Clone)]
pub struct PriorityQueueSnapshot<P: OrderedKey, K: Key, V: Value, const CAP: u64 = { u64::MAX }>(
    Live<QueueKind<P, K, V, CAP>>,
);

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64> PriorityQueueSnapshot<P, K, V, CAP> {
    /// The version of this state.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.state.keys.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most entries that the queue holds.
    pub const fn capacity(&self) -> u64 {
        CAP
    }

    /// The value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.state.keys.get(key).map(|entry| &entry.value)
    }

    /// The priority of a key.
    pub fn get_priority<Q>(&self, key: &Q) -> Option<&P>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.state.keys.get(key).map(|entry| &entry.priority)
    }

    /// Returns whether the key has an entry.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).is_some()
    }

    /// An entry of the lowest priority.
    pub fn get_min(&self) -> Option<(&P, &K, &V)> {
        self.iter().next()
    }

    /// An entry of the highest priority.
    pub fn get_max(&self) -> Option<(&P, &K, &V)> {
        self.iter().next_back()
    }

    /// The lowest priority.
    pub fn min_priority(&self) -> Option<&P> {
        self.0.state.first().map(|entry| &entry.priority)
    }

    /// The highest priority.
    pub fn max_priority(&self) -> Option<&P> {
        self.0.state.last().map(|entry| &entry.priority)
    }

    /// All entries, by descending priority.
    pub fn iter_desc(&self) -> impl DoubleEndedIterator<Item = (&P, &K, &V)> + Send {
        self.iter().rev()
    }

    /// The same as [`iter_asc`](Self::iter_asc).
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&P, &K, &V)> + Send {
        self.iter_asc()
    }

    /// All entries, by ascending priority.
    pub fn iter_asc(&self) -> impl DoubleEndedIterator<Item = (&P, &K, &V)> + Send {
        let entries = self.0.state.entries();
        entries.map(|entry| (&entry.priority, &entry.key, &entry.value))
    }
}

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64> fmt::Debug
    for PriorityQueueSnapshot<P, K, V, CAP>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<QueueKind<P, K, V, CAP>>("PriorityQueueSnapshot", &self.0, f)
    }
}
