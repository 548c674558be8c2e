//! Acceptors by protocol: who serves the links and the connections that peers open.

use std::{collections::HashMap, sync::Arc};

use futures::future::BoxFuture;
use iroh::endpoint::Connection;
use parking_lot::RwLock;

use super::{link::Link, whole::WholeProtocols};

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

/// Service behind a protocol.
#[derive(Clone)]
pub(super) enum Service {
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

    /// Adds the service of a protocol.
    pub(super) fn add(&self, alpn: &'static [u8], service: Service) {
        if matches!(service, Service::Connections(_)) {
            self.whole.add(alpn);
        }
        self.services.write().insert(alpn, service);
    }

    /// Protocols with a service.
    pub(super) fn alpns(&self) -> Vec<Vec<u8>> {
        let services = self.services.read();
        services.keys().map(|alpn| alpn.to_vec()).collect()
    }

    pub(super) fn find(&self, alpn: &[u8]) -> Option<(&'static [u8], Service)> {
        self.services
            .read()
            .get_key_value(alpn)
            .map(|(alpn, service)| (*alpn, service.clone()))
    }
}
