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
    list: Vec<C>,
    bytes: usize,
    room: usize,
}

impl<C> Changes<C> {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            list: Vec::new(),
            bytes: RECORD_BYTES,
            room,
        }
    }

    /// Adds a change, with the bytes that it alone keeps in memory: those of what was replaced.
    pub(crate) fn push(&mut self, change: C, replaced_bytes: u64) {
        if self.bytes > self.room {
            return;
        }
        let replaced = usize::try_from(replaced_bytes).unwrap_or(usize::MAX);
        self.bytes = self.bytes.saturating_add(replaced + size_of::<C>());
        if self.bytes > self.room {
            // More than a ring holds: whoever watches goes on from a snapshot.
            self.list = Vec::new();
        } else {
            self.list.push(change);
        }
    }

    /// Takes all back, as the operation has no effect after all.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.room);
    }

    /// As a record of the ring; none when nothing changed.
    pub(crate) fn record(self, version: Version) -> Option<Record<C>> {
        let lost = self.bytes > self.room;
        (lost || !self.list.is_empty()).then(|| Record {
            version,
            bytes: self.bytes,
            changes: (!lost).then(|| self.list.into()),
        })
    }
}

/// The changes of one version.
#[derive(Debug)]
pub(crate) struct Record<C> {
    version: Version,
    bytes: usize,
    /// None when they were too large to be kept.
    changes: Option<Arc<[C]>>,
}

/// A place in the ring: everything up to this version is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) version: Version,
    history: u64,
    discarded: u64,
}

/// What a watcher finds.
#[derive(Debug)]
pub(crate) enum Found<C> {
    Changes(Version, Arc<[C]>),
    /// Changes that are no longer kept.
    Lagged,
    /// The history that the watcher followed was given up, with as many mutations.
    Reset(u64),
    /// Nothing among those that were looked at; there are more.
    More,
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
    records: VecDeque<Record<C>>,
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
    /// Watchers of single keys, by the hash of the key.
    keyed: HashMap<u64, Vec<KeyWatcher>>,
}

#[derive(Debug)]
struct KeyWatcher {
    number: u64,
    waker: Option<Waker>,
    /// Changes of the key, or of one with the same hash, that it has not looked at.
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
            records: VecDeque::new(),
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
        }
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Makes the ring as large as this, if it is smaller.
    pub(crate) fn enlarge(&mut self, max_bytes: usize) {
        self.max_bytes = self.max_bytes.max(max_bytes);
    }

    /// Everything after this version is kept.
    pub(crate) fn oldest(&self) -> Version {
        self.oldest
    }

    pub(crate) fn watchers(&self) -> usize {
        self.wide.len() + self.keyed.values().map(Vec::len).sum::<usize>()
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
        key_hash: impl Fn(&C) -> u64,
    ) -> Vec<Waker> {
        let mut woken = Vec::new();
        if records.is_empty() {
            self.head = head;
            return woken;
        }
        for record in records {
            let Some(changes) = &record.changes else {
                self.forget_all(record.version);
                self.touch_all(record.version, &mut woken);
                continue;
            };
            if !self.keyed.is_empty() {
                for change in changes.iter() {
                    self.touch(key_hash(change), record.version, &mut woken);
                }
            }
            self.bytes += record.bytes;
            self.records.push_back(record);
        }
        while self.bytes > self.max_bytes
            && let Some(record) = self.records.pop_front()
        {
            self.bytes -= record.bytes;
            self.oldest = record.version;
        }
        self.head = head;
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
                let watchers = self
                    .keyed
                    .entry(key)
                    .or_insert_with(|| Vec::with_capacity(1));
                watchers.push(KeyWatcher {
                    number,
                    waker: None,
                    touched: None,
                });
            }
        }
        WatcherId { number, key }
    }

    pub(crate) fn unregister(&mut self, id: WatcherId) {
        let Some(key) = id.key else {
            self.wide.remove(&id.number);
            return;
        };
        if let Some(watchers) = self.keyed.get_mut(&key) {
            watchers.retain(|watcher| watcher.number != id.number);
            if watchers.is_empty() {
                self.keyed.remove(&key);
            }
        }
    }

    /// The next changes after a watcher's position that it looks for, among at most `limit` records;
    /// the position goes on to what was looked at. A waker is kept only where there is nothing more.
    pub(crate) fn next(
        &mut self,
        id: WatcherId,
        at: &mut Position,
        waker: &Waker,
        limit: usize,
        select: impl Fn(&Arc<[C]>) -> Option<Arc<[C]>>,
    ) -> Found<C> {
        if at.history != self.history {
            return Found::Reset(self.discarded - at.discarded);
        }
        let (head, ended) = (self.head, self.ended);
        let nothing = if ended { Found::End } else { Found::Nothing };
        let mut last = None;
        if let Some(watcher) = self.key_watcher(id) {
            let Some(touched) = watcher.touched.take() else {
                at.version = at.version.max(head);
                watcher.waker = Some(waker.clone());
                return nothing;
            };
            at.version = at.version.max(before(touched.first));
            last = Some(touched.last);
        }
        if at.version < self.oldest {
            return Found::Lagged;
        }
        let begin = self
            .records
            .partition_point(|record| record.version <= at.version);
        for record in self.records.iter().skip(begin).take(limit) {
            at.version = record.version;
            let selected = record.changes.as_ref().and_then(&select);
            if let Some(changes) = selected {
                let found = Found::Changes(record.version, changes);
                self.look_again(id, at.version, last);
                return found;
            }
        }
        if begin + limit < self.records.len() {
            self.look_again(id, at.version, last);
            return Found::More;
        }
        at.version = at.version.max(head);
        match id.key {
            None => {
                if let Some(place) = self.wide.get_mut(&id.number) {
                    *place = Some(waker.clone());
                }
            }
            Some(_) => {
                if let Some(watcher) = self.key_watcher(id) {
                    watcher.waker = Some(waker.clone());
                }
            }
        }
        nothing
    }

    /// A watcher of one key goes on after this version next time, if its key changed since.
    fn look_again(&mut self, id: WatcherId, after: Version, last: Option<Version>) {
        let last = last.filter(|last| *last > after);
        if let Some(last) = last
            && let Some(watcher) = self.key_watcher(id)
        {
            watcher.touched = Some(Touched {
                first: Version(Index(after.0.0 + 1)),
                last,
            });
        }
    }

    fn key_watcher(&mut self, id: WatcherId) -> Option<&mut KeyWatcher> {
        let watchers = self.keyed.get_mut(&id.key?)?;
        watchers
            .iter_mut()
            .find(|watcher| watcher.number == id.number)
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
        self.records.clear();
        self.bytes = 0;
        self.oldest = version;
    }
}

