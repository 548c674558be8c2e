//! Metrics of status.

use core::fmt;

use metrics::Counter;

use crate::primitives::{NetworkId, ShortFmtExt};

/// Handles to the metrics of one node's status, registered once.
pub(super) struct StatusMetrics {
    pub(super) answered: Counter,
    pub(super) refused: Counter,
    pub(super) bytes: Counter,
}

impl StatusMetrics {
    pub(super) fn register(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        Self {
            answered: counter("mosaik.status.requests.answered"),
            refused: counter("mosaik.status.requests.refused"),
            bytes: counter("mosaik.status.bytes.sent"),
        }
    }
}

impl fmt::Debug for StatusMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatusMetrics")
    }
}
