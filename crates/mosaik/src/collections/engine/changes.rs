//! The last changes of a collection on this node, kept once for all watchers.
//!
//! A watcher is a position in the ring and a filter. Applying appends to the ring and goes on,
//! whether a watcher keeps up or not; one that falls out of the ring goes on from a snapshot. A
//! watcher of a single key is marked when its key changes, so it need not look at the changes of
//! other keys, and can't fall behind because of them.

use core::task::Waker;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{collections_layer::Version, groups::Index};

/// Bytes of a record beside its changes.
const RECORD_BYTES: usize = 64;

/// The changes that one operation makes.
#[derive(Debug)]
pub(crate) struct Changes<C> {
    kept: Kept<C>,
    bytes: usize,
    room: usize,
    key_hash: fn(&C) -> u64,
}

/// Changes of one version, or the keys of too many.
#[derive(Debug)]
enum Kept<C> {
    All(Vec<C>),
    /// They are more than a ring holds: the hashes of their keys, for those who watch others.
    Keys(Vec<u64>),
}

impl<C> Changes<C> {
    pub(crate) fn new(room: usize, key_hash: fn(&C) -> u64) -> Self {
        Self {
            kept: Kept::All(Vec::new()),
            bytes: 0,
            room,
            key_hash,
        }
    }

    /// Adds a change, with the bytes that it alone keeps in memory: those of what was replaced.
    pub(crate) fn push(&mut self, change: C, replaced_bytes: u64) {
        if self.bytes == 0 {
            self.bytes = RECORD_BYTES;
        }
        let replaced = usize::try_from(replaced_bytes).unwrap_or(usize::MAX);
        self.bytes = self
            .bytes
            .saturating_add(replaced)
            .saturating_add(size_of::<C>());
        match &mut self.kept {
            Kept::All(list) => list.push(change),
            Kept::Keys(hashes) => hashes.push((self.key_hash)(&change)),
        }
        if self.bytes > self.room
            && let Kept::All(list) = &self.kept
        {
            self.kept = Kept::Keys(list.iter().map(self.key_hash).collect());
        }
    }

    /// Takes all back, as the operation has no effect after all.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.room, self.key_hash);
    }

    /// The changes, if they are no more than a ring holds.
    #[cfg(test)]
    pub(crate) fn list(self) -> Vec<C> {
        match self.kept {
            Kept::All(list) => list,
            Kept::Keys(_) => Vec::new(),
        }
    }

    /// As a record of the ring; none when nothing changed.
    pub(crate) fn record(self, version: Version) -> Option<Record<C>> {
        (self.bytes > 0).then_some(Record {
            version,
            bytes: self.bytes,
            kept: self.kept,
        })
    }
}

/// The changes of one version, as they are appended.
#[derive(Debug)]
pub(crate) struct Record<C> {
    version: Version,
    bytes: usize,
    kept: Kept<C>,
}

/// The changes of one version, in the ring.
#[derive(Debug)]
struct Entry<C> {
    version: Version,
    bytes: usize,
    changes: Arc<[C]>,
}

/// A place in the ring: everything up to this version is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) version: Version,
    history: u64,
    discarded: u64,
}

/// Result of a watcher's reading of the ring.
#[derive(Debug)]
pub(crate) enum Found<C> {
    /// Changes that it has not seen, in order. Its position must follow as it reads them.
    Changes(Vec<(Version, Arc<[C]>)>),
    /// Changes that are no longer kept.
    Lagged,
    /// The history that the watcher followed was given up.
    Reset,
    /// Nothing more so far.
    Nothing,
    /// Nothing more, ever.
    End,
}

/// A watcher's entry in the table of those to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatcherId {
    number: u64,
    /// The hash of the only key that it watches.
    key: Option<u64>,
}

/// The last changes, and who waits for more.
#[derive(Debug)]
pub(crate) struct Ring<C> {
    entries: VecDeque<Entry<C>>,
    bytes: usize,
    max_bytes: usize,
    /// All changes after this version are kept.
    oldest: Version,
    head: Version,
    /// Counts histories that were given up, and the mutations in them.
    history: u64,
    discarded: u64,
    ended: bool,
    next_watcher: u64,
    /// Watchers of everything or of ranges.
    wide: HashMap<u64, Option<Waker>>,
    /// Watchers of single keys, by the hash of the key, and how many they are.
    keyed: HashMap<u64, Vec<KeyWatcher>>,
    keyed_count: usize,
}

