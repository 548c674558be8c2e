//! Events of the catalog.

use core::fmt;

use crate::{
    primitives::{PeerId, Short, ShortFmtExt},
    tickets::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
};

/// A change of the catalog. The catalog shows it already when the event is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer that was not in the catalog entered it.
    PeerDiscovered(PeerEntry),
    /// The content of a peer's entry changed.
    PeerUpdated(PeerEntry),
    /// A peer left: it announced its departure, was found dead, or its entry became stale or was
    /// removed.
    PeerDeparted(PeerId),
}

/// The raw view of gossip.
#[derive(Debug, Clone)]
pub enum AnnounceEvent {
    /// A signed entry arrived.
    PeerEntryReceived(SignedPeerEntry),
    /// A departure was announced, for entries up to this version.
    PeerDeparted(PeerId, PeerEntryVersion),
}

impl fmt::Display for Short<&Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::PeerDiscovered(entry) => write!(f, "PeerDiscovered({})", Short(entry)),
            Event::PeerUpdated(entry) => write!(f, "PeerUpdated({})", Short(entry)),
            Event::PeerDeparted(peer) => write!(f, "PeerDeparted({})", peer.short()),
        }
    }
}
