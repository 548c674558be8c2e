//! A registered function, and the places for its calls.

use core::panic::AssertUnwindSafe;
use std::{
    fmt,
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use iroh::endpoint::ApplicationClose;
use parking_lot::Mutex;
use tokio::time::Instant;

use tokio_util::sync::WaitForCancellationFuture;

use super::{
    HandlerConfig, Stats,
    places::{Permit, Places},
    service::Service,
};
use crate::{
    functions_layer::{
        close::NotAllowed,
        metrics::HandlerMetrics,
        report::{FunctionReport, FunctionSide},
    },
    primitives::{FunctionId, LastTime, PeerId, Scope, ShortFmtExt},
    tickets::PeerInfo,
};

/// The least time between two warnings of callers with another schema.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Names of a function and its types, for people.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) label: Option<String>,
    pub(super) types: String,
}

/// A function that is served by this node.
pub(super) struct Registered {
    pub(super) id: FunctionId,
    pub(super) config: HandlerConfig,
    pub(super) service: Box<dyn Service>,
    pub(super) stats: Stats,
    pub(super) places: Places,
    named: Named,
    refused: AtomicU64,
    not_allowed: AtomicU64,
    last_refused: LastTime,
    last_not_allowed: LastTime,
    metrics: Arc<HandlerMetrics>,
    scope: Scope,
    /// Time of the last warning about a caller with another schema.
    warned: Mutex<Option<Instant>>,
}

impl Registered {
    pub(super) fn new(
        id: FunctionId,
        named: Named,
        config: HandlerConfig,
        service: Box<dyn Service>,
        metrics: Arc<HandlerMetrics>,
        scope: Scope,
    ) -> Self {
        Self {
            id,
            places: Places::new(config.max_concurrent),
            config,
            service,
            stats: Stats::default(),
            named,
            refused: AtomicU64::new(0),
            not_allowed: AtomicU64::new(0),
            last_refused: LastTime::default(),
            last_not_allowed: LastTime::default(),
            metrics,
            scope,
            warned: Mutex::default(),
        }
    }

    /// Returns whether the user's predicate accepts a caller; one that panics doesn't.
    pub(super) fn accepts(&self, caller: &PeerInfo) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.config.require)(caller))).unwrap_or_else(|_| {
            tracing::error!(function = %self.id.short(), peer = %caller.id().short(),
                "a requirement on callers panicked, the call is refused");
            false
        })
    }

    /// Says in the log that a caller has another schema, now and then.
    pub(super) fn warn_of_schema(&self, caller: &PeerId, own: &str, theirs: &str) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(function = %self.id.short(), peer = %caller.short(), schema = own,
                caller_schema = ?theirs, "caller with another schema refused");
        }
    }

    /// Counts a call that was refused.
    pub(super) fn refused(&self, refusal: &ApplicationClose) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.last_refused.note();
        if NotAllowed == *refusal {
            self.not_allowed.fetch_add(1, Ordering::Relaxed);
            self.last_not_allowed.note();
        }
    }

    pub(super) fn describe(&self) -> FunctionReport {
        let max = self.config.max_concurrent;
        FunctionReport {
            function: self.id,
            label: self.named.label.clone(),
            types: self.named.types.clone(),
            side: FunctionSide::Handler,
            answered: self.stats.served() as u64,
            failed: self.stats.failed() as u64,
            refused: self.refused.load(Ordering::Relaxed),
            not_allowed: self.not_allowed.load(Ordering::Relaxed),
            running: self.stats.inflight() as u64,
            max_running: (max != usize::MAX).then_some(max as u64),
            attempts: 0,
            eligible: 0,
            handlers_known: 0,
            refused_ago_ms: self.last_refused.ago_ms(),
            not_allowed_ago_ms: self.last_not_allowed.ago_ms(),
        }
    }

    /// A place for one call, if one is free.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Place> {
        self.places.try_take().map(|permit| self.occupy(permit))
    }

    /// Counts a call in that has a place.
    pub(super) fn occupy(self: &Arc<Self>, permit: Permit) -> Place {
        self.stats.begin();
        self.metrics.accepted.increment(1);
        self.metrics.inflight.increment(1);
        Place {
            registered: self.clone(),
            is_counted: false,
            _permit: permit,
        }
    }

    /// Counts the handler in; called once, when it can be found.
    pub(super) fn offered(&self) {
        self.metrics.handlers.increment(1);
    }

    /// Counts the handler out and ends the calls that are running; called once, when it can no
    /// longer be found.
    pub(super) fn withdraw(&self) {
        self.metrics.handlers.decrement(1);
        self.scope.cancel();
    }

    /// Returns whether the handler was dropped.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.scope.is_cancelled()
    }

    /// Resolves when the handler was dropped.
    pub(super) fn withdrawn(&self) -> WaitForCancellationFuture<'_> {
        self.scope.cancelled()
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("id", &self.id)
            .field("config", &self.config)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// The place of a running call. Free again when dropped, which counts the call as failed unless it
/// was served.
#[derive(Debug)]
pub(super) struct Place {
    registered: Arc<Registered>,
    is_counted: bool,
    /// Given back after the call was counted out: never do more run than may.
    _permit: Permit,
}

impl Place {
    /// Frees the place of a call that has its reply.
    pub(super) fn served(mut self) {
        self.count_served();
    }

    /// Counts the call as served, without freeing its place yet.
    pub(super) fn count_served(&mut self) {
        self.count(true);
    }

    fn count(&mut self, is_served: bool) {
        let Registered { metrics, stats, .. } = &*self.registered;
        let outcome = if is_served {
            &metrics.completed
        } else {
            &metrics.failed
        };
        outcome.increment(1);
        stats.count(is_served);
        self.is_counted = true;
    }

    pub(super) fn registered(&self) -> &Arc<Registered> {
        &self.registered
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count(false);
        }
        self.registered.metrics.inflight.decrement(1);
        self.registered.stats.end();
    }
}