#[derive(Debug)]
struct KeyWatcher {
    number: u64,
    waker: Option<Waker>,
    /// Changes of the key, or of one with the same hash, that it has been given.
    given: Option<Touched>,
    /// Those since: told apart, so that what others change in between concerns it not.
    touched: Option<Touched>,
}

/// The first and the last of them: those before and after are of other keys.
#[derive(Debug, Clone, Copy)]
struct Touched {
    first: Version,
    last: Version,
}

impl<C> Ring<C> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes,
            oldest: Version::default(),
            head: Version::default(),
            history: 0,
            discarded: 0,
            ended: false,
            next_watcher: 0,
            wide: HashMap::new(),
            keyed: HashMap::new(),
            keyed_count: 0,
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Makes the ring as large as this, if it is smaller.
    pub(crate) fn enlarge(&mut self, max_bytes: usize) {
        self.max_bytes = self.max_bytes.max(max_bytes);
    }

    /// The version that the ring leads to.
    pub(crate) fn head(&self) -> Version {
        self.head
    }

    /// Everything after this version is kept.
    pub(crate) fn oldest(&self) -> Version {
        self.oldest
    }

    pub(crate) fn watchers(&self) -> usize {
        self.wide.len() + self.keyed_count
    }

    /// Number of mutations discarded since a watcher's position, if its history was given up.
    pub(crate) fn given_up_since(&self, at: &Position) -> Option<u64> {
        (at.history != self.history).then(|| self.discarded - at.discarded)
    }

    /// The position of a watcher that knows everything up to a version.
    pub(crate) fn position(&self, version: Version) -> Position {
        Position {
            version,
            history: self.history,
            discarded: self.discarded,
        }
    }

    /// Appends what was applied; returns who waits for it. `head` is the version afterwards.
    pub(crate) fn append(
        &mut self,
        records: Vec<Record<C>>,
        head: Version,
        key_hash: fn(&C) -> u64,
    ) -> Vec<Waker> {
        let mut woken = Vec::new();
        self.head = head;
        if records.is_empty() {
            return woken;
        }
        for record in records {
            let version = record.version;
            match record.kept {
                Kept::All(changes) => {
                    if self.keyed_count > 0 {
                        for change in &changes {
                            self.touch(key_hash(change), version, &mut woken);
                        }
                    }
                    self.bytes += record.bytes;
                    self.entries.push_back(Entry {
                        version,
                        bytes: record.bytes,
                        changes: changes.into(),
                    });
                }
                Kept::Keys(hashes) => {
                    for hash in hashes {
                        self.touch(hash, version, &mut woken);
                    }
                    self.forget_all(version);
                }
            }
        }
        while self.bytes > self.max_bytes
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.bytes;
            self.oldest = entry.version;
        }
        woken.extend(self.wide.values_mut().filter_map(Option::take));
        woken
    }

    /// The content was replaced as a whole; returns who waits.
    pub(crate) fn replace(&mut self, head: Version) -> Vec<Waker> {
        if head < self.head {
            self.history += 1;
            self.discarded += self.head.0.0;
        }
        self.forget_all(head);
        self.head = head;
        let mut woken = Vec::new();
        self.touch_all(head, &mut woken);
        woken.extend(self.wide.values_mut().filter_map(Option::take));
        woken
    }

    /// Nothing follows any more; returns who waits.
    pub(crate) fn end(&mut self) -> Vec<Waker> {
        self.ended = true;
        let keyed = self.keyed.values_mut().flatten();
        let keyed = keyed.filter_map(|watcher| watcher.waker.take());
        let wide = self.wide.values_mut().filter_map(Option::take);
        keyed.chain(wide).collect()
    }

    pub(crate) fn register(&mut self, key: Option<u64>) -> WatcherId {
        let number = self.next_watcher;
        self.next_watcher += 1;
        match key {
            None => {
                self.wide.insert(number, None);
            }
            Some(key) => {
                self.keyed_count += 1;
                let watchers = self
                    .keyed
                    .entry(key)
                    .or_insert_with(|| Vec::with_capacity(1));
                watchers.push(KeyWatcher {
                    number,
                    waker: None,
                    given: None,
                    touched: None,
                });
            }
        }
        WatcherId { number, key }
    }

    /// Returns the watcher's waker, to be dropped with no lock held.
    pub(crate) fn unregister(&mut self, id: WatcherId) -> Option<Waker> {
        let Some(key) = id.key else {
            return self.wide.remove(&id.number).flatten();
        };
        let watchers = self.keyed.get_mut(&key)?;
        let place = position_of(watchers, id.number)?;
        let former = watchers.remove(place).waker;
        self.keyed_count -= 1;
        if watchers.is_empty() {
            self.keyed.remove(&key);
        }
        former
    }

    /// At most `limit` changes after a watcher's position. They are looked at with no lock held, and
    /// the position goes on with that: nothing is lost where a filter panics. A waker is kept only
    /// where there is nothing more, and then the position is at the head; `former` is the one that
    /// it replaces, to be dropped with no lock held.
    pub(crate) fn next(
        &mut self,
        id: WatcherId,
        at: &mut Position,
        waker: &Waker,
        limit: usize,
        former: &mut Option<Waker>,
    ) -> Found<C> {
        if self.given_up_since(at).is_some() {
            return Found::Reset;
        }
        let (head, ended) = (self.head, self.ended);
        let (mut begin, mut last) = (at.version, head);
        if let Some(watcher) = self.key_watcher(id) {
            let known = |touched: &Touched| touched.last <= begin;
            if watcher.given.as_ref().is_none_or(known) {
                watcher.given = watcher.touched.take();
            }
            match watcher.given.filter(|given| !known(given)) {
                Some(touched) => {
                    begin = begin.max(before(touched.first));
                    last = touched.last;
                }
                None => begin = begin.max(head),
            }
        }
        if begin < self.oldest {
            if let Some(watcher) = self.key_watcher(id) {
                (watcher.given, watcher.touched) = (None, None);
            }
            return Found::Lagged;
        }
        let first = self.entries.partition_point(|entry| entry.version <= begin);
        let changes: Vec<_> = self
            .entries
            .range(first..)
            .take_while(|entry| entry.version <= last)
            .take(limit)
            .map(|entry| (entry.version, entry.changes.clone()))
            .collect();
        if !changes.is_empty() {
            return Found::Changes(changes);
        }
        at.version = at.version.max(head);
        if ended {
            return Found::End;
        }
        let place = match id.key {
            None => self.wide.get_mut(&id.number),
            Some(_) => self.key_watcher(id).map(|watcher| &mut watcher.waker),
        };
        if let Some(place) = place {
            *former = place.replace(waker.clone());
        }
        Found::Nothing
    }

    fn key_watcher(&mut self, id: WatcherId) -> Option<&mut KeyWatcher> {
        let watchers = self.keyed.get_mut(&id.key?)?;
        let place = position_of(watchers, id.number)?;
        watchers.get_mut(place)
    }

    fn touch(&mut self, key: u64, version: Version, woken: &mut Vec<Waker>) {
        for watcher in self.keyed.get_mut(&key).into_iter().flatten() {
            watcher.touched = Some(Touched {
                first: watcher.touched.map_or(version, |touched| touched.first),
                last: version,
            });
            woken.extend(watcher.waker.take());
        }
    }

    /// Any key may have changed, up to this version.
    fn touch_all(&mut self, version: Version, woken: &mut Vec<Waker>) {
        for watcher in self.keyed.values_mut().flatten() {
            watcher.touched = Some(Touched {
                first: Version::default(),
                last: version,
            });
            woken.extend(watcher.waker.take());
        }
    }

    /// Forgets all changes up to a version.
    fn forget_all(&mut self, version: Version) {
        self.entries.clear();
        self.bytes = 0;
        self.oldest = version;
    }
}

