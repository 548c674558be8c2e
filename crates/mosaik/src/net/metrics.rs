//! Counters of the transport.

use metrics::{Counter, Gauge};

use crate::primitives::{NetworkId, ShortFmtExt};

/// Handles to the transport's metrics, registered once per node.
#[derive(Clone)]
pub(crate) struct TransportMetrics {
    opened: Counter,
    closed: Counter,
    active: Gauge,
    egress: Counter,
    ingress: Counter,
}

impl TransportMetrics {
    pub(crate) fn register(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        Self {
            opened: counter("mosaik.network.connections.opened"),
            closed: counter("mosaik.network.connections.closed"),
            active: metrics::gauge!("mosaik.network.connections.active",
                "network" => network.clone()),
            egress: counter("mosaik.network.egress.bytes"),
            ingress: counter("mosaik.network.ingress.bytes"),
        }
    }

    pub(crate) fn connection_opened(&self) {
        self.opened.increment(1);
        self.active.increment(1);
    }

    pub(crate) fn connection_closed(&self) {
        self.closed.increment(1);
        self.active.decrement(1);
    }

    pub(crate) fn egress(&self, bytes: usize) {
        self.egress.increment(bytes as u64);
    }

    pub(crate) fn ingress(&self, bytes: usize) {
        self.ingress.increment(bytes as u64);
    }
}

impl std::fmt::Debug for TransportMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransportMetrics")
    }
}
