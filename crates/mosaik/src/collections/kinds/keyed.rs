//! What `Map`, `OrderedMap` and `Set` have in common: entries that are found by a key.

use core::{cmp::Ordering, marker::PhantomData};
use std::{collections::HashMap, sync::Arc};

use super::super::{
    Key, Value, Version,
    engine::{Applied, Element, ITEM, Kind, Place, Reader, Writer, encodes_to, key_bytes},
    state::Keyed,
};
use crate::primitives::{Bytes, encoding::EncodeError};

/// An entry of a keyed collection. Never changed: a write makes a new one.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The version that wrote it.
    pub(crate) version: Version,
    /// Bytes of its encoded key and value.
    size: u64,
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
}

/// The content of a keyed collection.
pub(crate) struct State<C> {
    pub(crate) entries: C,
    /// Bytes of all encoded keys and values.
    bytes: u64,
}

impl<C: Clone> Clone for State<C> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            bytes: self.bytes,
        }
    }
}

impl<C: Default> Default for State<C> {
    fn default() -> Self {
        Self {
            entries: C::default(),
            bytes: 0,
        }
    }
}

/// Tells the kinds apart that have a container of the same type.
pub(crate) trait Name: Send + Sync + 'static {
    const NAME: &'static str;
    const SIZE: &'static str;
}

/// A keyed kind.
pub(crate) struct KeyedKind<N, C, K, V>(PhantomData<fn() -> (N, C, K, V)>);

/// What an operation did.
pub(crate) enum Outcome<K, V> {
    /// Nothing that has an answer.
    Done,
    /// The entry that was there before.
    Previous(Option<Arc<Entry<K, V>>>),
    /// Whether the exchange took place, and the entry before it.
    Exchanged(bool, Option<Arc<Entry<K, V>>>),
}

impl<K, V> Outcome<K, V> {
    pub(crate) fn previous(self) -> Option<Arc<Entry<K, V>>> {
        match self {
            Self::Previous(previous) | Self::Exchanged(_, previous) => previous,
            Self::Done => None,
        }
    }
}

/// Encodes operations; the numbers are part of the format.
pub(crate) mod op {
    use super::{Bytes, EncodeError, Key, Value, Writer};

    pub(super) const INSERT: u8 = 0;
    pub(super) const EXTEND: u8 = 1;
    pub(super) const REMOVE: u8 = 2;
    pub(super) const REMOVE_MANY: u8 = 3;
    pub(super) const CLEAR: u8 = 4;
    pub(super) const COMPARE_EXCHANGE: u8 = 5;

    pub(crate) fn insert<K: Key, V: Value>(key: &K, value: &V) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(INSERT);
        op.element(key)?;
        op.element(value)?;
        Ok(op.finish())
    }

    pub(crate) fn extend<'a, K: Key, V: Value>(
        entries: impl IntoIterator<Item = (&'a K, &'a V)>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(EXTEND);
        for (key, value) in entries {
            op.element(key)?;
            op.element(value)?;
        }
        Ok(op.finish())
    }

    pub(crate) fn remove<K: Key>(key: &K) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(REMOVE);
        op.element(key)?;
        Ok(op.finish())
    }

    pub(crate) fn remove_many<K: Key>(keys: &[K]) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(REMOVE_MANY);
        for key in keys {
            op.element(key)?;
        }
        Ok(op.finish())
    }

    pub(crate) fn clear() -> Bytes {
        Writer::new(CLEAR).finish()
    }

    pub(crate) fn compare_exchange<K: Key, V: Value>(
        key: &K,
        expected: Option<&V>,
        new: Option<&V>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(COMPARE_EXCHANGE);
        op.element(key)?;
        op.option(expected)?;
        op.option(new)?;
        Ok(op.finish())
    }
}

type Pair<K, V> = (Element<K>, Element<V>);

