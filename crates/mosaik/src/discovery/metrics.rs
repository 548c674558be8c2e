//! Metrics of discovery.

use std::fmt;

use metrics::{Counter, Gauge};
use parking_lot::Mutex;

use super::{Event, state::Refusal};
use crate::primitives::{NetworkId, PeerId, ShortFmtExt, Tally};

/// Handles to the metrics of one node's discovery, registered once.
pub(crate) struct DiscoveryMetrics {
    network: String,
    refused: [Tally; Refusal::ALL.len()],
    rivalled: Tally,
    dials_failed: Counter,
    catalog_size: Gauge,
    discovered: Counter,
    updated: Counter,
    departed: Counter,
    syncs: Counter,
    sync_bytes: Counter,
    announce_bytes: Counter,
    neighbors: Gauge,
    neighbor_ids: Mutex<Vec<PeerId>>,
}

/// Figures of discovery, as status reports show them.
pub(crate) struct Figures {
    /// Refused entries, by reason.
    pub(crate) refused: Vec<(&'static str, u64)>,
    /// Encounters with another process of the same identity.
    pub(crate) conflicts: u64,
    /// Neighbours in gossip.
    pub(crate) neighbors: Vec<PeerId>,
}

impl DiscoveryMetrics {
    pub(crate) fn register(network_id: &NetworkId) -> Self {
        let network = network_id.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        let gauge = |name| metrics::gauge!(name, "network" => network.clone());
        Self {
            refused: Refusal::ALL.map(|refusal| {
                metrics::counter!("mosaik.discovery.entries.refused",
                    "network" => network.clone(), "reason" => refusal.label())
                .into()
            }),
            dials_failed: counter("mosaik.discovery.dials.failed"),
            rivalled: counter("mosaik.discovery.identity.conflicts").into(),
            catalog_size: gauge("mosaik.discovery.catalog.size"),
            discovered: counter("mosaik.discovery.peers.discovered"),
            updated: counter("mosaik.discovery.peers.updated"),
            departed: counter("mosaik.discovery.peers.departed"),
            syncs: counter("mosaik.discovery.catalog.syncs"),
            sync_bytes: counter("mosaik.discovery.sync.bytes"),
            announce_bytes: counter("mosaik.discovery.announce.bytes"),
            neighbors: gauge("mosaik.discovery.gossip.neighbors"),
            neighbor_ids: Mutex::default(),
            network,
        }
    }

    pub(crate) fn event(&self, event: &Event) {
        match event {
            Event::PeerDiscovered(_) => self.discovered.increment(1),
            Event::PeerUpdated(_) => self.updated.increment(1),
            Event::PeerDeparted(_) => self.departed.increment(1),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a catalog has far fewer than 2^52 peers"
    )]
    pub(crate) fn catalog_size(&self, peers: usize) {
        self.catalog_size.set(peers as f64);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].increment(1);
    }

    pub(crate) fn dial_failed(&self) {
        self.dials_failed.increment(1);
    }

    /// Rare enough for a lookup each.
    pub(crate) fn restarted(&self, worker: &'static str) {
        metrics::counter!("mosaik.discovery.workers.restarted",
            "network" => self.network.clone(), "worker" => worker)
        .increment(1);
    }

    pub(crate) fn rivalled(&self) {
        self.rivalled.increment(1);
    }

    pub(crate) fn synced(&self) {
        self.syncs.increment(1);
    }

    pub(crate) fn sync_bytes(&self, bytes: usize) {
        self.sync_bytes.increment(bytes as u64);
    }

    pub(crate) fn announced(&self, bytes: usize) {
        self.announce_bytes.increment(bytes as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "a node has few neighbours")]
    pub(crate) fn neighbors<'p>(&self, neighbors: impl IntoIterator<Item = &'p PeerId>) {
        let neighbors: Vec<_> = neighbors.into_iter().copied().collect();
        self.neighbors.set(neighbors.len() as f64);
        *self.neighbor_ids.lock() = neighbors;
    }

    pub(crate) fn figures(&self) -> Figures {
        let refused = Refusal::ALL.iter().zip(&self.refused);
        Figures {
            refused: refused
                .map(|(refusal, count)| (refusal.label(), count.total()))
                .collect(),
            conflicts: self.rivalled.total(),
            neighbors: self.neighbor_ids.lock().clone(),
        }
    }
}

impl fmt::Debug for DiscoveryMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiscoveryMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_counter() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index, "{}", refusal.label());
        }
    }
}
