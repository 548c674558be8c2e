//! The content of a queue, its operations, and their bytes.

use core::{cmp::Ordering, marker::PhantomData, ops::Bound};
use std::sync::Arc;

use rpds::RedBlackTreeSetSync;

use super::{
    super::{
        super::{
            Key, OrderedKey, Value,
            engine::{Applied, Element, ITEM, Kind, Place, Print, Reader, Writer, key_bytes},
            state::{Keyed, Trie},
        },
        pieces::{End, PIECE, Pieces},
        sides::Cause,
    },
    change::QueueChange,
    entry::Entry,
};
use crate::primitives::{Bytes, encoding::EncodeError};

pub(crate) struct QueueKind<P, K, V, const CAP: u64>(PhantomData<fn() -> (P, K, V)>);

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
    pub(super) keys: Trie<Entry<P, K, V>>,
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

type Triple<P, K, V> = (Element<P>, Element<K>, Element<V>, Print);

/// A decoded operation.
#[derive(Clone)]
pub(crate) enum Op<P, K, V> {
    Insert(Vec<Triple<P, K, V>>),
    UpdatePriority(K, Element<P>),
    UpdateValue(K, Element<V>, Print),
    CompareExchange {
        key: K,
        expected: Print,
        new: Option<(Element<V>, Print)>,
    },
    Remove(K),
    RemoveKeys(Vec<K>),
    RemoveRange(Bound<P>, Bound<P>),
    Clear,
    PopMin,
    PopMax,
}

fn triple<P: OrderedKey, K: Key, V: Value>(op: &mut Reader<'_>) -> Option<Triple<P, K, V>> {
    let (priority, key) = (op.element()?, op.element()?);
    let (value, print) = op.printed()?;
    Some((priority, key, value, print))
}

fn key<K: Key>(op: &mut Reader<'_>) -> Option<K> {
    op.element().map(|element| element.value)
}

impl<P: OrderedKey, K: Key, V: Value, const CAP: u64> Kind for QueueKind<P, K, V, CAP> {
    const NAME: &'static str = "priority-queue";
    const SIZE: &'static str = "mosaik.collections.depq.size";

    type Op = Op<P, K, V>;
    type State = State<P, K, V>;
    /// The entry that was removed.
    type Outcome = Option<Arc<Entry<P, K, V>>>;
    type Change = QueueChange<P, K, V>;

    fn len(state: &Self::State) -> usize {
        state.keys.len()
    }

    fn parse(op: &mut Reader<'_>) -> Option<Self::Op> {
        Some(match op.u8()? {
            op::INSERT => Op::Insert(vec![triple(op)?]),
            op::EXTEND => Op::Insert(op.rest(triple)?),
            op::UPDATE_PRIORITY => Op::UpdatePriority(key(op)?, op.element()?),
            op::UPDATE_VALUE => {
                let key = key(op)?;
                let (value, print) = op.printed()?;
                Op::UpdateValue(key, value, print)
            }
            op::COMPARE_EXCHANGE => Op::CompareExchange {
                key: key(op)?,
                expected: op.print()?,
                new: op.optional(Reader::printed)?,
            },
            op::REMOVE => Op::Remove(key(op)?),
            op::REMOVE_KEYS => Op::RemoveKeys(op.rest(key)?),
            op::REMOVE_RANGE => Op::RemoveRange(op.bound()?, op.bound()?),
            op::CLEAR => Op::Clear,
            op::POP_MIN => Op::PopMin,
            op::POP_MAX => Op::PopMax,
            _ => return None,
        })
    }

