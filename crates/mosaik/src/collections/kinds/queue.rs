//! `PriorityQueue`: double-ended, keyed.

use core::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::Hash,
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};
use std::sync::Arc;

use rpds::RedBlackTreeSetSync;

use super::super::{
    CollectionConfig, Error, Key, OrderedKey, StoreId, Value, Version, When,
    engine::{
        Applied, Element, Handle, ITEM, Kind, Live, Outcome, Place, Reader, Role, Writer,
        encodes_to, key_bytes,
    },
    state::{Keyed, Trie},
};
use crate::{
    groups::{GroupId, Groups},
    primitives::{Bytes, encoding::EncodeError},
};

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

pub(crate) struct QueueKind<P, K, V, const CAP: u64>(PhantomData<fn() -> (P, K, V)>);

pub(crate) struct Entry<P, K, V> {
    priority: P,
    key: K,
    value: V,
    /// Bytes of the encoded priority, key and value, in this order.
    sizes: [u64; 3],
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
    fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// An entry in the order of priorities; entries of one priority in that of their encoded keys.
enum Rank<P, K, V> {
    Entry(Arc<Entry<P, K, V>>),
    /// Before all entries of a priority, or after them: only for looking up.
    Before(P),
    After(P),
}

impl<P, K, V> Rank<P, K, V> {
    fn priority(&self) -> &P {
        match self {
            Self::Entry(entry) => &entry.priority,
            Self::Before(priority) | Self::After(priority) => priority,
        }
    }

    fn side(&self) -> i8 {
        match self {
            Self::Before(_) => -1,
            Self::Entry(_) => 0,
            Self::After(_) => 1,
        }
    }
}

impl<P: Ord, K: Key, V> Ord for Rank<P, K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self
            .priority()
            .cmp(other.priority())
            .then_with(|| self.side().cmp(&other.side()));
        match (self, other) {
            (Self::Entry(one), Self::Entry(other)) if order.is_eq() => one.tie(other),
            _ => order,
        }
    }
}

impl<P: Ord, K: Key, V> PartialOrd for Rank<P, K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Ord, K: Key, V> PartialEq for Rank<P, K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P: Ord, K: Key, V> Eq for Rank<P, K, V> {}

/// The content: every entry found by its key, and in the order of priorities.
pub(crate) struct State<P: Ord, K: Key, V> {
    keys: Trie<Entry<P, K, V>>,
    order: RedBlackTreeSetSync<Rank<P, K, V>>,
    bytes: u64,
}

impl<P: Ord, K: Key, V> Clone for State<P, K, V> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            order: self.order.clone(),
            bytes: self.bytes,
        }
    }
}

impl<P: Ord, K: Key, V> Default for State<P, K, V> {
    fn default() -> Self {
        Self {
            keys: Trie::default(),
            order: RedBlackTreeSetSync::new_sync(),
            bytes: 0,
        }
    }
}

const INSERT: u8 = 0;
const EXTEND: u8 = 1;
const UPDATE_PRIORITY: u8 = 2;
const UPDATE_VALUE: u8 = 3;
const COMPARE_EXCHANGE: u8 = 4;
const REMOVE: u8 = 5;
const REMOVE_KEYS: u8 = 6;
const REMOVE_RANGE: u8 = 7;
const CLEAR: u8 = 8;
const POP_MIN: u8 = 9;
const POP_MAX: u8 = 10;

type Triple<P, K, V> = (Element<P>, Element<K>, Element<V>);