impl<C: Clone> Ring<C> {
    /// All changes after a version, if they are kept.
    pub(crate) fn since(&self, version: Version) -> Option<Vec<Arc<[C]>>> {
        if version < self.oldest {
            return None;
        }
        let begin = self
            .records
            .partition_point(|record| record.version <= version);
        let records = self.records.iter().skip(begin);
        Some(
            records
                .filter_map(|record| record.changes.clone())
                .collect(),
        )
    }
}

fn before(version: Version) -> Version {
    Version(Index(version.0.0.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = (u64, u8);

    fn version(number: u64) -> Version {
        Version(Index(number))
    }

    fn record(number: u64, keys: &[u64], room: usize) -> Option<Record<Change>> {
        let mut changes = Changes::new(room);
        for key in keys {
            changes.push((*key, 0), 0);
        }
        changes.record(version(number))
    }

    fn write(ring: &mut Ring<Change>, number: u64, keys: &[u64]) {
        let records = record(number, keys, ring.max_bytes());
        ring.append(
            records.into_iter().collect(),
            version(number),
            |change: &Change| change.0,
        );
    }

    /// All that a watcher of one key, or of all, finds.
    fn read(ring: &mut Ring<Change>, id: WatcherId, at: &mut Position) -> Vec<u64> {
        let mut versions = Vec::new();
        loop {
            let select = |changes: &Arc<[Change]>| {
                let wanted = |change: &Change| id.key.is_none_or(|key| key == change.0);
                changes.iter().any(wanted).then(|| changes.clone())
            };
            match ring.next(id, at, Waker::noop(), 2, select) {
                Found::Changes(version, _) => versions.push(version.0.0),
                Found::More => {}
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
        // Its first change since is forgotten: that is told, and only then.
        for number in 109..130 {
            write(&mut ring, number, &[1]);
        }
        let found = ring.next(id, &mut at, Waker::noop(), 2, |_| None);
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
        let found = ring.next(all, &mut at_all, Waker::noop(), 2, |_| None);
        assert!(matches!(found, Found::Lagged), "{found:?}");
        let found = ring.next(one, &mut at_one, Waker::noop(), 2, |_| None);
        assert!(matches!(found, Found::Lagged), "{found:?}");
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
        let found = ring.next(id, &mut at, Waker::noop(), 2, |_| None);
        assert!(matches!(found, Found::Reset(7)), "{found:?}");
        at = ring.position(version(20));
        write(&mut ring, 21, &[1]);
        assert_eq!(read(&mut ring, id, &mut at), [21]);
    }
}
