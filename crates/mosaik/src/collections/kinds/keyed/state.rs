//! The content of a keyed collection, and the rules of its mutations.

use core::{marker::PhantomData, time::Duration};
use std::{collections::HashMap, sync::Arc};

use super::super::super::engine::Tick;
use super::{
    super::{
        super::{
            Key, Value,
            engine::{Element, Limits, Place, Print},
        },
        sides::Cause,
    },
    change::MapChange,
    entry::{Container, Entry},
    op::{Condition, Pair, Step, Ttl},
    timers::{Due, Timers},
};

/// Outcome of an operation.
pub(crate) enum Outcome<K, V> {
    /// Nothing that has an answer.
    Done,
    /// The entry that was there before.
    Previous(Option<Arc<Entry<K, V>>>),
    /// Result of an exchange: whether it took place, and the entry before it.
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

/// Tells the kinds apart that have a container of the same type.
pub(crate) trait Name: Send + Sync + 'static {
    const NAME: &'static str;
    const SIZE: &'static str;
    /// True where a write of a present key makes a new version of its entry. Elements of a set have
    /// nothing to replace.
    const REPLACES: bool = true;
}

/// The content of a keyed collection.
pub(crate) struct State<N, C, K: Key, V> {
    pub(crate) entries: C,
    /// Bytes of all encoded keys and values.
    pub(super) bytes: u64,
    pub(super) timers: Timers<K, V>,
    name: PhantomData<fn() -> N>,
}

impl<N, C: Clone, K: Key, V> Clone for State<N, C, K, V> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            bytes: self.bytes,
            timers: self.timers.clone(),
            name: PhantomData,
        }
    }
}

impl<N, C: Default, K: Key, V> Default for State<N, C, K, V> {
    fn default() -> Self {
        Self {
            entries: C::default(),
            bytes: 0,
            timers: Timers::new(0),
            name: PhantomData,
        }
    }
}

type Found<K, V> = Option<Arc<Entry<K, V>>>;

/// Entries whose places are prefetched together: few enough that they are still in the cache when
/// they are changed.
const PREFETCHED: usize = 256;