fn triple<P: OrderedKey, K: Key, V: Value>(reader: &mut Reader<'_>) -> Option<Triple<P, K, V>> {
    Some((reader.element()?, reader.element()?, reader.element()?))
}

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64> Kind for QueueKind<P, K, V, CAP> {
    const NAME: &'static str = "priority-queue";
    const SIZE: &'static str = "mosaik.collections.depq.size";

    type State = State<P, K, V>;
    /// The entry that was removed.
    type Outcome = Option<Arc<Entry<P, K, V>>>;

    fn len(state: &Self::State) -> usize {
        state.keys.len()
    }

    fn apply(state: &mut Self::State, op: &mut Reader<'_>, at: &Place) -> Option<Applied<Self>> {
        let number = op.u8()?;
        let outcome = match number {
            INSERT | EXTEND => {
                let triples = op.rest(triple)?;
                if number == INSERT && triples.len() != 1 {
                    return None;
                }
                if !state.insert_all::<CAP>(triples, at) {
                    return Some(Applied::Full);
                }
                None
            }
            UPDATE_PRIORITY | UPDATE_VALUE | COMPARE_EXCHANGE => {
                return state.update(number, op, at);
            }
            REMOVE => {
                let key: Element<K> = op.element()?;
                op.is_empty().then_some(())?;
                state.remove(&key.value)
            }
            REMOVE_KEYS => {
                for key in op.rest(Reader::element::<K>)? {
                    state.remove(&key.value);
                }
                None
            }
            REMOVE_RANGE => {
                let range = (bound(op)?, bound(op)?);
                op.is_empty().then_some(())?;
                state.remove_range(range);
                None
            }
            CLEAR => {
                op.is_empty().then_some(())?;
                *state = State::default();
                None
            }
            POP_MIN | POP_MAX => {
                op.is_empty().then_some(())?;
                let entry = if number == POP_MIN {
                    state.first()
                } else {
                    state.last()
                };
                let entry = entry.cloned();
                entry.and_then(|entry| state.remove(&entry.key))
            }
            _ => return None,
        };
        Some(Applied::Done(outcome))
    }

    fn items(state: &Self::State) -> std::vec::Vec<Bytes> {
        let mut items: std::vec::Vec<_> = state
            .keys
            .iter()
            .filter_map(|entry| {
                let key = key_bytes(&entry.key);
                let mut item = Writer::new(ITEM);
                item.element(&entry.priority).ok()?;
                item.bytes(&key).ok()?;
                item.element(&entry.value).ok()?;
                Some((key, item.finish()))
            })
            .collect();
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        items.into_iter().map(|(_, item)| item).collect()
    }

    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()> {
        let entry = entry(triple(item)?);
        let known = state.keys.get(&entry.key).is_some();
        state.put(entry);
        (!known).then_some(())
    }
}

fn entry<P, K, V>((priority, key, value): Triple<P, K, V>) -> Entry<P, K, V> {
    Entry {
        sizes: [priority.size, key.size, value.size],
        priority: priority.value,
        key: key.value,
        value: value.value,
    }
}

impl<P: OrderedKey, K: Key, V: Value> State<P, K, V> {
    fn first(&self) -> Option<&Arc<Entry<P, K, V>>> {
        self.order.first().and_then(of)
    }

