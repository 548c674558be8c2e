//! The node's own part in status: describing itself, and asking others.

use iroh::EndpointAddr;

use super::{
    Config, Error, Report, acceptor::StatusAcceptor, ask, sources::Sources, wire::STATUS_ALPN,
};
use crate::{net::Router, primitives::Opaque};

/// Describes this node, and asks others.
pub(crate) struct Status(Sources);

impl Status {
    /// Begins to answer others.
    pub(crate) fn start(config: Config, sources: Sources, router: &Router) -> Self {
        router.install(STATUS_ALPN, StatusAcceptor::new(config, sources.clone()));
        Self(sources)
    }

    pub(crate) fn report(&self) -> Report {
        self.0.report()
    }

    pub(crate) fn ask(&self, peer: EndpointAddr) -> Opaque<'static, Result<Report, Error>> {
        let sources = self.0.clone();
        Opaque::new(async move { ask::ask(&sources, peer).await })
    }
}
