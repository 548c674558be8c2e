//! Requests of other parts of discovery to gossip.

use tokio::sync::mpsc;

use crate::{
    discovery::wire::Goodbye,
    primitives::PeerId,
    tickets::{PeerEntryVersion, SignedPeerEntry},
};

/// Requests that wait for the worker; more are dropped, and healed by syncs later.
const MAX_PENDING: usize = 1024;

#[derive(Debug)]
pub(crate) enum Command {
    /// Pass on an entry that was learned from its owner directly.
    Relay(SignedPeerEntry),
    /// Tell everybody that this peer can't be reached.
    Suspect(PeerId, PeerEntryVersion),
    /// Connect to these peers.
    Join(Vec<PeerId>),
    /// Connect to this peer if nothing was heard for a while: something did change.
    JoinIfSilent(PeerId),
    /// Tell everybody that this node leaves.
    Depart(Goodbye),
}

/// Sends requests to the gossip worker; never waits.
#[derive(Debug, Clone)]
pub(crate) struct GossipHandle(mpsc::Sender<Command>);

/// Receiving end of the requests, for the worker.
pub(crate) type GossipInbox = mpsc::Receiver<Command>;

pub(crate) fn gossip_channel() -> (GossipHandle, GossipInbox) {
    let (sender, inbox) = mpsc::channel(MAX_PENDING);
    (GossipHandle(sender), inbox)
}

impl GossipHandle {
    pub(crate) fn relay(&self, entry: SignedPeerEntry) {
        // When full: the entry reaches the others by its owner's announcement or a sync.
        let _ = self.0.try_send(Command::Relay(entry));
    }

    pub(crate) fn suspect(&self, peer: PeerId, version: PeerEntryVersion) {
        // When full: the others find out by their own probes.
        let _ = self.0.try_send(Command::Suspect(peer, version));
    }

    pub(crate) fn join(&self, peers: Vec<PeerId>) {
        // When full: the worker joins peers of the catalog periodically anyway.
        let _ = self.0.try_send(Command::Join(peers));
    }

    pub(crate) fn join_if_silent(&self, peer: PeerId) {
        // When full: the next difference of catalogs asks again.
        let _ = self.0.try_send(Command::JoinIfSilent(peer));
    }

    pub(crate) fn depart(&self, goodbye: Goodbye) {
        // When full: peers are told directly too, and notice by their probes.
        let _ = self.0.try_send(Command::Depart(goodbye));
    }
}
