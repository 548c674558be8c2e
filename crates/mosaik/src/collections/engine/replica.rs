//! This node's copy of a collection, which its handles read and the group's machine writes.

use core::{task::Waker, time::Duration};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, Gauge};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    collections_layer::{
        Version,
        engine::{
            changes::{Record, Ring},
            command::Request,
            kind::{Applied, Clock, Kind, Limits},
        },
    },
    primitives::{GroupId, NetworkId, ShortFmtExt},
};

/// One node's copy. Lock order: `shown`, `live`, then one of `ring`, `clock` and `published`;
/// `waiting` is held alone.
pub(crate) struct Replica<K: Kind> {
    live: RwLock<Live<K>>,
    /// Changes under the lock of `live`, so that a reader of both sees one version.
    ring: Mutex<Ring<K::Change>>,
    published: watch::Sender<Version>,
    /// The clock of the log, as this node extrapolates it.
    clock: watch::Sender<RunningClock>,
    /// Callers that wait for what their operation did.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Verdict<K>>>>,
    /// Tells requests of this replica from those of others.
    session: u64,
    next_request: AtomicU64,
    limits: Limits,
    shown: RwLock<Option<Shown>>,
}

/// The metrics of a collection on this node.
pub(crate) struct Shown {
    pub(crate) size: Gauge,
    pub(crate) transfers: Counter,
    pub(crate) watchers: Gauge,
    pub(crate) events: Counter,
    pub(crate) lagged: Counter,
}

/// The clock that the log carries, and when it was set here: between two settings each node goes on
/// by its own monotonic clock, which never decides what is in the content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RunningClock {
    pub(crate) log: Clock,
    set: Instant,
}

impl RunningClock {
    pub(crate) fn new(log: Clock) -> Self {
        Self {
            log,
            set: Instant::now(),
        }
    }

    /// Current reading of the clock.
    pub(crate) fn millis(&self) -> u64 {
        let elapsed = u64::try_from(self.set.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.millis.saturating_add(elapsed)
    }

    /// Time until the clock shows this reading.
    pub(crate) fn until(&self, millis: u64) -> Duration {
        Duration::from_millis(millis.saturating_sub(self.millis()))
    }
}

/// The content and its version, which change together.
pub(crate) struct Live<K: Kind> {
    pub(crate) state: K::State,
    pub(crate) version: Version,
    /// Reading of the log's clock on this node when it was taken from the replica; 0 inside of it.
    pub(crate) clock_millis: u64,
}

impl<K: Kind> Clone for Live<K> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            version: self.version,
            clock_millis: self.clock_millis,
        }
    }
}

impl<K: Kind> Default for Live<K> {
    fn default() -> Self {
        Self {
            state: K::State::default(),
            version: Version::default(),
            clock_millis: 0,
        }
    }
}

impl Shown {
    pub(crate) fn register<K: Kind>(network: &NetworkId, group: &GroupId) -> Self {
        let labels = [
            ("network", network.short().to_string()),
            ("group", group.short().to_string()),
        ];
        Self {
            size: metrics::gauge!(K::SIZE, &labels),
            transfers: metrics::counter!("mosaik.collections.syncs.started", &labels),
            watchers: metrics::gauge!("mosaik.collections.watchers", &labels),
            events: metrics::counter!("mosaik.collections.watch.events", &labels),
            lagged: metrics::counter!("mosaik.collections.watch.lagged", &labels),
        }
    }
}

/// Verdict on an operation.
pub(crate) enum Verdict<K: Kind> {
    Applied(K::Outcome),
    Full,
}

impl<K: Kind> From<Applied<K>> for Verdict<K> {
    fn from(applied: Applied<K>) -> Self {
        match applied {
            Applied::Done(outcome) => Self::Applied(outcome),
            Applied::Full => Self::Full,
        }
    }
}

impl<K: Kind> Replica<K> {
    pub(crate) fn new(limits: Limits, watch_buffer: usize) -> Self {
        Self {
            live: RwLock::new(Live::default()),
            ring: Mutex::new(Ring::new(watch_buffer)),
            published: watch::Sender::new(Version::default()),
            clock: watch::Sender::new(RunningClock::new(Clock::default())),
            waiting: Mutex::default(),
            session: rand::random(),
            next_request: AtomicU64::new(0),
            limits,
            shown: RwLock::new(None),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Reads the content as it is now.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&K::State) -> R) -> R {
        read(&self.live.read().state)
    }

    /// The content and its version, with the present reading of the clock.
    pub(crate) fn snapshot(&self) -> Live<K> {
        self.taken_from(&self.live.read())
    }