impl<C> Ring<C> {
    /// All changes after a version, if they are kept.
    pub(crate) fn since(&self, version: Version) -> Option<Vec<Arc<[C]>>> {
        if version < self.oldest {
            return None;
        }
        let begin = self
            .entries
            .partition_point(|entry| entry.version <= version);
        let entries = self.entries.range(begin..);
        Some(entries.map(|entry| entry.changes.clone()).collect())
    }
}

/// Index of a watcher among those of its key, which are in the order of their numbers.
fn position_of(watchers: &[KeyWatcher], number: u64) -> Option<usize> {
    watchers
        .binary_search_by_key(&number, |watcher| watcher.number)
        .ok()
}

fn before(version: Version) -> Version {
    Version(Index(version.0.0.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = (u64, u8);

    fn hash(change: &Change) -> u64 {
        change.0
    }

    fn version(number: u64) -> Version {
        Version(Index(number))
    }

    fn record(number: u64, keys: &[u64], room: usize) -> Option<Record<Change>> {
        let mut changes = Changes::new(room, hash);
        for key in keys {
            changes.push((*key, 0), 0);
        }
        changes.record(version(number))
    }

    fn write(ring: &mut Ring<Change>, number: u64, keys: &[u64]) {
        let records = record(number, keys, ring.max_bytes());
        ring.append(records.into_iter().collect(), version(number), hash);
    }

    /// All that a watcher of one key, or of all, finds.
    fn read(ring: &mut Ring<Change>, id: WatcherId, at: &mut Position) -> Vec<u64> {
        let mut versions = Vec::new();
        loop {
            match ring.next(id, at, Waker::noop(), 2, &mut None) {
                Found::Changes(changes) => {
                    for (version, changes) in changes {
                        at.version = version;
                        let wanted = |change: &Change| id.key.is_none_or(|key| key == change.0);
                        if changes.iter().any(wanted) {
                            versions.push(version.0.0);
                        }
                    }
                }
                Found::Nothing => return versions,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_watcher_of_a_key_passes_over_what_others_changed_and_the_ring_forgot() {
        let mut ring = Ring::new(10 * (RECORD_BYTES + size_of::<Change>()));
        let id = ring.register(Some(1));
        let mut at = ring.position(version(0));
        write(&mut ring, 1, &[1]);
        assert_eq!(read(&mut ring, id, &mut at), [1]);
        for number in 2..100 {
            write(&mut ring, number, &[2]);
        }
        assert!(read(&mut ring, id, &mut at).is_empty());
        assert_eq!(at.version, version(99));
        for number in 100..109 {
            let key = if number % 4 == 0 { 1 } else { 3 };
            write(&mut ring, number, &[key]);
        }
        assert_eq!(read(&mut ring, id, &mut at), [100, 104, 108]);
        // Also where it has not looked again since it was given the last one.
        write(&mut ring, 109, &[1]);
        let found = ring.next(id, &mut at, Waker::noop(), 2, &mut None);
        assert!(matches!(found, Found::Changes(_)), "{found:?}");
        at.version = version(109);
        for number in 110..130 {
            write(&mut ring, number, &[2]);
        }
        write(&mut ring, 130, &[1]);
        assert_eq!(read(&mut ring, id, &mut at), [130]);
        // Its first change since is forgotten: that is told, and only then.
        for number in 131..150 {
            write(&mut ring, number, &[1]);
        }
        let found = ring.next(id, &mut at, Waker::noop(), 2, &mut None);
        assert!(matches!(found, Found::Lagged), "{found:?}");
        ring.unregister(id);
        assert_eq!(ring.watchers(), 0);
    }

    #[test]
    fn what_is_larger_than_the_ring_is_lost_for_everybody() {
        let mut ring = Ring::new(2 * RECORD_BYTES);
        let (all, one) = (ring.register(None), ring.register(Some(9)));
        let (mut at_all, mut at_one) = (ring.position(version(0)), ring.position(version(0)));
        let many: Vec<_> = (0..100).collect();
        write(&mut ring, 1, &many);
        let found = ring.next(all, &mut at_all, Waker::noop(), 2, &mut None);
        assert!(matches!(found, Found::Lagged), "{found:?}");
        let found = ring.next(one, &mut at_one, Waker::noop(), 2, &mut None);
        assert!(matches!(found, Found::Lagged), "{found:?}");
        let other = ring.register(Some(1000));
        let mut at_other = ring.position(version(0));
        assert!(
            read(&mut ring, other, &mut at_other).is_empty(),
            "its key is not among them"
        );
        assert!(ring.since(version(0)).is_none());
        assert_eq!(ring.since(version(1)).unwrap().len(), 0);
    }

    #[test]
    fn a_history_that_is_given_up_is_told_once_with_all_it_had() {
        let mut ring = Ring::<Change>::new(1 << 20);
        let id = ring.register(None);
        let mut at = ring.position(version(0));
        write(&mut ring, 7, &[1]);
        ring.replace(version(0));
        ring.replace(version(20));
        let found = ring.next(id, &mut at, Waker::noop(), 2, &mut None);
        assert!(matches!(found, Found::Reset), "{found:?}");
        assert_eq!(ring.given_up_since(&at), Some(7));
        at = ring.position(version(20));
        write(&mut ring, 21, &[1]);
        assert_eq!(read(&mut ring, id, &mut at), [21]);
    }
}