    fn apply(state: &mut Self::State, op: Self::Op, at: &mut Place<Self::Change>) -> Applied<Self> {
        let outcome = match op {
            Op::Insert(triples) => {
                if !state.insert_all::<CAP>(triples, at) {
                    return Applied::Full;
                }
                None
            }
            Op::UpdatePriority(key, priority) => {
                let changed = state.keys.get(&key).map(|current| Entry {
                    sizes: [priority.size, current.sizes[1], current.sizes[2]],
                    priority: priority.value,
                    key,
                    value: current.value.clone(),
                    print: current.print,
                });
                return state.update(changed, at);
            }
            Op::UpdateValue(key, value, print) => {
                let current = state.keys.get(&key);
                let changed = current.map(|current| current.with_value(value, print));
                return state.update(changed, at);
            }
            Op::CompareExchange { key, expected, new } => {
                let current = state.keys.get(&key).cloned();
                match (current.filter(|current| current.print == expected), new) {
                    (Some(current), Some((value, print))) => {
                        return state.update(Some(current.with_value(value, print)), at);
                    }
                    (Some(_), None) => state.remove(&key, Cause::Write, at),
                    (None, _) => None,
                }
            }
            Op::Remove(key) => state.remove(&key, Cause::Write, at),
            Op::RemoveKeys(keys) => {
                for key in keys {
                    state.remove(&key, Cause::Write, at);
                }
                None
            }
            Op::RemoveRange(start, end) => {
                state.remove_range(start, end, at);
                None
            }
            Op::Clear => {
                state.clear(at);
                None
            }
            Op::PopMin => {
                let first = state.first().cloned();
                first.and_then(|entry| state.remove(&entry.key, Cause::Write, at))
            }
            Op::PopMax => {
                let last = state.last().cloned();
                last.and_then(|entry| state.remove(&entry.key, Cause::Write, at))
            }
        };
        Applied::Done(outcome)
    }

    fn undo(state: &mut Self::State, change: &Self::Change) {
        match change.old_entry() {
            Some(old) => {
                state.put(old.clone());
            }
            None => {
                state.take(change.key());
            }
        }
    }

    fn items(state: &Self::State) -> Result<Vec<Bytes>, EncodeError> {
        let item = |entry: &Arc<Entry<P, K, V>>| {
            let key = key_bytes(&entry.key);
            let mut item = Writer::new(ITEM);
            item.element(&entry.priority)?;
            item.bytes(&key)?;
            item.element(&entry.value)?;
            item.raw(entry.print.as_bytes());
            for size in entry.sizes {
                item.u64(size);
            }
            Ok((key, item.finish()))
        };
        let items: Result<Vec<_>, _> = state.keys.iter().map(item).collect();
        let mut items = items?;
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()> {
        let (priority, key, value, _) = triple(item)?;
        let entry = Entry {
            priority: priority.value,
            key: key.value,
            value: value.value,
            print: item.raw_print()?,
            sizes: [item.u64()?, item.u64()?, item.u64()?],
        };
        let [priority, key, value] = entry.sizes;
        let size = priority.checked_add(key)?.checked_add(value)?;
        state.bytes.checked_add(size)?;
        state.put(Arc::new(entry)).is_none().then_some(())
    }
}

fn entry<P, K, V>((priority, key, value, print): Triple<P, K, V>) -> Entry<P, K, V> {
    Entry {
        sizes: [priority.size, key.size, value.size],
        priority: priority.value,
        key: key.value,
        value: value.value,
        print,
    }
}

impl<P: OrderedKey, K: Key, V: Value> State<P, K, V> {
    pub(super) fn first(&self) -> Option<&Arc<Entry<P, K, V>>> {
        self.order.first().and_then(of)
    }

