//! The worker that probes, suspects and buries.

use std::{sync::Arc, time::Duration};

use rand::seq::IteratorRandom;
use tokio::{
    sync::broadcast,
    time::{Instant, sleep, sleep_until},
};

use super::{Suspicions, ring::subjects};
use crate::{
    discovery::{
        gossip::GossipHandle, ping::Pinger, state::Departure, store::SharedStore, sync::Syncer,
    },
    net::Links,
    primitives::{PeerId, Scope, ShortFmtExt},
};

/// Time between probes of one peer.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between probes while the node is young and its catalog incomplete.
const YOUNG_PERIOD: Duration = Duration::from_millis(300);
/// How long a node is young.
const YOUTH: Duration = Duration::from_secs(5);
/// How long a direct probe may take when this node seems healthy.
const DIRECT_TIMEOUT: Duration = Duration::from_millis(700);
/// How long an indirect probe may take when this node seems healthy.
const INDIRECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// How many others are asked to probe before a peer is suspected.
const HELPERS: usize = 3;
/// Gossip is joined anew at most this often when catalogs differ.
const REJOIN_PAUSE: Duration = Duration::from_secs(2);

/// Probes the peers that this node watches.
#[derive(Clone)]
pub(crate) struct Prober {
    pub(crate) store: SharedStore,
    pub(crate) links: Links,
    pub(crate) pinger: Pinger,
    pub(crate) syncer: Syncer,
    pub(crate) gossip: GossipHandle,
    pub(crate) suspicions: Arc<Suspicions>,
    pub(crate) scope: Scope,
}

impl Prober {
    /// Runs until the node ends.
    pub(crate) async fn run(self) {
        let born = Instant::now();
        let mut lost = self.links.lost();
        let mut next_round = Instant::now() + YOUNG_PERIOD.mul_f64(rand::random());
        let mut mismatches = Mismatches { last_rejoin: None };
        let (reports, mut reported) = tokio::sync::mpsc::channel(64);
        loop {
            tokio::select! {
                () = sleep_until(next_round) => {
                    let period = if born.elapsed() < YOUTH { YOUNG_PERIOD } else { PERIOD };
                    next_round = Instant::now() + period.mul_f64(0.8 + 0.4 * rand::random::<f64>());
                    for subject in self.subjects() {
                        let (prober, reports) = (self.clone(), reports.clone());
                        self.scope.spawn(async move {
                            if prober.probe(subject).await == Some(false) {
                                // When full, the next round reports again.
                                let _ = reports.try_send(subject);
                            }
                        });
                    }
                }
                peer = lost.recv() => match peer {
                    // A lost connection is a hint: look at once instead of at the next round.
                    Ok(peer) if self.store.catalog().contains(&peer) => {
                        let prober = self.clone();
                        self.scope.spawn(async move {
                            prober.probe(peer).await;
                        });
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(peer) = reported.recv() => self.on_mismatch(peer, &mut mismatches),
                confirmed = self.suspicions.confirmed() => {
                    for (peer, version) in confirmed {
                        if self.store.depart(peer, version, Departure::Vanished) {
                            tracing::info!(peer = %peer.short(), "peer is gone");
                        }
                    }
                }
            }
        }
    }

    fn subjects(&self) -> impl IntoIterator<Item = PeerId> + use<> {
        let catalog = self.store.catalog();
        let peers: Vec<_> = catalog.signed.keys().copied().collect();
        subjects(&catalog.local_id(), &peers)
    }

    /// Catalogs differ although changes should have spread by gossip: compare them, and make sure
    /// that gossip reaches this node.
    fn on_mismatch(&self, peer: PeerId, mismatches: &mut Mismatches) {
        self.syncer.request(peer.into());
        if mismatches
            .last_rejoin
            .is_none_or(|last| last.elapsed() > REJOIN_PAUSE)
        {
            mismatches.last_rejoin = Some(Instant::now());
            self.gossip.join(vec![peer]);
        }
    }

    /// Probes a peer; `Some(false)` if its catalog differs from this node's, `None` if it did not
    /// answer and is suspected now.
    async fn probe(&self, peer: PeerId) -> Option<bool> {
        let patience = self.suspicions.patience();
        if let Some(agrees) = self.pinger.probe(peer, DIRECT_TIMEOUT * patience).await {
            self.suspicions.note_probe(true);
            self.suspicions.clear(&peer, None);
            return Some(agrees);
        }
        let entry = self.store.catalog().signed.get(&peer).cloned()?;
        if self
            .reached_by_others(peer, INDIRECT_TIMEOUT * patience)
            .await
        {
            self.suspicions.note_probe(false);
            return Some(true);
        }
        let current = self
            .store
            .catalog()
            .signed
            .get(&peer)
            .map(|entry| entry.version());
        if current == Some(entry.version()) && self.suspicions.suspected(&peer).is_none() {
            tracing::debug!(peer = %peer.short(), "peer can't be reached and is suspected");
            self.suspicions.suspect(peer, entry.version());
            self.gossip.suspect(peer, entry.version());
        }
        None
    }

    async fn reached_by_others(&self, peer: PeerId, timeout: Duration) -> bool {
        let catalog = self.store.catalog();
        let others = catalog
            .signed
            .keys()
            .filter(|other| **other != peer)
            .copied();
        let helpers = others.choose_multiple(&mut rand::rng(), HELPERS);
        let mut attempts: futures::stream::FuturesUnordered<_> = helpers
            .into_iter()
            .map(|helper| self.pinger.probe_for(helper, peer, timeout))
            .collect();
        let reached = async {
            while let Some(reached) = futures::StreamExt::next(&mut attempts).await {
                if reached {
                    return true;
                }
            }
            false
        };
        tokio::select! {
            reached = reached => reached,
            () = sleep(timeout) => false,
        }
    }
}

struct Mismatches {
    last_rejoin: Option<Instant>,
}
