//! What the handlers of one node share.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;

use super::registry::Registry;
use crate::functions_layer::{core::Core, metrics::HandlerMetrics};

/// Accepted streams whose header has not arrived yet; more are refused.
const MAX_HALF_OPEN: usize = 4096;
/// Memory that requests too large to be sent unasked may take together; more wait. In KiB.
const REQUEST_MEMORY_KIB: usize = 512 * 1024;
/// How long the callers of interrupted calls are told so, before the node goes on with its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The serving side of one node.
pub(crate) struct Handlers {
    pub(in crate::functions_layer) core: Arc<Core>,
    pub(super) metrics: Arc<HandlerMetrics>,
    pub(super) registry: Registry,
    /// Counts the calls that run here.
    pub(super) running: TaskTracker,
    pub(super) half_open: Semaphore,
    pub(super) request_memory: Semaphore,
}

impl Handlers {
    pub(in crate::functions_layer) fn new(core: Arc<Core>) -> Self {
        // One request of the largest size must fit.
        let largest_kib = core.config.max_message_bytes.div_ceil(1024);
        Self {
            metrics: Arc::new(HandlerMetrics::register(core.discovery.network_id())),
            core,
            registry: Registry::default(),
            running: TaskTracker::new(),
            half_open: Semaphore::new(MAX_HALF_OPEN),
            request_memory: Semaphore::new(REQUEST_MEMORY_KIB.max(largest_kib)),
        }
    }

    /// Ends all handlers. Waits, for a bounded time, until the callers of interrupted calls were
    /// told.
    pub(in crate::functions_layer) async fn close(&self) {
        self.registry.close();
        self.running.close();
        // What does not end in time ends with the connections.
        let _ = timeout(CLOSE_TIMEOUT, self.running.wait()).await;
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
