//! This node's copy of a collection, which its handles read and the group's machine writes.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, Gauge};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::{
    collections_layer::{
        Version,
        engine::{
            command::Request,
            kind::{Applied, Kind, Limits},
        },
    },
    primitives::{GroupId, NetworkId, ShortFmtExt},
};

/// One node's copy. Lock order: `shown` before `live`; `waiting` is held alone.
pub(crate) struct Replica<K: Kind> {
    live: RwLock<Live<K>>,
    published: watch::Sender<Version>,
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
}

/// The content and its version, which change together.
pub(crate) struct Live<K: Kind> {
    pub(crate) state: K::State,
    pub(crate) version: Version,
}

impl<K: Kind> Clone for Live<K> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            version: self.version,
        }
    }
}

impl<K: Kind> Default for Live<K> {
    fn default() -> Self {
        Self {
            state: K::State::default(),
            version: Version::default(),
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
        }
    }
}

/// What became of an operation.
pub(crate) enum Verdict<K: Kind> {
    Applied(K::Outcome),
    Full,
    /// It did not decode: nothing was changed anywhere.
    Undecodable,
}

impl<K: Kind> From<Option<Applied<K>>> for Verdict<K> {
    fn from(applied: Option<Applied<K>>) -> Self {
        match applied {
            Some(Applied::Done(outcome)) => Self::Applied(outcome),
            Some(Applied::Full) => Self::Full,
            None => Self::Undecodable,
        }
    }
}

impl<K: Kind> Replica<K> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            live: RwLock::new(Live::default()),
            published: watch::Sender::new(Version::default()),
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

    /// The content and its version.
    pub(crate) fn snapshot(&self) -> Live<K> {
        self.live.read().clone()
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

    /// Changes the content under one lock.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Live<K>)) {
        let (version, len) = {
            let mut live = self.live.write();
            change(&mut live);
            (live.version, K::len(&live.state))
        };
        if let Some(shown) = &*self.shown.read() {
            shown.size.set(size(len));
        }
        self.published.send_replace(version);
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
