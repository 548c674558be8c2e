//! The accepting side: hands connections and links to the protocols that they are for.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming},
};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::{
    Link, Links, handshake,
    limits::{HANDSHAKE_TIMEOUT, MAX_PENDING_ACCEPTS},
    metrics::Refusal,
};
use crate::primitives::Scope;

/// Serves the links of one protocol.
///
/// This is all that a subsystem implements to be reachable. Each link is served by a task of its
/// own, which ends with the node.
pub(crate) trait Acceptor: Send + Sync + 'static {
    /// Serves one link that a proven peer has opened.
    fn accept(&self, link: Link) -> BoxFuture<'static, ()>;
}

/// Serves whole connections of a protocol that brings its own framing.
pub(crate) trait ConnectionAcceptor: Send + Sync + 'static {
    /// Serves one connection, which has not proven anything.
    fn accept(&self, connection: Connection) -> BoxFuture<'static, ()>;
}

/// Who serves which protocol.
///
/// Filled once, when the node is composed: subsystems need the pool to be built, and the pool
/// needs their acceptors.
#[derive(Clone, Default)]
pub(crate) struct Acceptors(Arc<RwLock<HashMap<&'static [u8], Service>>>);

#[derive(Clone)]
enum Service {
    Links(Arc<dyn Acceptor>),
    Connections(Arc<dyn ConnectionAcceptor>),
}

impl Acceptors {
    pub(super) fn links(&self, alpn: &[u8]) -> Option<Arc<dyn Acceptor>> {
        match self.0.read().get(alpn) {
            Some(Service::Links(acceptor)) => Some(acceptor.clone()),
            _ => None,
        }
    }

    fn find(&self, alpn: &[u8]) -> Option<(&'static [u8], Service)> {
        self.0
            .read()
            .get_key_value(alpn)
            .map(|(alpn, service)| (*alpn, service.clone()))
    }
}

/// Accepts connections and dispatches them by protocol.
#[derive(Clone)]
pub(crate) struct Router {
    acceptors: Acceptors,
    endpoint: Endpoint,
    links: Links,
    scope: Scope,
}

impl Router {
    pub(super) fn new(
        endpoint: Endpoint,
        links: Links,
        acceptors: Acceptors,
        scope: Scope,
    ) -> Self {
        Self {
            acceptors,
            endpoint,
            links,
            scope,
        }
    }

    /// Installs a protocol of links.
    pub(crate) fn install(&self, alpn: &'static [u8], acceptor: impl Acceptor) {
        self.acceptors
            .0
            .write()
            .insert(alpn, Service::Links(Arc::new(acceptor)));
    }

    /// Installs a protocol that takes over whole connections.
    pub(crate) fn install_raw(&self, alpn: &'static [u8], acceptor: impl ConnectionAcceptor) {
        self.acceptors
            .0
            .write()
            .insert(alpn, Service::Connections(Arc::new(acceptor)));
    }

    /// Starts to accept connections for everything installed.
    pub(crate) fn start(&self) {
        let alpns = self
            .acceptors
            .0
            .read()
            .keys()
            .map(|alpn| alpn.to_vec())
            .collect();
        self.endpoint.set_alpns(alpns);
        let router = self.clone();
        self.scope
            .spawn(async move { router.accept_connections().await });
        self.scope
            .spawn(self.links.clone().close_idle_connections());
    }

    async fn accept_connections(&self) {
        let pending = Arc::new(Semaphore::new(MAX_PENDING_ACCEPTS));
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(permit) = pending.clone().acquire_owned().await else {
                return;
            };
            let router = self.clone();
            self.scope.spawn(async move {
                let accepted = router.accept(incoming).await;
                drop(permit);
                if let Some((connection, raw)) = accepted {
                    raw.accept(connection).await;
                }
            });
        }
    }

    /// Completes the handshakes of one connection; returns it when a protocol takes it over.
    async fn accept(
        &self,
        incoming: Incoming,
    ) -> Option<(Connection, Arc<dyn ConnectionAcceptor>)> {
        let Some(connection) = establish(incoming).await else {
            self.links.metrics().connection_refused(Refusal::Unfinished);
            return None;
        };
        match self.acceptors.find(connection.alpn()) {
            None => {
                self.links.refuse(&connection, Refusal::InvalidAlpn);
                None
            }
            Some((_, Service::Connections(acceptor))) => Some((connection, acceptor)),
            Some((alpn, Service::Links(_))) => {
                match handshake::accept(&connection, self.links.network_id()).await {
                    Ok(()) => self.links.adopt_accepted(alpn, connection),
                    Err(refusal) => self.links.refuse(&connection, refusal),
                }
                None
            }
        }
    }
}

async fn establish(incoming: Incoming) -> Option<Connection> {
    let connecting = incoming.accept().ok()?;
    tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting)
        .await
        .ok()?
        .ok()
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("protocols", &self.acceptors.0.read().len())
            .finish_non_exhaustive()
    }
}
