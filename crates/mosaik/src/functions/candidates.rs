//! The handlers that a caller may call.

use core::panic::AssertUnwindSafe;
use std::{panic::catch_unwind, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::route::Route;
use crate::{
    primitives::{ConditionSource, Digest, PeerId, Signal},
    tickets::{PeerEntry, PeerInfo},
};

/// Candidate: a handler that may be called, with its entry and its distance.
#[derive(Debug, Clone)]
pub struct CandidateInfo(PeerInfo);

impl CandidateInfo {
    // Not `const`: the entry is shared with the catalog, not copied.
    /// The handler's entry.
    pub fn entry(&self) -> &PeerEntry {
        &self.0
    }

    /// The smoothed round-trip time to it.
    pub const fn rtt(&self) -> Option<Duration> {
        self.0.rtt()
    }
}

/// A handler that may be called, with the way to it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) info: CandidateInfo,
    pub(super) route: Arc<Route>,
}

impl Candidate {
    pub(super) const fn new(info: PeerInfo, route: Arc<Route>) -> Self {
        Self {
            info: CandidateInfo(info),
            route,
        }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.route.peer()
    }
}

/// All candidates at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The nearest first.
    pub(super) candidates: Vec<Arc<Candidate>>,
    /// The content of this node's own entry.
    pub(super) own_content: Digest,
    /// Nothing will change any more.
    pub(super) is_closed: bool,
}

/// The candidates of one caller, as they change. Shared by reference.
#[derive(Debug, Clone)]
pub(super) struct Candidates(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: watch::Sender<Arc<Snapshot>>,
    signal: Signal,
}

impl Candidates {
    pub(super) fn new(own_content: Digest) -> Self {
        let empty = Snapshot {
            candidates: Vec::new(),
            own_content,
            is_closed: false,
        };
        Self(Arc::new(Inner {
            current: watch::Sender::new(Arc::new(empty)),
            signal: Signal::default(),
        }))
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.borrow().clone()
    }

    /// Looks at the current snapshot, without a clone.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(&self.0.current.borrow())
    }

    /// Sees changes from now on.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.current.subscribe()
    }

    /// Wakes all conditions with each change.
    pub(super) fn signal(&self) -> &Signal {
        &self.0.signal
    }

    /// Replaces the snapshot. Wakes those who wait only if somebody can decide differently now.
    pub(super) fn publish(&self, snapshot: Snapshot, is_change: bool) {
        self.0.current.send_if_modified(|current| {
            *current = Arc::new(snapshot);
            is_change
        });
        if is_change {
            self.0.signal.notify();
        }
    }

    /// The end: no candidates any more.
    pub(super) fn close(&self) {
        let own_content = self.look(|snapshot| snapshot.own_content);
        let end = Snapshot {
            candidates: Vec::new(),
            own_content,
            is_closed: true,
        };
        self.publish(end, true);
    }
}

impl ConditionSource for Candidates {
    type Entry = PeerEntry;

    fn signal(&self) -> &Signal {
        &self.0.signal
    }

    fn count(&self, accept: &dyn Fn(&PeerEntry) -> bool) -> usize {
        // Predicates are users' code: no lock is held while they run.
        let snapshot = self.snapshot();
        let entries = snapshot
            .candidates
            .iter()
            .map(|candidate| candidate.info.entry());
        let holds = |entry: &&PeerEntry| {
            catch_unwind(AssertUnwindSafe(|| accept(entry))).unwrap_or_else(|_| {
                tracing::error!("a predicate on handlers panicked, and counts as not met");
                false
            })
        };
        entries.filter(holds).count()
    }
}
