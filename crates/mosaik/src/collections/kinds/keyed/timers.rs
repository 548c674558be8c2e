//! Expiry of entries, by the clock that the log carries.

use core::cmp::Ordering;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::{
    super::super::{
        Key, Version,
        engine::{Alarm, Clock, Tick},
        state::{Keyed, Trie},
    },
    entry::Entry,
};

/// Entries that expire at one reading of the clock at most.
pub(super) const BATCH: usize = 10_000;

/// The clock, and the entries that expire: only these cost anything.
pub(crate) struct Timers<K: Key, V> {
    millis: u64,
    by_key: Trie<Timer<K, V>>,
    /// Those whose time has not begun, in the order of their making.
    waiting: RedBlackTreeMapSync<Origin, Arc<Timer<K, V>>>,
    /// The others, in the order of their ends.
    running: RedBlackTreeMapSync<(u64, Origin), Arc<Timer<K, V>>>,
}

/// Origin of a timer: the version that made it, and the place in its batch.
pub(super) type Origin = (Version, u64);

pub(crate) struct Timer<K, V> {
    entry: Arc<Entry<K, V>>,
    pub(super) origin: Origin,
    pub(super) due: Due,
}

/// End of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// This many milliseconds after a reading that is still to come.
    Waiting(u64),
    /// The reading of the clock that ends it.
    At(u64),
}

impl<K: Key, V> Keyed for Timer<K, V> {
    type Key = K;

    fn key(&self) -> &K {
        &self.entry.key
    }

    fn tie(&self, other: &Self) -> Ordering {
        self.entry.tie(&other.entry)
    }
}

impl<K, V> Timer<K, V> {
    /// Returns whether it is the timer of this very entry, and not of another one of its key.
    pub(super) fn is_of(&self, entry: &Arc<Entry<K, V>>) -> bool {
        Arc::ptr_eq(&self.entry, entry)
    }
}

impl<K: Key, V> Clone for Timers<K, V> {
    fn clone(&self) -> Self {
        Self {
            millis: self.millis,
            by_key: self.by_key.clone(),
            waiting: self.waiting.clone(),
            running: self.running.clone(),
        }
    }
}

impl<K: Key, V> Timers<K, V> {
    pub(super) fn new(millis: u64) -> Self {
        Self {
            millis,
            by_key: Trie::default(),
            waiting: RedBlackTreeMapSync::new_sync(),
            running: RedBlackTreeMapSync::new_sync(),
        }
    }

    pub(super) fn millis(&self) -> u64 {
        self.millis
    }

    pub(super) fn clock(&self) -> Clock {
        let next = if self.waiting.is_empty() {
            let first = self.running.first();
            first.map(|((millis, _), _)| Alarm::Expire(*millis))
        } else {
            Some(Alarm::Begin)
        };
        Clock {
            millis: self.millis,
            next,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&Arc<Timer<K, V>>> {
        if self.by_key.len() == 0 {
            return None;
        }
        self.by_key.get(key)
    }

    /// Sets or replaces the timer of an entry.
    pub(super) fn set(&mut self, entry: Arc<Entry<K, V>>, origin: Origin, due: Due) {
        self.cancel(&entry.key);
        let timer = Arc::new(Timer { entry, origin, due });
        self.by_key.insert(timer.clone());
        match due {
            Due::Waiting(_) => self.waiting.insert_mut(origin, timer),
            Due::At(millis) => self.running.insert_mut((millis, origin), timer),
        }
    }

    /// Removes the timer of a key; returns whether there was one.
    pub(super) fn cancel(&mut self, key: &K) -> bool {
        if self.by_key.len() == 0 {
            return false;
        }
        let Some(timer) = self.by_key.remove(key) else {
            return false;
        };
        match timer.due {
            Due::Waiting(_) => self.waiting.remove_mut(&timer.origin),
            Due::At(millis) => self.running.remove_mut(&(millis, timer.origin)),
        }
    }

    /// Sets the clock forward, and begins the time of what was there when it was read; a reading
    /// that goes on from another one than the last has no effect.
    pub(super) fn set_clock(&mut self, tick: Tick) {
        if tick.base != self.millis {
            return;
        }
        self.millis = self.millis.max(tick.millis);
        while let Some((origin, timer)) = self.waiting.first()
            && origin.0 <= tick.seen
            && let Due::Waiting(ttl) = timer.due
        {
            let (entry, origin) = (timer.entry.clone(), *origin);
            // Readings are cut to whole milliseconds: with one more, nothing ends early.
            let end = self.millis.saturating_add(ttl).saturating_add(1);
            self.set(entry, origin, Due::At(end));
        }
    }

    /// Keys whose time is over, the first ones first.
    pub(super) fn expired(&self) -> Vec<K> {
        self.running
            .iter()
            .take_while(|((millis, _), _)| *millis <= self.millis)
            .take(BATCH)
            .map(|(_, timer)| timer.entry.key.clone())
            .collect()
    }
}
