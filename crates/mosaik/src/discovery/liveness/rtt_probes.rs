//! Measures round-trip times: on demand, and now and then of a few peers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::seq::IteratorRandom;
use tokio::time::sleep;

use super::ping::{PING_TIMEOUT, Pinger};
use crate::{
    discovery::{config::pause, store::SharedStore},
    primitives::{
        PeerId, Scope,
        backoff::{Backoff, ExponentialBackoff},
    },
};

/// Peers that are measured in one round.
const SAMPLE: usize = 16;
/// Attempts for one request; the requester may ask again later.
const MAX_ATTEMPTS: usize = 5;
/// Measurements under way at once; further requests are ignored, and made again by the requester
/// at the next change.
const MAX_RUNNING: usize = 256;

/// Measures round-trip times by pings.
#[derive(Clone)]
pub(crate) struct RttProbes {
    store: SharedStore,
    pinger: Pinger,
    scope: Scope,
    running: Arc<Mutex<HashSet<PeerId>>>,
}

impl RttProbes {
    pub(crate) fn new(store: SharedStore, pinger: Pinger, scope: Scope) -> Self {
        Self {
            store,
            pinger,
            scope,
            running: Arc::default(),
        }
    }

    /// Measures a peer in the background, unless its round-trip time is known or being measured.
    pub(crate) fn request(&self, peer: PeerId) {
        if self.store.catalog().rtt(&peer).is_some() {
            return;
        }
        {
            let mut running = self.running.lock();
            if running.len() >= MAX_RUNNING || !running.insert(peer) {
                return;
            }
        }
        let probes = self.clone();
        self.scope.spawn(async move {
            let _running = Running(&probes, peer);
            let mut backoff =
                ExponentialBackoff::endless(Duration::from_millis(100), Duration::from_secs(2));
            for _ in 0..MAX_ATTEMPTS {
                let gone = !probes.store.catalog().contains(&peer);
                if gone || probes.pinger.ping(peer, PING_TIMEOUT).await.is_ok() {
                    return;
                }
                sleep(backoff.next_backoff().unwrap_or_default()).await;
            }
        });
    }

    /// Measures a random sample of peers every so often, until the node ends.
    pub(crate) async fn run(self, interval: Duration) {
        loop {
            sleep(pause(interval, 0.5 + rand::random::<f64>())).await;
            let catalog = self.store.catalog();
            let peers = catalog
                .signed
                .keys()
                .copied()
                .choose_multiple(&mut rand::rng(), SAMPLE);
            for peer in peers {
                // An unreachable peer is the business of the liveness probes.
                let _ = self.pinger.ping(peer, PING_TIMEOUT).await;
            }
        }
    }
}

struct Running<'a>(&'a RttProbes, PeerId);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().remove(&self.1);
    }
}
