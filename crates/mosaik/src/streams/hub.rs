//! State shared by all streams of a node.

use core::any::TypeId;
use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Config, metrics::NodeMetrics};
use crate::{
    discovery::Discovery,
    net::Links,
    primitives::{NetworkId, PeerId, Scope, ShortFmtExt, StreamId},
};

/// Timeout for sending the accepted datums when a stream ends in an orderly way.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a shutdown for sending the accepted datums and closing the subscriptions.
const CLOSE_TIMEOUT: Duration = DRAIN_TIMEOUT.saturating_add(Duration::from_secs(1));

/// State shared by all streams of a node: the catalog, the links, and the count of the streams
/// served here.
pub(super) struct Hub {
    pub(super) config: Config,
    pub(super) discovery: Discovery,
    pub(super) scope: Scope,
    pub(super) metrics: NodeMetrics,
    /// Links that still have to be closed in an orderly way.
    serving: watch::Sender<usize>,
}

impl Hub {
    pub(super) fn new(config: Config, discovery: Discovery, scope: Scope) -> Arc<Self> {
        Arc::new(Self {
            metrics: NodeMetrics::register(discovery.network_id()),
            config,
            discovery,
            scope,
            serving: watch::channel(0).0,
        })
    }

    pub(super) fn network_id(&self) -> &NetworkId {
        self.discovery.network_id()
    }

    pub(super) fn links(&self) -> &Links {
        self.discovery.links()
    }

    pub(super) fn local_id(&self) -> PeerId {
        self.links().id()
    }

    /// Counts a link that must be closed in an orderly way.
    pub(super) fn serving(self: &Arc<Self>) -> Serving {
        self.serving.send_modify(|links| *links += 1);
        Serving(self.clone())
    }

    /// Waits until all links were closed, for a bounded time.
    pub(super) async fn closed(&self) {
        let mut serving = self.serving.subscribe();
        let done = serving.wait_for(|links| *links == 0);
        // What was not told in time is told by the connection's close.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, done).await.map(drop);
        self.scope.cancel();
    }
}

/// One link that must be closed in an orderly way.
pub(super) struct Serving(Arc<Hub>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.send_modify(|links| *links -= 1);
    }
}

/// A datum type, for the check that a stream has only one.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatumType {
    id: TypeId,
    name: &'static str,
}

impl DatumType {
    pub(super) fn of<D: 'static>() -> Self {
        Self {
            id: TypeId::of::<D>(),
            name: core::any::type_name::<D>(),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// # Panics
    ///
    /// When the types differ.
    #[track_caller]
    pub(super) fn must_be<D: 'static>(&self, stream: &StreamId) {
        assert!(
            self.id == TypeId::of::<D>(),
            "stream {} is produced on this node with datums of type {}, and can't have datums of \
             type {} as well",
            stream.short(),
            self.name,
            core::any::type_name::<D>(),
        );
    }
}
