//! The engine's side of a watch: a position in the ring of changes and a filter.

use core::task::{Context, Poll};
use std::sync::Arc;

use crate::{
    collections_layer::{
        Event, Version, Watch,
        engine::{
            changes::{Found, Position, WatcherId},
            kind::Kind,
            replica::{Live, Replica, Shown},
        },
    },
    groups::Index,
};

/// Versions that a watcher with a filter takes at a time, and how often it does before it lets other
/// tasks run.
const STEP: usize = 32;
const STEPS: usize = 256;

/// Source of a [`Watch`], without the kind's type.
pub(crate) trait Outlook<S, C>: Send + Sync {
    /// The next event; none when nothing follows any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<S, C>>>;

    /// Everything up to here was delivered.
    fn version(&self) -> Version;
}

/// The part of a collection that is watched.
pub(crate) trait Select<K: Kind>: Send + Sync + 'static {
    /// Returns whether all changes are watched.
    fn is_everything(&self) -> bool {
        false
    }

    /// The hash of the only key that is watched, if it is one.
    fn key(&self) -> Option<u64> {
        None
    }

    /// The changes that are watched, if there are any among these.
    fn changes(&self, changes: &Arc<[K::Change]>) -> Option<Arc<[K::Change]>>;

    /// The part of the content that is watched.
    fn content(&self, live: &Live<K>) -> Live<K>;
}

/// The whole collection.
pub(crate) struct Everything;

impl<K: Kind> Select<K> for Everything {
    fn is_everything(&self) -> bool {
        true
    }

    fn changes(&self, changes: &Arc<[K::Change]>) -> Option<Arc<[K::Change]>> {
        Some(changes.clone())
    }

    fn content(&self, live: &Live<K>) -> Live<K> {
        live.clone()
    }
}

/// One watcher.
pub(crate) struct Observer<K: Kind, F: Select<K>, S> {
    replica: Arc<Replica<K>>,
    id: WatcherId,
    position: Position,
    select: F,
    show: fn(Live<K>) -> S,
    /// Told before anything else.
    first: Option<Event<S, K::Change>>,
    /// The version that the watch goes on after, if the node had not reached it, until something is
    /// told.
    ahead: Option<Version>,
}

impl<K: Kind, F: Select<K>, S: Send + Sync + 'static> Observer<K, F, S> {
    /// Watches from now on.
    pub(crate) fn start(
        replica: Arc<Replica<K>>,
        select: F,
        show: fn(Live<K>) -> S,
    ) -> Watch<S, K::Change> {
        let key = select.key();
        let (live, id, position) = replica.observe(|live, ring| {
            let id = ring.register(key);
            let position = ring.position(live.version);
            (live, id, position)
        });
        // Selected with no lock held: a large part takes its time.
        let snapshot = show(select.content(&live));
        let observer = Self {
            replica,
            id,
            position,
            select,
            show,
            first: None,
            ahead: None,
        };
        observer.watch(snapshot)
    }

    fn watch(self, snapshot: S) -> Watch<S, K::Change> {
        self.count_watchers();
        Watch::new(snapshot, Box::new(self))
    }

    fn count_watchers(&self) {
        let watchers = u32::try_from(self.replica.ring().watchers()).unwrap_or(u32::MAX);
        self.replica
            .with_shown(|shown| shown.watchers.set(f64::from(watchers)));
    }

    /// Passes over everything up to now, for what was missed, or was given up with its history.
    fn catch_up(&mut self) -> Event<S, K::Change> {
        let first = Version(Index(self.position.version.0.0 + 1));
        let (live, position, oldest, discarded) = self.replica.observe(|live, ring| {
            let position = ring.position(live.version);
            let discarded = ring.given_up_since(&self.position);
            (live, position, ring.oldest(), discarded)
        });
        let from = core::mem::replace(&mut self.position, position).version;
        let now = (self.show)(self.select.content(&live));
        let ahead = self.ahead.take();
        if let Some(discarded) = discarded {
            return Event::Reset { discarded, now };
        }
        if ahead == Some(from) {
            // Not read too slowly: what came after that version was not kept for this node.
            return Event::Compacted { oldest, now };
        }
        self.count(|shown| shown.lagged.increment(1));
        Event::Lagged {
            lost: first..Version(Index(live.version.0.0 + 1)),
            now,
        }
    }

    /// The first of these changes that is watched; the position is there then.
    fn first_of(&mut self, changes: &[(Version, Arc<[K::Change]>)]) -> Option<Event<S, K::Change>> {
        changes.iter().find_map(|(version, changes)| {
            let changes = self.select.changes(changes);
            self.position.version = *version;
            changes.map(|changes| Event::Changed {
                version: *version,
                changes,
            })
        })
    }

    fn count(&self, count: impl FnOnce(&Shown)) {
        self.replica.with_shown(count);
    }
}

impl<K: Kind, S: Send + Sync + 'static> Observer<K, Everything, S> {
    /// Watches everything after a version, which may be in the past or in the future.
    pub(crate) fn resume(
        replica: Arc<Replica<K>>,
        version: Version,
        show: fn(Live<K>) -> S,
    ) -> Watch<S, K::Change> {
        let (mut live, id, mut position, oldest, since, ahead) = replica.observe(|live, ring| {
            let id = ring.register(None);
            let position = ring.position(version);
            let ahead = (live.version < version).then_some(version);
            let (oldest, since) = (ring.oldest(), ring.since(version));
            (live, id, position, oldest, since, ahead)
        });
        let mut first = None;
        match since {
            Some(changes) => {
                // The content as it was then.
                for change in changes
                    .iter()
                    .rev()
                    .flat_map(|changes| changes.iter().rev())
                {
                    K::undo(&mut live.state, change);
                }
                live.version = live.version.min(version);
            }
            None => {
                position.version = live.version;
                first = Some(Event::Compacted {
                    oldest,
                    now: show(live.clone()),
                });
            }
        }
        let observer = Self {
            replica,
            id,
            position,
            select: Everything,
            show,
            first,
            ahead,
        };
        observer.watch(show(live))
    }
}

impl<K: Kind, F: Select<K>, S: Send + Sync + 'static> Outlook<S, K::Change> for Observer<K, F, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<S, K::Change>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let limit = if self.select.is_everything() { 1 } else { STEP };
        for _ in 0..STEPS {
            let mut former = None;
            let found = self.replica.ring().next(
                self.id,
                &mut self.position,
                cx.waker(),
                limit,
                &mut former,
            );
            drop(former);
            let event = match found {
                Found::Changes(changes) => {
                    self.ahead = None;
                    self.first_of(&changes)
                }
                Found::Lagged | Found::Reset => Some(self.catch_up()),
                Found::Nothing => return Poll::Pending,
                Found::End => return Poll::Ready(None),
            };
            if let Some(event) = event {
                self.count(|shown| shown.events.increment(1));
                return Poll::Ready(Some(event));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn version(&self) -> Version {
        let ring = self.replica.ring();
        if ring.given_up_since(&self.position).is_some() {
            // Of the history that is followed now, nothing was delivered.
            return Version::default();
        }
        // One that waits for a version to come has not got there.
        self.position.version.min(ring.head())
    }
}

impl<K: Kind, F: Select<K>, S> Drop for Observer<K, F, S> {
    fn drop(&mut self) {
        let mut ring = self.replica.ring();
        let former = ring.unregister(self.id);
        let watchers = u32::try_from(ring.watchers()).unwrap_or(u32::MAX);
        drop(ring);
        drop(former);
        self.replica
            .with_shown(|shown| shown.watchers.set(f64::from(watchers)));
    }
}
