//! Makes this node known to handlers that refuse it for what they don't know yet.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{
    functions_layer::{candidates::Candidate, core::Core},
    primitives::ShortFmtExt,
};

/// Catalogs are synced with one handler at most this often.
const SYNC_PAUSE: Duration = Duration::from_millis(250);
/// Timeout for delivering this node's entry.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Syncs catalogs with a handler that doesn't know this node. Calls that need it at the same time
/// share one sync.
pub(super) async fn introduce(core: &Core, candidate: &Candidate, deadline: Instant) {
    let introducing = async {
        let mut last = candidate.route.introduced.lock().await;
        if last.is_some_and(|at| at.elapsed() < SYNC_PAUSE) {
            return;
        }
        let addr = candidate.info.entry().address().clone();
        if let Err(error) = core.discovery.sync_with(addr).await {
            tracing::debug!(peer = %candidate.peer().short(), %error, "introduction failed");
        }
        *last = Some(Instant::now());
    };
    // The sync goes on when the call ends before.
    let _ = timeout_at(deadline, introducing).await;
}

/// Hands this node's entry to a handler, unless it was handed over before; `true` if the handler
/// may decide differently now.
pub(super) async fn deliver_own_entry(
    core: &Core,
    candidate: &Candidate,
    deadline: Instant,
) -> bool {
    let own_content = *core.discovery.me().content();
    if *candidate.route.delivered.lock() == Some(own_content) {
        return false;
    }
    let limit = deadline.min(Instant::now() + DELIVERY_TIMEOUT);
    let delivering = core.discovery.deliver_own_entry(candidate.peer());
    let is_delivered = matches!(timeout_at(limit, delivering).await, Ok(Ok(())));
    if is_delivered {
        *candidate.route.delivered.lock() = Some(own_content);
    }
    is_delivered
}
