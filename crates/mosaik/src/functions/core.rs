//! What the handlers and callers of one node share.

use std::{fmt, sync::Arc};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{Config, handler::Registry, metrics::HandlerMetrics, route::Routes};
use crate::{discovery::Discovery, net::Links, primitives::Scope};

/// Accepted streams whose header has not arrived yet; more are refused.
const MAX_HALF_OPEN: usize = 4096;
/// Memory that requests too large to be sent unasked may take together; more wait. In KiB.
const REQUEST_MEMORY_KIB: usize = 512 * 1024;

/// The node's part in functions, shared by all its handles and tasks.
pub(crate) struct Core {
    pub(super) discovery: Discovery,
    pub(super) links: Links,
    pub(super) config: Config,
    pub(super) metrics: Arc<HandlerMetrics>,
    pub(super) registry: Registry,
    pub(super) routes: Routes,
    pub(super) scope: Scope,
    /// Counts the calls that run here.
    pub(super) running: TaskTracker,
    pub(super) half_open: Semaphore,
    pub(super) request_memory: Semaphore,
}

impl Core {
    pub(super) fn new(config: Config, discovery: Discovery, links: Links, scope: Scope) -> Self {
        let metrics = Arc::new(HandlerMetrics::register(discovery.network_id()));
        // One request of the largest size must fit.
        let largest_kib = config.max_message_bytes.div_ceil(1024);
        Self {
            discovery,
            links,
            config,
            metrics,
            registry: Registry::default(),
            routes: Routes::default(),
            scope,
            running: TaskTracker::new(),
            half_open: Semaphore::new(MAX_HALF_OPEN),
            request_memory: Semaphore::new(REQUEST_MEMORY_KIB.max(largest_kib)),
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .field("registry", &self.registry)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
