//! The tasks of a producer that watch over its subscriptions.

use std::sync::Arc;

use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use super::{LagPolicy, ProducerCore};
use crate::streams_layer::wire::TooSlow;

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

/// Applies the lag policy, looking only while some consumer holds up the producer.
pub(super) async fn watch_lag(core: Arc<ProducerCore>) {
    loop {
        core.log.pressure().await;
        loop {
            let (lagging, again) = core.log.lagging(Instant::now());
            for cursor in lagging {
                match core.config().lag_policy {
                    LagPolicy::Disconnect => core.cut(cursor, TooSlow),
                    LagPolicy::Drop => core.log.withhold(cursor),
                    LagPolicy::Wait => {}
                }
            }
            match again {
                Some(due) => sleep_until(due).await,
                None => break,
            }
        }
    }
}
