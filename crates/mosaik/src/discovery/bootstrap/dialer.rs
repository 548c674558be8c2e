//! Dialer: joins peers with an address that became known.

use iroh::EndpointAddr;

use crate::{
    discovery::{Error, gossip_handle::GossipHandle, store::SharedStore, sync::exchange::Syncer},
    net::Links,
    primitives::{Scope, ShortFmtExt},
};

/// Joins peers, wherever their addresses come from.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    pub(crate) store: SharedStore,
    pub(crate) links: Links,
    pub(crate) syncer: Syncer,
    pub(crate) gossip: GossipHandle,
    pub(crate) scope: Scope,
}

impl Dialer {
    /// Starts to join a peer; failures are logged and counted.
    pub(crate) fn dial(&self, addr: EndpointAddr) {
        self.dial_holding(addr, ());
    }

    /// The same, and holds a place for as long as it takes.
    pub(crate) fn dial_holding(&self, addr: EndpointAddr, place: impl Send + 'static) {
        if addr.id == self.links.id() || self.scope.is_cancelled() {
            return;
        }
        self.links.give(&addr);
        let dialer = self.clone();
        self.scope.spawn(async move {
            let peer = addr.id;
            if let Err(error) = dialer.join(addr).await {
                dialer.store.metrics.dial_failed();
                tracing::debug!(peer = %peer.short(), %error, "dialing failed");
            }
            drop(place);
        });
    }

    /// Syncs catalogs with a peer and joins it in gossip.
    pub(crate) async fn join(&self, addr: EndpointAddr) -> Result<(), Error> {
        let peer = addr.id;
        if peer == self.links.id() {
            return Ok(());
        }
        self.syncer.sync(addr).await?;
        self.gossip.join(vec![peer]);
        self.syncer.follow_up(peer);
        Ok(())
    }
}