    pub(super) fn last(&self) -> Option<&Arc<Entry<P, K, V>>> {
        self.order.last().and_then(of)
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry<P, K, V>>> + Send {
        self.order.iter().filter_map(of)
    }

    /// All entries in their order, taken as they are asked for.
    pub(super) fn into_entries(
        self,
    ) -> impl DoubleEndedIterator<Item = Arc<Entry<P, K, V>>> + Send + use<P, K, V> {
        let order = self.order;
        let rank = |entry: &Arc<Entry<P, K, V>>| Rank::Entry(entry.clone());
        Pieces::new(
            (Bound::Unbounded, Bound::Unbounded),
            move |low, high, end| {
                let bounds = (low.map(rank), high.map(rank));
                let entries = order.range(bounds).filter_map(of).cloned();
                match end {
                    End::First => entries.take(PIECE).collect(),
                    End::Last => entries.rev().take(PIECE).collect(),
                }
            },
        )
    }

    /// Inserts or replaces all, one after the other; or nothing when there is no room.
    fn insert_all<const CAP: u64>(
        &mut self,
        triples: Vec<Triple<P, K, V>>,
        at: &mut Place<QueueChange<P, K, V>>,
    ) -> bool {
        // Snapshots are free, so a queue that would be too large is one that is dropped again.
        let former = self.clone();
        for triple in triples {
            self.insert(Arc::new(entry(triple)), at);
            while self.keys.len() as u64 > CAP {
                let Some(first) = self.first().cloned() else {
                    break;
                };
                self.remove(&first.key, Cause::Evicted, at);
            }
        }
        let len = (former.keys.len(), self.keys.len());
        let fits = at.limits.admit(len, (former.bytes, self.bytes));
        if !fits {
            *self = former;
        }
        fits
    }

    /// Replaces an entry by a changed one.
    fn update<const CAP: u64>(
        &mut self,
        changed: Option<Entry<P, K, V>>,
        at: &mut Place<QueueChange<P, K, V>>,
    ) -> Applied<QueueKind<P, K, V, CAP>> {
        if let Some(changed) = changed {
            let len = self.keys.len();
            let former = self.keys.get(&changed.key).map_or(0, |entry| entry.size());
            let bytes = self.bytes - former + changed.size();
            if !at.limits.admit((len, len), (self.bytes, bytes)) {
                return Applied::Full;
            }
            self.insert(Arc::new(changed), at);
        }
        Applied::Done(None)
    }

    fn insert(&mut self, entry: Arc<Entry<P, K, V>>, at: &mut Place<QueueChange<P, K, V>>) {
        let replaced = self.put(entry.clone());
        let size = replaced.as_ref().map_or(0, |replaced| replaced.size());
        at.changes.push(QueueChange::put(replaced, entry), size);
    }

    fn remove(
        &mut self,
        key: &K,
        cause: Cause,
        at: &mut Place<QueueChange<P, K, V>>,
    ) -> Option<Arc<Entry<P, K, V>>> {
        let removed = self.take(key)?;
        let change = QueueChange::removed(removed.clone(), cause);
        at.changes.push(change, removed.size());
        Some(removed)
    }

    fn clear(&mut self, at: &mut Place<QueueChange<P, K, V>>) {
        for entry in self.entries() {
            let change = QueueChange::removed(entry.clone(), Cause::Write);
            at.changes.push(change, entry.size());
        }
        *self = Self::default();
    }

    /// Returns the entry that was replaced.
    fn put(&mut self, entry: Arc<Entry<P, K, V>>) -> Option<Arc<Entry<P, K, V>>> {
        self.bytes += entry.size();
        let replaced = self.keys.insert(entry.clone());
        if let Some(replaced) = &replaced {
            self.bytes -= replaced.size();
            self.order.remove_mut(&Rank::Entry(replaced.clone()));
        }
        self.order.insert_mut(Rank::Entry(entry));
        replaced
    }

    fn take(&mut self, key: &K) -> Option<Arc<Entry<P, K, V>>> {
        let removed = self.keys.remove(key)?;
        self.bytes -= removed.size();
        self.order.remove_mut(&Rank::Entry(removed.clone()));
        Some(removed)
    }

    fn remove_range(
        &mut self,
        start: Bound<P>,
        end: Bound<P>,
        at: &mut Place<QueueChange<P, K, V>>,
    ) {
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
        let removed: Vec<_> = self
            .order
            .range((start, end))
            .filter_map(of)
            .cloned()
            .collect();
        for entry in removed {
            self.remove(&entry.key, Cause::Write, at);
        }
    }
}

fn of<P, K, V>(rank: &Rank<P, K, V>) -> Option<&Arc<Entry<P, K, V>>> {
    match rank {
        Rank::Entry(entry) => Some(entry),
        Rank::Before(_) | Rank::After(_) => None,
    }
}

/// The bytes of operations; the numbers are part of the format.
pub(super) mod op {
    use super::{Bound, Bytes, EncodeError, Key, OrderedKey, Value, Writer};