    fn last(&self) -> Option<&Arc<Entry<P, K, V>>> {
        self.order.last().and_then(of)
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry<P, K, V>>> + Send {
        self.order.iter().filter_map(of)
    }

    /// Inserts or replaces all, one after the other; or nothing when there is no room.
    fn insert_all<const CAP: u64>(
        &mut self,
        triples: std::vec::Vec<Triple<P, K, V>>,
        at: &Place,
    ) -> bool {
        // Snapshots are free, so a queue that would be too large is one that is dropped again.
        let former = self.clone();
        for triple in triples {
            self.put(entry(triple));
            while self.keys.len() as u64 > CAP {
                let Some(first) = self.first().cloned() else {
                    break;
                };
                self.remove(&first.key);
            }
        }
        let len = (former.keys.len(), self.keys.len());
        let fits = at.limits.admit(len, (former.bytes, self.bytes));
        if !fits {
            *self = former;
        }
        fits
    }

    fn update<const CAP: u64>(
        &mut self,
        number: u8,
        op: &mut Reader<'_>,
        at: &Place,
    ) -> Option<Applied<QueueKind<P, K, V, CAP>>> {
        let key: Element<K> = op.element()?;
        let current = self.keys.get(&key.value).cloned();
        let changed = match number {
            UPDATE_PRIORITY => {
                let priority: Element<P> = op.element()?;
                current.map(|current| Entry {
                    sizes: [priority.size, current.sizes[1], current.sizes[2]],
                    priority: priority.value,
                    key: key.value,
                    value: current.value.clone(),
                })
            }
            UPDATE_VALUE => {
                let value: Element<V> = op.element()?;
                current.map(|current| current.with_value(key.value, value))
            }
            _ => {
                let expected = op.bytes()?;
                let new = op.option::<V>()?;
                let current = current.filter(|current| encodes_to(&current.value, expected));
                match (current, new) {
                    (Some(current), Some(new)) => Some(current.with_value(key.value, new)),
                    (Some(_), None) => {
                        op.is_empty().then_some(())?;
                        return Some(Applied::Done(self.remove(&key.value)));
                    }
                    (None, _) => None,
                }
            }
        };
        op.is_empty().then_some(())?;
        if let Some(changed) = changed {
            let len = self.keys.len();
            let former = self.keys.get(&changed.key).map_or(0, |entry| entry.size());
            let bytes = self.bytes - former + changed.size();
            if !at.limits.admit((len, len), (self.bytes, bytes)) {
                return Some(Applied::Full);
            }
            self.put(changed);
        }
        Some(Applied::Done(None))
    }

    fn put(&mut self, entry: Entry<P, K, V>) {
        let entry = Arc::new(entry);
        self.bytes += entry.size();
        if let Some(replaced) = self.keys.insert(entry.clone()) {
            self.bytes -= replaced.size();
            self.order.remove_mut(&Rank::Entry(replaced));
        }
        self.order.insert_mut(Rank::Entry(entry));
    }

    fn remove(&mut self, key: &K) -> Option<Arc<Entry<P, K, V>>> {
        let removed = self.keys.remove(key)?;
        self.bytes -= removed.size();
        self.order.remove_mut(&Rank::Entry(removed.clone()));
        Some(removed)
    }

    fn remove_range(&mut self, (start, end): (Bound<P>, Bound<P>)) {
        let start = match start {
            Bound::Included(priority) => Bound::Excluded(Rank::Before(priority)),
            Bound::Excluded(priority) => Bound::Excluded(Rank::After(priority)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match end {
            Bound::Included(priority) => Bound::Excluded(Rank::After(priority)),
            Bound::Excluded(priority) => Bound::Excluded(Rank::Before(priority)),
            Bound::Unbounded => Bound::Unbounded,
        };
        if let (Bound::Excluded(start), Bound::Excluded(end)) = (&start, &end)
            && start >= end
        {
            return;
        }
        let removed: std::vec::Vec<_> = self
            .order
            .range((start, end))
            .filter_map(of)
            .cloned()
            .collect();
        for entry in removed {
            self.remove(&entry.key);
        }
    }
}

fn of<P, K, V>(rank: &Rank<P, K, V>) -> Option<&Arc<Entry<P, K, V>>> {
    match rank {
        Rank::Entry(entry) => Some(entry),
        Rank::Before(_) | Rank::After(_) => None,
    }
}

impl<P: Clone, K, V: Clone> Entry<P, K, V> {
    fn with_value(&self, key: K, value: Element<V>) -> Self {
        Self {
            sizes: [self.sizes[0], self.sizes[1], value.size],
            priority: self.priority.clone(),
            key,
            value: value.value,
        }
    }
}

impl<P: Clone, K: Clone, V: Clone> Entry<P, K, V> {
    fn parts(&self) -> (P, K, V) {
        (self.priority.clone(), self.key.clone(), self.value.clone())
    }
}

fn bound<P: OrderedKey>(op: &mut Reader<'_>) -> Option<Bound<P>> {
    Some(match op.u8()? {
        0 => Bound::Unbounded,
        1 => Bound::Included(op.element()?.value),
        2 => Bound::Excluded(op.element()?.value),
        _ => return None,
    })
}

fn write_bound<P: OrderedKey>(op: &mut Writer, bound: Bound<&P>) -> Result<(), EncodeError> {
    match bound {
        Bound::Unbounded => {
            op.u8(0);
            Ok(())
        }
        Bound::Included(priority) => {
            op.u8(1);
            op.element(priority)
        }
        Bound::Excluded(priority) => {
            op.u8(2);
            op.element(priority)
        }
    }
}

fn insert_op<'a, P: OrderedKey, K: Key, V: Value>(
    number: u8,
    items: impl IntoIterator<Item = (&'a P, &'a K, &'a V)>,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(number);
    for (priority, key, value) in items {
        op.element(priority)?;
        op.element(key)?;
        op.element(value)?;
    }
    Ok(op.finish())
}

fn keys_op<'a, K: Key>(
    number: u8,
    keys: impl IntoIterator<Item = &'a K>,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(number);
    for key in keys {
        op.element(key)?;
    }
    Ok(op.finish())
}

super::constructors!(
    PriorityQueue<P: OrderedKey, K: Key, V: Value; const CAP>,
    [P, K, V],
    QueueKind<P, K, V, CAP>,
    PriorityQueueReader<P, K, V, CAP>
);

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64, const IS_WRITER: bool>
    PriorityQueue<P, K, V, CAP, IS_WRITER>
{
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.keys.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most entries that the queue holds.
    pub const fn capacity(&self) -> u64 {
        CAP
    }

    /// Whether the key has an entry.
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
        self.0
            .read(|state| state.keys.get(key).map(|entry| entry.value.clone()))
    }

    /// The priority of a key.
    pub fn get_priority<Q>(&self, key: &Q) -> Option<P>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0
            .read(|state| state.keys.get(key).map(|entry| entry.priority.clone()))
    }

    /// An entry of the lowest priority.
    pub fn get_min(&self) -> Option<(P, K, V)> {
        self.0
            .read(|state| state.first().map(|entry| entry.parts()))
    }

    /// An entry of the highest priority.
    pub fn get_max(&self) -> Option<(P, K, V)> {
        self.0.read(|state| state.last().map(|entry| entry.parts()))
    }

