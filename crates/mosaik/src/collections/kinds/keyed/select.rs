//! Parts of a keyed collection that are watched.

use std::sync::Arc;

use super::{
    super::super::{
        Key, Value,
        engine::{Live, Select},
        state::hash_of,
    },
    change::MapChange,
    entry::{Container, Entry},
    kind::KeyedKind,
    state::{Name, State},
    timers::Timers,
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

/// The changes of some keys, shared when they are all.
pub(in super::super) fn those<K, V>(
    changes: &Arc<[MapChange<K, V>]>,
    picks: impl Fn(&K) -> bool,
) -> Option<Arc<[MapChange<K, V>]>> {
    if let [_] = &**changes {
        // The usual case, without another list.
        return changes
            .iter()
            .all(|change| picks(change.key()))
            .then(|| changes.clone());
    }
    let those = changes.iter().filter(|change| picks(change.key()));
    let those: Arc<[_]> = those.cloned().collect();
    match those.len() {
        0 => None,
        len if len == changes.len() => Some(changes.clone()),
        _ => Some(those),
    }
}

/// The content with these entries only.
pub(in super::super) fn part<'a, N, C, K, V>(
    live: &Live<KeyedKind<N, C, K, V>>,
    entries: impl IntoIterator<Item = &'a Arc<Entry<K, V>>>,
) -> Live<KeyedKind<N, C, K, V>>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    let timers = &live.state.timers;
    let mut state = State::<N, C, K, V>::default();
    state.timers = Timers::new(timers.millis());
    for entry in entries {
        if let Some(timer) = timers.get(&entry.key) {
            state.timers.set(entry.clone(), timer.origin, timer.due);
        }
        state.put(entry.clone());
    }
    Live {
        state,
        version: live.version,
        clock_millis: live.clock_millis,
    }
}
