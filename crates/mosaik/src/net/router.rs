//! The accepting side: hands connections and links to the protocols that they are for.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming, IncomingAddr},
};
use parking_lot::RwLock;

use super::{
    Link, Links,
    half_open::{HalfOpen, Place},
    handshake,
    limits::{HANDSHAKE_TIMEOUT, MAX_UNI_STREAMS_PER_CONNECTION},
    metrics::Refusal,
    whole::{Accepted, WholeProtocols, count_until_closed},
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

/// Serves whole connections of a protocol that brings its own framing, and dials itself.
pub(crate) trait ConnectionAcceptor: Send + Sync + 'static {
    /// Serves one connection of a proven peer.
    fn accept(&self, connection: Connection) -> BoxFuture<'static, ()>;
}

/// Acceptors by protocol (ALPN).
///
/// Filled once, when the node is composed: subsystems need the pool to be built, and the pool
/// needs their acceptors.
#[derive(Clone)]
pub(crate) struct Acceptors {
    services: Arc<RwLock<HashMap<&'static [u8], Service>>>,
    whole: WholeProtocols,
}

#[derive(Clone)]
enum Service {
    Links(Arc<dyn Acceptor>),
    Connections(Arc<dyn ConnectionAcceptor>),
}

impl Acceptors {
    pub(super) fn new(whole: WholeProtocols) -> Self {
        Self {
            services: Arc::default(),
            whole,
        }
    }

    pub(super) fn links(&self, alpn: &[u8]) -> Option<Arc<dyn Acceptor>> {
        match self.services.read().get(alpn) {
            Some(Service::Links(acceptor)) => Some(acceptor.clone()),
            _ => None,
        }
    }

    /// Lets go of everybody: they hold the pool, which holds this.
    pub(super) fn clear(&self) {
        let services = std::mem::take(&mut *self.services.write());
        // They may be the last to hold a lot of things.
        drop(services);
    }

    fn find(&self, alpn: &[u8]) -> Option<(&'static [u8], Service)> {
        self.services
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
        let service = Service::Links(Arc::new(acceptor));
        self.acceptors.services.write().insert(alpn, service);
    }

    /// Installs a protocol that takes over whole connections.
    pub(crate) fn install_raw(&self, alpn: &'static [u8], acceptor: impl ConnectionAcceptor) {
        let service = Service::Connections(Arc::new(acceptor));
        self.acceptors.services.write().insert(alpn, service);
        self.acceptors.whole.add(alpn);
    }

    /// Starts to accept connections for everything installed.
    pub(crate) fn start(&self) {
        let alpns = self
            .acceptors
            .services
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
        let half_open = Arc::<HalfOpen>::default();
        let whole = Arc::<Accepted>::default();
        while let Some(incoming) = self.endpoint.accept().await {
            let source = incoming.remote_addr();
            let is_claim =
                matches!(source, IncomingAddr::Ip(_)) && !incoming.remote_addr_validated();
            if is_claim && half_open.is_crowded() {
                // Never fails for an address that is a mere claim.
                let _ = incoming.retry();
                continue;
            }
            let Some(place) = half_open.enter(source) else {
                incoming.refuse();
                self.links.metrics().connection_refused(Refusal::TooMany);
                continue;
            };
            let (router, whole) = (self.clone(), whole.clone());
            self.scope.spawn(async move {
                let accepted = tokio::select! {
                    biased;
                    () = place.given_away() => {
                        router.links.metrics().connection_refused(Refusal::GivenAway);
                        return;
                    }
                    accepted = router.accept(incoming, &place, &whole) => accepted,
                };
                drop(place);
                if let Some((connection, acceptor)) = accepted {
                    acceptor.accept(connection).await;
                }
            });
        }
    }

    /// Completes the handshakes of one connection; returns it when a protocol takes it over.
    async fn accept(
        &self,
        incoming: Incoming,
        place: &Place,
        whole: &Arc<Accepted>,
    ) -> Option<(Connection, Arc<dyn ConnectionAcceptor>)> {
        let Some(connection) = establish(incoming).await else {
            self.links.metrics().connection_refused(Refusal::Unfinished);
            return None;
        };
        match self.prove(&connection, place).await {
            Ok((alpn, Service::Links(_))) => self.links.adopt_accepted(alpn, connection),
            Ok((_, Service::Connections(acceptor))) => {
                if let Some(counted) = whole.enter(connection.remote_id()) {
                    let streams = MAX_UNI_STREAMS_PER_CONNECTION.into();
                    connection.set_max_concurrent_uni_streams(streams);
                    let metrics = self.links.metrics();
                    count_until_closed(&connection, metrics, &self.scope, counted);
                    return Some((connection, acceptor));
                }
                self.links.refuse(&connection, Refusal::TooMany);
            }
            Err(refusal) => self.links.refuse(&connection, refusal),
        }
        None
    }

    /// Has the peer prove the network; returns who serves it.
    async fn prove(
        &self,
        connection: &Connection,
        place: &Place,
    ) -> Result<(&'static [u8], Service), Refusal> {
        if !place.identify(connection.remote_id()) {
            return Err(Refusal::TooMany);
        }
        let service = self.acceptors.find(connection.alpn());
        let service = service.ok_or(Refusal::InvalidAlpn)?;
        handshake::accept(connection, self.links.network_id()).await?;
        Ok(service)
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
            .field("protocols", &self.acceptors.services.read().len())
            .finish_non_exhaustive()
    }
}
