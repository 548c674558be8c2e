//! State shared by the handlers of one node.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::registry::Registry;
use crate::{
    functions_layer::{core::Core, metrics::HandlerMetrics, report::FunctionReport},
    primitives::Quota,
};

/// Accepted streams whose header has not arrived yet, of all peers and of one; more are refused.
const MAX_HALF_OPEN: usize = 4096;
const MAX_HALF_OPEN_EACH: usize = 512;
/// Memory for requests that are too large to be sent unasked, of all peers and of one; more wait.
/// As much again is for replies that were not taken yet: with more, new calls are refused. One
/// message of the largest size always fits.
const MESSAGE_BYTES: usize = 512 * 1024 * 1024;
const MESSAGE_BYTES_EACH: usize = 128 * 1024 * 1024;
/// Timeout for delivering replies, and the notices of interrupted calls, at the node's end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The serving side of one node.
pub(crate) struct Handlers {
    pub(in crate::functions_layer) core: Arc<Core>,
    pub(super) metrics: Arc<HandlerMetrics>,
    pub(super) registry: Registry,
    /// Counts the calls that run here, until their outcome has arrived.
    pub(super) running: TaskTracker,
    /// Streams without a header.
    pub(super) half_open: Quota,
    /// Bytes of large requests that are on their way, or wait for a place.
    pub(super) requests: Quota,
    /// Bytes of replies that are on their way.
    pub(super) replies: Quota,
}

impl Handlers {
    pub(in crate::functions_layer) fn new(core: Arc<Core>) -> Self {
        let largest = core.config.max_message_bytes;
        let messages = || Quota::new(MESSAGE_BYTES.max(largest), MESSAGE_BYTES_EACH.max(largest));
        Self {
            metrics: Arc::new(HandlerMetrics::register(core.discovery.network_id())),
            core,
            registry: Registry::default(),
            running: TaskTracker::new(),
            half_open: Quota::new(MAX_HALF_OPEN, MAX_HALF_OPEN_EACH),
            requests: messages(),
            replies: messages(),
        }
    }

    /// Describes the functions that are served now.
    pub(in crate::functions_layer) fn describe(&self) -> Vec<FunctionReport> {
        let all = self.registry.all();
        all.iter().map(|function| function.describe()).collect()
    }

    /// Ends all handlers. Waits, for a bounded time, until the replies under way have arrived, and
    /// the callers of interrupted calls were told.
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