    pub(super) const INSERT: u8 = 0;
    pub(super) const EXTEND: u8 = 1;
    pub(super) const UPDATE_PRIORITY: u8 = 2;
    pub(super) const UPDATE_VALUE: u8 = 3;
    pub(super) const COMPARE_EXCHANGE: u8 = 4;
    pub(super) const REMOVE: u8 = 5;
    pub(super) const REMOVE_KEYS: u8 = 6;
    pub(super) const REMOVE_RANGE: u8 = 7;
    pub(super) const CLEAR: u8 = 8;
    pub(super) const POP_MIN: u8 = 9;
    pub(super) const POP_MAX: u8 = 10;

    pub(in super::super) fn insert<P: OrderedKey, K: Key, V: Value>(
        priority: &P,
        key: &K,
        value: &V,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(INSERT);
        triple(&mut op, priority, key, value)?;
        Ok(op.finish())
    }

    pub(in super::super) fn extend<P: OrderedKey, K: Key, V: Value>(
        items: &[(P, K, V)],
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(EXTEND);
        for (priority, key, value) in items {
            triple(&mut op, priority, key, value)?;
        }
        Ok(op.finish())
    }

    pub(in super::super) fn update_priority<K: Key, P: OrderedKey>(
        key: &K,
        priority: &P,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(UPDATE_PRIORITY);
        op.element(key)?;
        op.element(priority)?;
        Ok(op.finish())
    }

    pub(in super::super) fn update_value<K: Key, V: Value>(
        key: &K,
        value: &V,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(UPDATE_VALUE);
        op.element(key)?;
        op.element(value)?;
        Ok(op.finish())
    }

    pub(in super::super) fn compare_exchange<K: Key, V: Value>(
        key: &K,
        expected: &V,
        new: Option<&V>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(COMPARE_EXCHANGE);
        op.element(key)?;
        op.element(expected)?;
        op.option(new)?;
        Ok(op.finish())
    }

    pub(in super::super) fn remove<K: Key>(key: &K) -> Result<Bytes, EncodeError> {
        keys(REMOVE, [key])
    }

    pub(in super::super) fn remove_keys<K: Key>(removed: &[K]) -> Result<Bytes, EncodeError> {
        keys(REMOVE_KEYS, removed)
    }

    pub(in super::super) fn remove_range<P: OrderedKey>(
        start: Bound<&P>,
        end: Bound<&P>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(REMOVE_RANGE);
        op.bound(start)?;
        op.bound(end)?;
        Ok(op.finish())
    }

    pub(in super::super) fn clear() -> Bytes {
        Writer::new(CLEAR).finish()
    }

    pub(in super::super) fn pop_min() -> Bytes {
        Writer::new(POP_MIN).finish()
    }

    pub(in super::super) fn pop_max() -> Bytes {
        Writer::new(POP_MAX).finish()
    }

    fn triple<P: OrderedKey, K: Key, V: Value>(
        op: &mut Writer,
        priority: &P,
        key: &K,
        value: &V,
    ) -> Result<(), EncodeError> {
        op.element(priority)?;
        op.element(key)?;
        op.element(value)
    }

    fn keys<'a, K: Key>(
        number: u8,
        keys: impl IntoIterator<Item = &'a K>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(number);
        for key in keys {
            op.element(key)?;
        }
        Ok(op.finish())
    }
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod tests;
