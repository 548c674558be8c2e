//! Parts of a keyed collection that are watched.

use std::sync::Arc;

use super::{
    super::super::{
        Key, Value,
        engine::{Live, Select},
        state::hash_of,
    },
    Container, Entry, KeyedKind, MapChange, Name, State,
};

/// A single key.
pub(crate) struct OneKey<K>(pub(crate) K);

impl<N, C, K, V> Select<KeyedKind<N, C, K, V>> for OneKey<K>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    fn key(&self) -> Option<u64> {
        Some(hash_of(&self.0))
    }

    fn changes(&self, changes: &Arc<[MapChange<K, V>]>) -> Option<Arc<[MapChange<K, V>]>> {
        those(changes, |key| *key == self.0)
    }

    fn content(&self, live: &Live<KeyedKind<N, C, K, V>>) -> Live<KeyedKind<N, C, K, V>> {
        part(live, live.state.entries.find(&self.0))
    }
}

/// The keys that a predicate picks.
pub(crate) struct PickBy<F>(pub(crate) F);

impl<N, C, K, V, F> Select<KeyedKind<N, C, K, V>> for PickBy<F>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
    F: Fn(&K) -> bool + Send + Sync + 'static,
{
    fn changes(&self, changes: &Arc<[MapChange<K, V>]>) -> Option<Arc<[MapChange<K, V>]>> {
        those(changes, &self.0)
    }

    fn content(&self, live: &Live<KeyedKind<N, C, K, V>>) -> Live<KeyedKind<N, C, K, V>> {
        let entries = live.state.entries.entries();
        part(live, entries.filter(|entry| (self.0)(&entry.key)))
    }
}

/// The changes of some keys, shared when they are all.
fn those<K, V>(
    changes: &Arc<[MapChange<K, V>]>,
    picks: impl Fn(&K) -> bool,
) -> Option<Arc<[MapChange<K, V>]>> {
    let picked = changes.iter().filter(|change| picks(change.key())).count();
    if picked == changes.len() {
        return Some(changes.clone());
    }
    let those = changes.iter().filter(|change| picks(change.key()));
    (picked > 0).then(|| those.cloned().collect())
}

/// The content with these entries only.
fn part<'a, N, C, K, V>(
    live: &Live<KeyedKind<N, C, K, V>>,
    entries: impl IntoIterator<Item = &'a Arc<Entry<K, V>>>,
) -> Live<KeyedKind<N, C, K, V>>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    let mut state = State::<C, K, V>::default();
    for entry in entries {
        state.put(entry.clone());
    }
    Live {
        state,
        version: live.version,
    }
}
