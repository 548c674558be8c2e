//! The accepting side: hands connections and links to the protocols that they are for.

use std::{fmt, sync::Arc};

use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming, IncomingAddr},
};

use super::{
    Links,
    acceptors::{Acceptor, Acceptors, ConnectionAcceptor, Service},
    half_open::{HalfOpen, Place},
    handshake,
    limits::{HANDSHAKE_TIMEOUT, MAX_UNI_STREAMS_PER_CONNECTION},
    metrics::Refusal,
    whole::{self, count_until_closed},
};
use crate::primitives::{Quota, Scope};

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
        self.acceptors.add(alpn, service);
    }

    /// Installs a protocol that takes over whole connections.
    pub(crate) fn install_raw(&self, alpn: &'static [u8], acceptor: impl ConnectionAcceptor) {
        let service = Service::Connections(Arc::new(acceptor));
        self.acceptors.add(alpn, service);
    }

    /// Starts to accept connections for everything installed.
    pub(crate) fn start(&self) {
        self.endpoint.set_alpns(self.acceptors.alpns());
        let router = self.clone();
        self.scope
            .spawn(async move { router.accept_connections().await });
        self.scope
            .spawn(self.links.clone().close_idle_connections());
    }

    async fn accept_connections(&self) {
        let half_open = Arc::<HalfOpen>::default();
        let whole = whole::quota();
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
        whole: &Arc<Quota>,
    ) -> Option<(Connection, Arc<dyn ConnectionAcceptor>)> {
        let Some(connection) = establish(incoming).await else {
            self.links.metrics().connection_refused(Refusal::Unfinished);
            return None;
        };
        match self.prove(&connection, place).await {
            Ok((alpn, Service::Links(_))) => self.links.adopt_accepted(alpn, connection),
            Ok((_, Service::Connections(acceptor))) => {
                if let Some(counted) = whole.try_take_owned(connection.remote_id(), 1) {
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
            .field("protocols", &self.acceptors.alpns().len())
            .finish_non_exhaustive()
    }
}