impl<N, C, K, V> State<N, C, K, V>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    /// The time that a key has left when the clock shows this; `None` when it does not expire.
    pub(crate) fn ttl(&self, key: &K, clock_millis: u64) -> Option<Duration> {
        let timer = self.timers.get(key)?;
        // A content that was put back to an older version has timers of entries that came later.
        if !self
            .entries
            .find(key)
            .is_some_and(|entry| timer.is_of(entry))
        {
            return None;
        }
        let millis = match timer.due {
            Due::Waiting(millis) => millis,
            // Without the one that makes up for cut readings.
            Due::At(millis) => millis.saturating_sub(clock_millis.saturating_add(1)),
        };
        Some(Duration::from_millis(millis))
    }

    /// Inserts or replaces all, or nothing when there is no room: then `None`.
    pub(super) fn insert_all(
        &mut self,
        pairs: Vec<Pair<K, V>>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Option<Vec<Found<K, V>>> {
        let entries: Vec<_> = pairs
            .into_iter()
            .map(|pair| Entry::new(pair, at.version))
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
        let mut previous = Vec::with_capacity(entries.len());
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            let ahead = entries.as_slice().iter().take(PREFETCHED);
            self.entries.prefetch(ahead.map(|entry| &entry.key));
            for entry in entries.by_ref().take(PREFETCHED) {
                previous.push(self.insert(Arc::new(entry), at));
            }
        }
        Some(previous)
    }

    /// The entry that was replaced; `None` when there is no room.
    pub(super) fn insert_with_ttl(
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

    pub(super) fn expire(
        &mut self,
        key: &K,
        millis: u64,
        nth: u64,
        at: &mut Place<MapChange<K, V>>,
    ) -> Found<K, V> {
        let entry = self.entries.find(key)?.clone();
        let due = Due::Waiting(millis);
        self.timers.set(entry.clone(), (at.version, nth), due);
        Some(entry)
    }

    pub(super) fn persist(&mut self, key: &K) -> Found<K, V> {
        let entry = self.entries.find(key)?.clone();
        self.timers.cancel(key).then_some(entry)
    }

    pub(super) fn tick(&mut self, tick: Tick, at: &mut Place<MapChange<K, V>>) -> Outcome<K, V> {
        self.timers.set_clock(tick);
        for key in self.timers.expired() {
            self.remove(&key, Cause::Expired, at);
        }
        Outcome::Done
    }

    pub(super) fn remove_many(
        &mut self,
        keys: Vec<K>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Outcome<K, V> {
        for key in keys {
            self.remove(&key, Cause::Write, at);
        }
        Outcome::Done
    }

    pub(super) fn clear(&mut self, at: &mut Place<MapChange<K, V>>) -> Outcome<K, V> {
        for entry in self.entries.entries() {
            let size = entry.size;
            let change = MapChange::removed(entry.clone(), Cause::Write);
            at.changes.push(change, size);
        }
        *self = Self {
            timers: Timers::new(self.timers.millis()),
            ..Self::default()
        };
        Outcome::Done
    }

    pub(super) fn compare_exchange(
        &mut self,
        key: Element<K>,
        expected: Option<Print>,
        new: Option<(Element<V>, Print)>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Option<Outcome<K, V>> {
        let current = self.entries.find(&key.value).cloned();
        if current.as_ref().map(|current| current.print) != expected {
            return Some(Outcome::Exchanged(false, current));
        }
        match new {
            Some((value, print)) => {
                self.insert_all(vec![(key, value, print)], at)?;
            }
            None => {
                self.remove(&key.value, Cause::Write, at);
            }
        }
        Some(Outcome::Exchanged(true, current))
    }

    pub(super) fn batch(
        &mut self,
        conditions: &[(K, Condition)],
        steps: Vec<Step<K, V>>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Option<Outcome<K, V>> {
        let failed = conditions.iter().position(|(key, condition)| {
            let current = self.entries.find(key);
            let holds = match condition {
                Condition::Absent => current.is_none(),
                Condition::Present => current.is_some(),
                Condition::Version(version) => {
                    current.is_some_and(|current| current.version == *version)
                }
                Condition::Value(print) => current.is_some_and(|current| current.print == *print),
            };
            !holds
        });
        if let Some(failed) = failed {
            return Some(Outcome::Batch(Err(failed)));
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
                Step::Expire(key, millis) => Some(self.expire(&key, millis, nth, at)),
            };
            previous.push(found.flatten());
        }
        at.limits = limits;
        let len = (former.entries.len(), self.entries.len());
        if !limits.admit(len, (former.bytes, self.bytes)) {
            *self = former;
            return None;
        }
        Some(Outcome::Batch(Ok(previous)))
    }

    /// Inserts or replaces an entry, which does not expire then.
    fn insert(&mut self, entry: Arc<Entry<K, V>>, at: &mut Place<MapChange<K, V>>) -> Found<K, V> {
        self.timers.cancel(&entry.key);
        if !N::REPLACES
            && let Some(present) = self.entries.find(&entry.key)
        {
            return Some(present.clone());
        }
        let previous = self.put(entry.clone());
        let size = previous.as_ref().map_or(0, |previous| previous.size);
        at.changes
            .push(MapChange::put(previous.clone(), entry), size);
        previous
    }

    pub(super) fn remove(
        &mut self,
        key: &K,
        cause: Cause,
        at: &mut Place<MapChange<K, V>>,
    ) -> Found<K, V> {
        self.timers.cancel(key);
        let removed = self.take(key)?;
        let change = MapChange::removed(removed.clone(), cause);
        at.changes.push(change, removed.size);
        Some(removed)
    }

    pub(super) fn put(&mut self, entry: Arc<Entry<K, V>>) -> Found<K, V> {
        self.bytes += entry.size;
        let previous = self.entries.put(entry);
        self.bytes -= previous.as_ref().map_or(0, |previous| previous.size);
        previous
    }

    pub(super) fn take(&mut self, key: &K) -> Found<K, V> {
        let removed = self.entries.take(key)?;
        self.bytes -= removed.size;
        Some(removed)
    }
}