impl<N, C, K, V> Kind for KeyedKind<N, C, K, V>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    const NAME: &'static str = N::NAME;
    const SIZE: &'static str = N::SIZE;

    type State = State<C>;
    type Outcome = Outcome<K, V>;

    fn len(state: &State<C>) -> usize {
        state.entries.len()
    }

    fn apply(state: &mut State<C>, op: &mut Reader<'_>, at: &Place) -> Option<Applied<Self>> {
        let number = op.u8()?;
        let applied = match number {
            op::INSERT => {
                let pair = pair(op)?;
                only(op)?;
                match state.insert_all(vec![pair], at) {
                    Some(mut previous) => {
                        Applied::Done(Outcome::Previous(previous.pop().flatten()))
                    }
                    None => Applied::Full,
                }
            }
            op::EXTEND => {
                let pairs = op.rest(pair)?;
                match state.insert_all(pairs, at) {
                    Some(_) => Applied::Done(Outcome::Done),
                    None => Applied::Full,
                }
            }
            op::REMOVE => {
                let key: Element<K> = op.element()?;
                only(op)?;
                Applied::Done(Outcome::Previous(state.remove(&key.value)))
            }
            op::REMOVE_MANY => {
                for key in op.rest(Reader::element::<K>)? {
                    state.remove(&key.value);
                }
                Applied::Done(Outcome::Done)
            }
            op::CLEAR => {
                only(op)?;
                *state = State::default();
                Applied::Done(Outcome::Done)
            }
            op::COMPARE_EXCHANGE => {
                let key: Element<K> = op.element()?;
                let expected = op.optional_bytes()?;
                let new = op.option::<V>()?;
                only(op)?;
                state.compare_exchange(key, expected, new, at)
            }
            _ => return None,
        };
        Some(applied)
    }

    fn items(state: &State<C>) -> Vec<Bytes> {
        let mut items: Vec<_> = state
            .entries
            .entries()
            .filter_map(|entry| {
                let key = key_bytes(&entry.key);
                let mut item = Writer::new(ITEM);
                item.bytes(&key).ok()?;
                item.element(&entry.value).ok()?;
                item.u64(entry.version.0.0);
                Some((key, item.finish()))
            })
            .collect();
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        items.into_iter().map(|(_, item)| item).collect()
    }

    fn restore(state: &mut State<C>, item: &mut Reader<'_>) -> Option<()> {
        let (key, value) = pair(item)?;
        let version = Version(crate::groups::Index(item.u64()?));
        let entry = entry(key, value, version);
        state.bytes += entry.size;
        // A key that is there twice is no content of another member.
        state.entries.put(Arc::new(entry)).is_none().then_some(())
    }
}

impl<C> State<C> {
    /// Inserts or replaces all, or nothing when there is no room: then `None`.
    fn insert_all<K: Key, V: Value>(
        &mut self,
        pairs: Vec<Pair<K, V>>,
        at: &Place,
    ) -> Option<Vec<Option<Arc<Entry<K, V>>>>>
    where
        C: Container<K, V>,
    {
        let mut entries: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| entry(key, value, at.version))
            .collect();
        if at.limits.entries != u64::MAX || at.limits.bytes != u64::MAX {
            // The last value of a key counts.
            let mut last: HashMap<&K, &Entry<K, V>> = HashMap::new();
            for entry in &entries {
                last.insert(&entry.key, entry);
            }
            let (mut len, mut bytes) = (self.entries.len(), self.bytes);
            for (key, entry) in last {
                match self.entries.find(key) {
                    Some(old) => bytes -= old.size,
                    None => len += 1,
                }
                bytes += entry.size;
            }
            if !at
                .limits
                .admit((self.entries.len(), len), (self.bytes, bytes))
            {
                return None;
            }
        }
        let put = |entry| self.put(Arc::new(entry));
        Some(entries.drain(..).map(put).collect())
    }

    fn put<K: Key, V: Value>(&mut self, entry: Arc<Entry<K, V>>) -> Option<Arc<Entry<K, V>>>
    where
        C: Container<K, V>,
    {
        self.bytes += entry.size;
        let previous = self.entries.put(entry);
        self.bytes -= previous.as_ref().map_or(0, |previous| previous.size);
        previous
    }

    fn remove<K: Key, V: Value>(&mut self, key: &K) -> Option<Arc<Entry<K, V>>>
    where
        C: Container<K, V>,
    {
        let removed = self.entries.take(key)?;
        self.bytes -= removed.size;
        Some(removed)
    }

    fn compare_exchange<N, K, V>(
        &mut self,
        key: Element<K>,
        expected: Option<&[u8]>,
        new: Option<Element<V>>,
        at: &Place,
    ) -> Applied<KeyedKind<N, C, K, V>>
    where
        N: Name,
        C: Container<K, V>,
        K: Key,
        V: Value,
    {
        let current = self.entries.find(&key.value).cloned();
        let matches = match (&current, expected) {
            (Some(current), Some(expected)) => encodes_to(&current.value, expected),
            (None, None) => true,
            _ => false,
        };
        if !matches {
            return Applied::Done(Outcome::Exchanged(false, current));
        }
        match new {
            Some(new) => {
                if self.insert_all(vec![(key, new)], at).is_none() {
                    return Applied::Full;
                }
            }
            None => {
                self.remove(&key.value);
            }
        }
        Applied::Done(Outcome::Exchanged(true, current))
    }
}

fn pair<K: Key, V: Value>(reader: &mut Reader<'_>) -> Option<Pair<K, V>> {
    Some((reader.element()?, reader.element()?))
}

fn entry<K: Key, V: Value>(key: Element<K>, value: Element<V>, version: Version) -> Entry<K, V> {
    Entry {
        size: key.size + value.size,
        key: key.value,
        value: value.value,
        version,
    }
}

/// Refuses what an operation has too much.
fn only(reader: &Reader<'_>) -> Option<()> {
    reader.is_empty().then_some(())
}
