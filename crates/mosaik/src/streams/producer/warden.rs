//! The tasks of a producer that watch over its subscriptions.

use std::sync::Arc;

use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use super::{LagPolicy, ProducerCore, log::Log};
use crate::streams_layer::close::TooSlow;

/// Has consumers judged again when their entry or round-trip time changes.
pub(super) async fn watch_catalog(core: Arc<ProducerCore>) {
    let mut changes = core.hub.discovery.changes();
    loop {
        match changes.recv().await {
            Ok(peer) => core.reconsider(Some(&peer)),
            Err(RecvError::Lagged(_)) => core.reconsider(None),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Applies the lag policy, looking only while senders have to wait.
pub(super) async fn watch_lag(core: Arc<ProducerCore>) {
    loop {
        core.log.pressure().await;
        let mut watch = core.log.watch(Instant::now());
        loop {
            sleep_until(Log::next_look(&watch)).await;
            let Some(lagging) = core.log.look(&mut watch, Instant::now()) else {
                break;
            };
            for cursor in lagging {
                match core.config().lag_policy {
                    LagPolicy::Disconnect => core.cut(cursor, TooSlow),
                    LagPolicy::Drop => core.log.withhold(cursor),
                    LagPolicy::Wait => {}
                }
            }
        }
    }
}
