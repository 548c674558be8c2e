//! What `Map`, `OrderedMap` and `Set` have in common: entries that are found by a key.

mod batch;
mod change;
pub(super) mod op;
mod select;
mod timers;
mod writes;

use core::{cmp::Ordering, marker::PhantomData, ops::Bound, time::Duration};
use std::{collections::HashMap, sync::Arc};

pub(super) use batch::millis;
pub use batch::{Batch, BatchOutcome, Expected, SetBatch};
pub use change::{MapChange, SetChange};
use op::{Condition, Op, Pair, Step, Ttl};
pub(super) use select::{OneKey, part, those};
use timers::{Due, Timers};
pub(super) use writes::{keyed_writes, update};

use super::{
    super::{
        Key, Value, Version,
        engine::{
            Applied, Clock, Element, ITEM, Kind, Limits, Place, Print, Reader, Tick, Writer,
            key_bytes,
        },
        state::{Keyed, hash_of},
    },
    sides::Cause,
};
use crate::{
    groups::Index,
    primitives::{Bytes, encoding::EncodeError},
};

/// An entry of a keyed collection. Never changed: a write makes a new one.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The version that wrote it.
    pub(crate) version: Version,
    /// What the value is compared by.
    print: Print,
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

    /// The keys of a range, where there is an order.
    fn keys_between(&self, _start: Bound<K>, _end: Bound<K>) -> Vec<K> {
        Vec::new()
    }
}

/// The content of a keyed collection.
pub(crate) struct State<C, K: Key, V> {
    pub(crate) entries: C,
    /// Bytes of all encoded keys and values.
    bytes: u64,
    timers: Timers<K, V>,
}

impl<C: Clone, K: Key, V> Clone for State<C, K, V> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            bytes: self.bytes,
            timers: self.timers.clone(),
        }
    }
}