    fn taken_from(&self, live: &Live<K>) -> Live<K> {
        Live {
            clock_millis: self.clock.borrow().millis(),
            ..live.clone()
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.live.read().version
    }

    pub(crate) fn watch_version(&self) -> watch::Receiver<Version> {
        self.published.subscribe()
    }

    /// Shows metrics from now on, if none are shown yet.
    pub(crate) fn show_once(&self, register: impl FnOnce() -> Shown) {
        let mut shown = self.shown.write();
        if shown.is_none() {
            let registered = register();
            registered.size.set(self.read(|state| size(K::len(state))));
            *shown = Some(registered);
        }
    }

    /// Counts the contents that other members were given.
    pub(crate) fn transfers(&self) -> Option<Counter> {
        let shown = self.shown.read();
        shown.as_ref().map(|shown| shown.transfers.clone())
    }

    /// Registers a caller that wants to know what its operation did.
    pub(crate) fn expect(&self) -> (Request, oneshot::Receiver<Verdict<K>>) {
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(number, sender);
        let request = Request {
            session: self.session,
            number,
        };
        (request, receiver)
    }

    /// Forgets a caller whose operation has ended without being applied here.
    pub(crate) fn forget(&self, request: Request) {
        self.waiting.lock().remove(&request.number);
    }

    /// Applies operations under one lock; `change` gives a record for each version that changed
    /// anything.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Live<K>) -> Vec<Record<K::Change>>) {
        self.write(|live| {
            let records = change(live);
            let mut ring = self.ring.lock();
            ring.append(records, live.version, K::key_hash)
        });
    }

    /// Replaces the whole content.
    pub(crate) fn replace(&self, mut content: Live<K>) {
        self.write(|live| {
            core::mem::swap(live, &mut content);
            self.ring.lock().replace(live.version)
        });
        // The former content is dropped here, with no lock held.
    }

    fn write(&self, write: impl FnOnce(&mut Live<K>) -> Vec<Waker>) {
        let (len, woken) = {
            let mut live = self.live.write();
            let woken = write(&mut live);
            // Both under the lock: a reader that has seen a version is not told of it as of a new
            // one, and never reads it beside the clock of another.
            self.set_clock(K::clock(&live.state));
            self.published.send_replace(live.version);
            (K::len(&live.state), woken)
        };
        for waker in woken {
            waker.wake();
        }
        if let Some(shown) = &*self.shown.read() {
            shown.size.set(size(len));
        }
    }

    fn set_clock(&self, clock: Clock) {
        self.clock.send_if_modified(|running| {
            let changed = running.log != clock;
            if running.log.millis != clock.millis {
                *running = RunningClock::new(clock);
            }
            running.log = clock;
            changed
        });
    }

    /// Bytes of changes that are kept for watchers.
    pub(crate) fn watch_buffer(&self) -> usize {
        self.ring.lock().max_bytes()
    }

    /// Looks at the changes that are kept.
    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring<K::Change>> {
        self.ring.lock()
    }

    /// Looks at the content and at the changes that led to it, as of one version.
    pub(crate) fn observe<R>(&self, observe: impl FnOnce(Live<K>, &mut Ring<K::Change>) -> R) -> R {
        let live = self.live.read();
        let taken = self.taken_from(&live);
        observe(taken, &mut self.ring.lock())
    }

    /// Ends all watches, after what they have not yet seen.
    pub(crate) fn end(&self) {
        let woken = self.ring.lock().end();
        for waker in woken {
            waker.wake();
        }
    }

    /// The metrics, if they are shown.
    pub(crate) fn with_shown(&self, count: impl FnOnce(&Shown)) {
        if let Some(shown) = &*self.shown.read() {
            count(shown);
        }
    }

    pub(crate) fn watch_clock(&self) -> watch::Receiver<RunningClock> {
        self.clock.subscribe()
    }

    /// Reads the content beside the clock of the same version, as this node extrapolates it.
    pub(crate) fn read_at<R>(&self, read: impl FnOnce(&K::State, u64) -> R) -> R {
        let live = self.live.read();
        let millis = self.clock.borrow().millis();
        read(&live.state, millis)
    }

    /// Tells the caller of an operation, if it is one of this replica's.
    pub(crate) fn resolve(&self, request: Option<Request>, verdict: impl Into<Verdict<K>>) {
        let Some(request) = request.filter(|request| request.session == self.session) else {
            return;
        };
        let caller = self.waiting.lock().remove(&request.number);
        if let Some(caller) = caller {
            // The caller may have gone.
            let _ = caller.send(verdict.into());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn size(len: usize) -> f64 {
    len as f64
}
