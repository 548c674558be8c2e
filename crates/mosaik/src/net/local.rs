//! This node's own place on the network.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use iroh::{Endpoint, EndpointAddr, SecretKey};
use tokio_util::sync::CancellationToken;

use crate::primitives::{NetworkId, PeerId, ShortFmtExt};

/// Cheap handle to this node's transport.
///
/// Outlives its [`Network`](crate::Network): accessors then keep answering with what was last
/// known. As it gives access to the endpoint itself, the node's sockets stay bound for as long as
/// a clone of this, or of its endpoint, is held; no other handle has this effect.
#[derive(Clone)]
pub struct LocalNode(Arc<Inner>);

struct Inner {
    network_id: NetworkId,
    endpoint: Endpoint,
    freed: CancellationToken,
}

/// A node's endpoint, for as long as the node lives.
#[derive(Clone)]
pub(super) struct WeakEndpoint(Weak<Inner>);

impl WeakEndpoint {
    pub(super) fn upgrade(&self) -> Option<Endpoint> {
        self.0.upgrade().map(|node| node.endpoint.clone())
    }
}

impl LocalNode {
    /// `freed` is cancelled once the endpoint, with all its clones, is gone.
    pub(super) fn new(network_id: NetworkId, endpoint: Endpoint, freed: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            network_id,
            endpoint,
            freed,
        }))
    }

    pub(super) fn weak_endpoint(&self) -> WeakEndpoint {
        WeakEndpoint(Arc::downgrade(&self.0))
    }

    /// Lets go of the endpoint; waits until its sockets are free, for `limit` at most. `false` if
    /// somebody else holds it.
    pub(crate) async fn free(self, limit: Duration) -> bool {
        let freed = self.0.freed.clone();
        drop(self);
        tokio::time::timeout(limit, freed.cancelled()).await.is_ok()
    }

    /// The network that this node belongs to.
    pub fn network_id(&self) -> &NetworkId {
        &self.0.network_id
    }

    /// The transport itself, for what this library does not offer.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Address of this node: its id, its direct addresses and its relay. Changes over time; other
    /// local nodes can dial it as soon as the network is built.
    pub fn addr(&self) -> EndpointAddr {
        self.0.endpoint.addr()
    }

    /// This node's public key.
    pub fn id(&self) -> PeerId {
        self.0.endpoint.id()
    }

    /// This node's secret key.
    pub fn secret_key(&self) -> &SecretKey {
        self.0.endpoint.secret_key()
    }

    /// Resolves once the node is bound, has all protocols installed and can be dialed, which is
    /// so when the network is built: it never waits for a relay or the internet.
    #[expect(
        clippy::unused_async,
        reason = "the condition holds from the start; callers await it"
    )]
    pub async fn online(&self) {}
}

impl fmt::Display for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalNode({})", self.id())
    }
}

impl fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNode")
            .field("network", &self.network_id().short())
            .field("endpoint", self.endpoint())
            .finish()
    }
}