    /// The lowest priority.
    pub fn min_priority(&self) -> Option<P> {
        self.0
            .read(|state| state.first().map(|entry| entry.priority.clone()))
    }

    /// The highest priority.
    pub fn max_priority(&self) -> Option<P> {
        self.0
            .read(|state| state.last().map(|entry| entry.priority.clone()))
    }

    /// The same as [`iter_asc`](Self::iter_asc).
    pub fn iter(&self) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        self.iter_asc()
    }

    /// All entries of the present state, by ascending priority.
    pub fn iter_asc(
        &self,
    ) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        self.entries().into_iter().map(|entry| entry.parts())
    }

    /// All entries of the present state, by descending priority.
    pub fn iter_desc(
        &self,
    ) -> impl Iterator<Item = (P, K, V)> + Send + use<P, K, V, CAP, IS_WRITER> {
        self.entries().into_iter().rev().map(|entry| entry.parts())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> PriorityQueueSnapshot<P, K, V, CAP> {
        PriorityQueueSnapshot(self.0.snapshot())
    }

    fn entries(&self) -> std::vec::Vec<Arc<Entry<P, K, V>>> {
        self.0.snapshot().state.entries().cloned().collect()
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
    ) -> impl Future<Output = Result<Version, Error<(P, K, V)>>> + Send + Sync + 'static {
        let op = insert_op(INSERT, [(&priority, &key, &value)]);
        self.0.submit(op, (priority, key, value))
    }

    /// Inserts many entries as one mutation, in order.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all entries.
    pub fn extend<I>(
        &self,
        items: I,
    ) -> impl Future<Output = Result<Version, Error<std::vec::Vec<(P, K, V)>>>>
    + Send
    + Sync
    + 'static
    + use<I, P, K, V, CAP>
    where
        I: IntoIterator<Item = (P, K, V)>,
    {
        let items: std::vec::Vec<_> = items.into_iter().collect();
        let op = (!items.is_empty()).then(|| {
            let borrowed = items
                .iter()
                .map(|(priority, key, value)| (priority, key, value));
            insert_op(EXTEND, borrowed)
        });
        self.0.submit_some(op, items)
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
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static {
        let op = keys_op(UPDATE_PRIORITY, [key]).and_then(|op| append(op, &new_priority));
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
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static {
        let op = keys_op(UPDATE_VALUE, [key]).and_then(|op| append(op, &new_value));
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
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static {
        let op = || {
            let mut op = Writer::new(COMPARE_EXCHANGE);
            op.element(key)?;
            op.element(&expected)?;
            op.option(new.as_ref())?;
            Ok(op.finish())
        };
        self.0.submit(op(), key.clone())
    }

    /// Removes a key; without effect when it is absent.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the key.
    pub fn remove(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static {
        self.0.submit(keys_op(REMOVE, [key]), key.clone())
    }

    /// Removes many keys as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all keys.
    pub fn remove_keys(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Version, Error<std::vec::Vec<K>>>> + Send + Sync + 'static
    {
        let keys: std::vec::Vec<_> = keys.into_iter().collect();
        let op = (!keys.is_empty()).then(|| keys_op(REMOVE_KEYS, &keys));
        self.0.submit_some(op, keys)
    }

    /// Removes all entries whose priority is in a range; none when it is empty or inverted.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn remove_range(
        &self,
        range: impl RangeBounds<P>,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        let op = || {
            let mut op = Writer::new(REMOVE_RANGE);
            write_bound(&mut op, range.start_bound())?;
            write_bound(&mut op, range.end_bound())?;
            Ok(op.finish())
        };
        self.0.submit(op(), ())
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(Writer::new(CLEAR).finish()), ())
    }

    /// Removes an entry of the lowest priority, and tells it: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_min(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<(P, K, V)>>, Error<()>>> + Send + Sync + 'static
    {
        let op = Ok(Writer::new(POP_MIN).finish());
        self.0.submit_returning(op, (), removed)
    }

    /// Removes an entry of the highest priority, and tells it: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_max(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<(P, K, V)>>, Error<()>>> + Send + Sync + 'static
    {
        let op = Ok(Writer::new(POP_MAX).finish());
        self.0.submit_returning(op, (), removed)
    }
}

fn removed<P: Clone, K: Clone, V: Clone>(entry: Option<Arc<Entry<P, K, V>>>) -> Option<(P, K, V)> {
    entry.map(|entry| entry.parts())
}

/// Adds an element to an operation.
fn append<T: Value>(op: Bytes, element: &T) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::from(op);
    writer.element(element)?;
    Ok(writer.finish())
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

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.state.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// All entries, by ascending priority.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&P, &K, &V)> + Send {
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
