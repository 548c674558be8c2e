//! Metrics of functions, registered once per node, handler and caller.

use std::{fmt, sync::atomic::AtomicU64};

use metrics::{Counter, Gauge};

use crate::primitives::{FunctionId, NetworkId, ShortFmtExt, Tally};

/// Metrics of the handlers of a node.
#[derive(Clone)]
pub(super) struct HandlerMetrics {
    pub(super) handlers: Gauge,
    pub(super) accepted: Counter,
    pub(super) rejected: Counter,
    pub(super) completed: Counter,
    pub(super) failed: Counter,
    pub(super) inflight: Gauge,
}

impl HandlerMetrics {
    pub(super) fn register(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        let gauge = |name| metrics::gauge!(name, "network" => network.clone());
        Self {
            handlers: gauge("mosaik.functions.handlers.active"),
            accepted: counter("mosaik.functions.calls.accepted"),
            rejected: counter("mosaik.functions.calls.rejected"),
            completed: counter("mosaik.functions.calls.completed"),
            failed: counter("mosaik.functions.calls.failed"),
            inflight: gauge("mosaik.functions.calls.inflight"),
        }
    }
}

impl fmt::Debug for HandlerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerMetrics")
    }
}

/// Metrics of one caller.
pub(super) struct CallerMetrics {
    pub(super) attempts: Tally,
    /// Calls that a function answered, with a value or with its own error.
    pub(super) completed: Tally,
    /// Calls that ended otherwise, those among them that were dropped.
    pub(super) failed: AtomicU64,
    /// Calls that have neither ended nor been dropped.
    pub(super) running: AtomicU64,
}

impl CallerMetrics {
    pub(super) fn register(network: &NetworkId, function: &FunctionId) -> Self {
        let (network, function) = (network.short().to_string(), function.short().to_string());
        let counter = |name| metrics::counter!(name, "network" => network.clone(), "function" => function.clone());
        Self {
            attempts: counter("mosaik.functions.calls.attempts").into(),
            completed: counter("mosaik.functions.calls.completed").into(),
            failed: AtomicU64::new(0),
            running: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for CallerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerMetrics")
    }
}