impl<C: Default, K: Key, V> Default for State<C, K, V> {
    fn default() -> Self {
        Self {
            entries: C::default(),
            bytes: 0,
            timers: Timers::new(0),
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
    /// The condition that does not hold, or the entries that the steps found.
    Batch(Result<Vec<Option<Arc<Entry<K, V>>>>, usize>),
}

impl<K, V> Outcome<K, V> {
    pub(crate) fn previous(self) -> Option<Arc<Entry<K, V>>> {
        match self {
            Self::Previous(previous) | Self::Exchanged(_, previous) => previous,
            Self::Done | Self::Batch(_) => None,
        }
    }
}

impl<N, C, K, V> Kind for KeyedKind<N, C, K, V>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    const NAME: &'static str = N::NAME;
    const SIZE: &'static str = N::SIZE;

    type Op = Op<K, V>;
    type State = State<C, K, V>;
    type Outcome = Outcome<K, V>;
    type Change = MapChange<K, V>;

    fn len(state: &Self::State) -> usize {
        state.entries.len()
    }

    fn parse(op: &mut Reader<'_>) -> Option<Op<K, V>> {
        Op::parse(op)
    }

    fn apply(
        state: &mut Self::State,
        op: Op<K, V>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Applied<Self> {
        let outcome = match op {
            Op::Insert(pair) => match state.insert_all(vec![pair], at) {
                Some(mut previous) => Outcome::Previous(previous.pop().flatten()),
                None => return Applied::Full,
            },
            Op::InsertWithTtl(pair, millis) => match state.insert_with_ttl(pair, millis, 0, at) {
                Some(previous) => Outcome::Previous(previous),
                None => return Applied::Full,
            },
            Op::Extend(pairs) => match state.insert_all(pairs, at) {
                Some(_) => Outcome::Done,
                None => return Applied::Full,
            },
            Op::Remove(key) => Outcome::Previous(state.remove(&key, Cause::Write, at)),
            Op::RemoveRange(start, end) => {
                for key in state.entries.keys_between(start, end) {
                    state.remove(&key, Cause::Write, at);
                }
                Outcome::Done
            }
            Op::RemoveMany(keys) => {
                for key in keys {
                    state.remove(&key, Cause::Write, at);
                }
                Outcome::Done
            }
            Op::Clear => {
                state.clear(at);
                Outcome::Done
            }
            Op::CompareExchange { key, expected, new } => {
                return state.compare_exchange(key, expected, new, at);
            }
            Op::Expire(key, millis) => Outcome::Previous(state.expire(&key, millis, at)),
            Op::Persist(key) => Outcome::Previous(state.persist(&key)),
            Op::Batch { conditions, steps } => return state.batch(&conditions, steps, at),
            Op::Tick(tick) => {
                state.tick(tick, at);
                Outcome::Done
            }
        };
        Applied::Done(outcome)
    }

    fn undo(state: &mut Self::State, change: &MapChange<K, V>) {
        match change.old_entry() {
            Some(old) => {
                state.put(old.clone());
            }
            None => {
                state.take(change.key());
            }
        }
    }

    fn key_hash(change: &MapChange<K, V>) -> u64 {
        hash_of(change.key())
    }

    fn header(state: &Self::State, header: &mut Writer) {
        header.u64(state.timers.millis());
    }

    fn restore_header(state: &mut Self::State, header: &mut Reader<'_>) -> Option<()> {
        state.timers = Timers::new(header.u64()?);
        Some(())
    }

    fn items(state: &Self::State) -> Result<Vec<Bytes>, EncodeError> {
        let item = |entry: &Arc<Entry<K, V>>| {
            let key = key_bytes(&entry.key);
            let mut item = Writer::new(ITEM);
            item.bytes(&key)?;
            item.element(&entry.value)?;
            item.u64(entry.version.0.0);
            item.raw(entry.print.as_bytes());
            item.u64(entry.size);
            if let Some(timer) = state.timers.get(&entry.key) {
                let (number, millis) = match timer.due {
                    Due::Waiting(millis) => (WAITING, millis),
                    Due::At(millis) => (RUNNING, millis),
                };
                item.u8(number);
                item.u64(millis);
                item.u64(timer.origin.0.0.0);
                item.u64(timer.origin.1);
            }
            Ok((key, item.finish()))
        };
        let items: Result<Vec<_>, _> = state.entries.entries().map(item).collect();
        let mut items = items?;
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()> {
        let (key, value, _) = op::pair(item)?;
        let entry = Arc::new(Entry {
            key: key.value,
            value: value.value,
            version: Version(Index(item.u64()?)),
            print: item.raw_print()?,
            size: item.u64()?,
        });
        if !item.is_empty() {
            let number = item.u8()?;
            let millis = item.u64()?;
            let due = match number {
                WAITING => Due::Waiting(millis),
                RUNNING => Due::At(millis),
                _ => return None,
            };
            let origin = (Version(Index(item.u64()?)), item.u64()?);
            state.timers.set(entry.clone(), origin, due);
        }
        state.bytes = state.bytes.checked_add(entry.size)?;
        // A key that is there twice is no content of another member.
        state.entries.put(entry).is_none().then_some(())
    }

    fn clock(state: &Self::State) -> Clock {
        state.timers.clock()
    }

    fn tick(tick: Tick) -> Option<Bytes> {
        Some(op::tick(tick))
    }
}

/// First byte of a timer in an entry's item.
const WAITING: u8 = 0;
const RUNNING: u8 = 1;

type Found<K, V> = Option<Arc<Entry<K, V>>>;

impl<C, K, V> State<C, K, V>
where
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    /// The time that a key has left when the clock shows this; `None` when it does not expire.
    pub(crate) fn ttl(&self, key: &K, clock_millis: u64) -> Option<Duration> {
        let timer = self.timers.get(key)?;
        let millis = match timer.due {
            Due::Waiting(millis) => millis,
            Due::At(millis) => millis.saturating_sub(clock_millis),
        };
        Some(Duration::from_millis(millis))
    }

    /// Inserts or replaces all, or nothing when there is no room: then `None`.
    fn insert_all(
        &mut self,
        pairs: Vec<Pair<K, V>>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Option<Vec<Found<K, V>>> {
        let entries: Vec<_> = pairs
            .into_iter()
            .map(|pair| entry(pair, at.version))
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
            let (lens, sizes) = ((self.entries.len(), len), (self.bytes, bytes));
            if !at.limits.admit(lens, sizes) {
                return None;
            }
        }
        let insert = |entry| self.insert(Arc::new(entry), at);
        Some(entries.into_iter().map(insert).collect())
    }

    /// The entry that was replaced; `None` when there is no room.
    fn insert_with_ttl(
        &mut self,
        pair: Pair<K, V>,
        millis: u64,
        nth: u64,
        at: &mut Place<MapChange<K, V>>,
    ) -> Option<Found<K, V>> {
        let key = pair.0.value.clone();
        let previous = self.insert_all(vec![pair], at)?.pop().flatten();
        if let Some(entry) = self.entries.find(&key) {
            let origin = (at.version, nth);
            self.timers.set(entry.clone(), origin, Due::Waiting(millis));
        }
        Some(previous)
    }

    fn expire(&mut self, key: &K, millis: u64, at: &mut Place<MapChange<K, V>>) -> Found<K, V> {
        let entry = self.entries.find(key)?.clone();
        let due = Due::Waiting(millis);
        self.timers.set(entry.clone(), (at.version, 0), due);
        Some(entry)
    }

    fn persist(&mut self, key: &K) -> Found<K, V> {
        let entry = self.entries.find(key)?.clone();
        self.timers.cancel(key).then_some(entry)
    }

    fn tick(&mut self, tick: Tick, at: &mut Place<MapChange<K, V>>) {
        self.timers.set_clock(tick);
        for key in self.timers.expired() {
            self.remove(&key, Cause::Expired, at);
        }
    }

    fn clear(&mut self, at: &mut Place<MapChange<K, V>>) {
        for entry in self.entries.entries() {
            let size = entry.size;
            let change = MapChange::removed(entry.clone(), Cause::Write);
            at.changes.push(change, size);
        }
        *self = Self {
            timers: Timers::new(self.timers.millis()),
            ..Self::default()
        };
    }

    fn compare_exchange<N: Name>(
        &mut self,
        key: Element<K>,
        expected: Option<Print>,
        new: Option<(Element<V>, Print)>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Applied<KeyedKind<N, C, K, V>> {
        let current = self.entries.find(&key.value).cloned();
        if current.as_ref().map(|current| current.print) != expected {
            return Applied::Done(Outcome::Exchanged(false, current));
        }
        match new {
            Some((value, print)) => {
                if self.insert_all(vec![(key, value, print)], at).is_none() {
                    return Applied::Full;
                }
            }
            None => {
                self.remove(&key.value, Cause::Write, at);
            }
        }
        Applied::Done(Outcome::Exchanged(true, current))
    }

    fn batch<N: Name>(
        &mut self,
        conditions: &[(K, Condition)],
        steps: Vec<Step<K, V>>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Applied<KeyedKind<N, C, K, V>> {
        let failed = conditions.iter().position(|(key, condition)| {
            let current = self.entries.find(key);
            let holds = match condition {
                Condition::Absent => current.is_none(),
                Condition::Version(version) => {
                    current.is_some_and(|current| current.version == *version)
                }
                Condition::Value(print) => current.is_some_and(|current| current.print == *print),
            };
            !holds
        });
        if let Some(failed) = failed {
            return Applied::Done(Outcome::Batch(Err(failed)));
        }
        // Snapshots are free, so a batch that has no room is one that is dropped again.
        let former = self.clone();
        // What the batch leaves counts, not what it passes through.
        let limits = core::mem::replace(&mut at.limits, Limits::NONE);
        let mut previous = Vec::with_capacity(steps.len());
        for (nth, step) in (0..).zip(steps) {
            let found = match step {
                Step::Insert(pair, Ttl::New(millis)) => self.insert_with_ttl(pair, millis, nth, at),
                Step::Insert(pair, Ttl::None) => {
                    let inserted = self.insert_all(vec![pair], at);
                    inserted.map(|mut previous| previous.pop().flatten())
                }
                Step::Insert(pair, Ttl::Former) => {
                    let key = pair.0.value.clone();
                    let timer = self.timers.get(&key).cloned();
                    let inserted = self.insert_all(vec![pair], at);
                    if let (Some(timer), Some(entry)) = (timer, self.entries.find(&key)) {
                        self.timers.set(entry.clone(), timer.origin, timer.due);
                    }
                    inserted.map(|mut previous| previous.pop().flatten())
                }
                Step::Remove(key) => Some(self.remove(&key, Cause::Write, at)),
            };
            previous.push(found.flatten());
        }
        at.limits = limits;
        let len = (former.entries.len(), self.entries.len());
        if !limits.admit(len, (former.bytes, self.bytes)) {
            *self = former;
            return Applied::Full;
        }
        Applied::Done(Outcome::Batch(Ok(previous)))
    }

    /// Inserts or replaces an entry, which does not expire then.
    fn insert(&mut self, entry: Arc<Entry<K, V>>, at: &mut Place<MapChange<K, V>>) -> Found<K, V> {
        self.timers.cancel(&entry.key);
        if size_of::<V>() == 0
            && let Some(present) = self.entries.find(&entry.key)
        {
            // An element of a set: there is nothing to replace.
            return Some(present.clone());
        }
        let previous = self.put(entry.clone());
        let size = previous.as_ref().map_or(0, |previous| previous.size);
        at.changes
            .push(MapChange::put(previous.clone(), entry), size);
        previous
    }

    fn remove(&mut self, key: &K, cause: Cause, at: &mut Place<MapChange<K, V>>) -> Found<K, V> {
        self.timers.cancel(key);
        let removed = self.take(key)?;
        let change = MapChange::removed(removed.clone(), cause);
        at.changes.push(change, removed.size);
        Some(removed)
    }

    fn put(&mut self, entry: Arc<Entry<K, V>>) -> Found<K, V> {
        self.bytes += entry.size;
        let previous = self.entries.put(entry);
        self.bytes -= previous.as_ref().map_or(0, |previous| previous.size);
        previous
    }

    fn take(&mut self, key: &K) -> Found<K, V> {
        let removed = self.entries.take(key)?;
        self.bytes -= removed.size;
        Some(removed)
    }
}

fn entry<K: Key, V: Value>((key, value, print): Pair<K, V>, version: Version) -> Entry<K, V> {
    Entry {
        size: key.size + value.size,
        key: key.value,
        value: value.value,
        version,
        print,
    }
}

#[cfg(test)]
#[path = "keyed_tests.rs"]
mod tests;
