//! The worker that probes, suspects and buries.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use rand::seq::IteratorRandom;
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, sleep_until, timeout_at},
};

use super::ring::Rings;
use crate::{
    discovery::{
        gossip::GossipHandle,
        ping::Pinger,
        state::Departure,
        store::SharedStore,
        supervision::keep_running,
        suspicions::{STALL, Suspicions},
        sync::Syncer,
        wire::PING_ALPN,
    },
    net::Links,
    primitives::{PeerId, Scope, ShortFmtExt},
};

/// Time between probes of one peer.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a direct probe may take on a standing connection when this node seems healthy.
const DIRECT_TIMEOUT: Duration = Duration::from_millis(700);
/// How long a direct probe may take when the peer must be dialed first.
const DIAL_TIMEOUT: Duration = Duration::from_millis(2500);
/// How long an indirect probe may take when this node seems healthy.
const INDIRECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// How many others are asked to probe before a peer is suspected.
const HELPERS: usize = 3;
/// Gossip does not do its work when catalogs have not agreed for this long.
const DISAGREEMENT: Duration = Duration::from_secs(4);
/// Reports of probes that wait for the worker; more are dropped, as the next round reports again.
const MAX_REPORTS: usize = 64;

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

/// What the worker remembers between rounds.
struct Rounds {
    rings: Rings,
    subjects: BTreeSet<PeerId>,
    /// When a catalog agreed with this node's last, or gossip was joined anew.
    agreed: Instant,
}

/// What an answered probe says about the catalogs of a peer and this node.
struct Comparison {
    peer: PeerId,
    agrees: bool,
}

impl Prober {
    /// Runs until the node ends, also beyond a panic.
    pub(crate) fn start(self) {
        let (scope, metrics) = (self.scope.clone(), self.store.metrics.clone());
        scope.spawn(keep_running("prober", metrics, move || self.clone().run()));
    }

    async fn run(self) {
        let mut rounds = Rounds {
            rings: Rings::default(),
            subjects: BTreeSet::new(),
            agreed: Instant::now(),
        };
        let mut lost = self.links.lost();
        let mut next_round = Instant::now() + PERIOD.mul_f64(rand::random());
        let (reports, mut comparisons) = mpsc::channel(MAX_REPORTS);
        loop {
            tokio::select! {
                () = sleep_until(next_round) => {
                    if next_round.elapsed() > STALL {
                        self.suspicions.start_over();
                    }
                    next_round = Instant::now() + PERIOD.mul_f64(0.8 + 0.4 * rand::random::<f64>());
                    self.start_round(&mut rounds, &reports);
                }
                peer = lost.recv() => match peer {
                    // A lost connection is a hint: look at once instead of at the next round.
                    Ok(peer) if self.store.catalog().contains(&peer) => {
                        self.spawn_probe(peer, &reports);
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(comparison) = comparisons.recv() => self.on_comparison(&comparison, &mut rounds),
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

    /// Probes the peers that this node watches.
    ///
    /// Only those that it watched a round ago already: while a catalog fills up, the choice
    /// changes all the time, and each would cost a connection.
    fn start_round(&self, rounds: &mut Rounds, reports: &mpsc::Sender<Comparison>) {
        let catalog = self.store.catalog();
        let subjects = rounds
            .rings
            .subjects(&catalog.local_id(), catalog.signed.keys());
        for subject in subjects.intersection(&rounds.subjects) {
            self.spawn_probe(*subject, reports);
        }
        rounds.subjects = subjects;
    }

    fn spawn_probe(&self, peer: PeerId, reports: &mpsc::Sender<Comparison>) {
        let (prober, reports) = (self.clone(), reports.clone());
        self.scope.spawn(async move {
            if let Some(agrees) = prober.probe(peer).await {
                // When full, the next round reports again.
                let _ = reports.try_send(Comparison { peer, agrees });
            }
        });
    }

    /// Catalogs that differ are synced. Changes should have spread by gossip: if it is silent, or
    /// catalogs go on to differ, it does not reach this node and is joined anew.
    fn on_comparison(&self, comparison: &Comparison, rounds: &mut Rounds) {
        if comparison.agrees {
            rounds.agreed = Instant::now();
            return;
        }
        self.syncer.request(comparison.peer.into());
        if rounds.agreed.elapsed() > DISAGREEMENT {
            rounds.agreed = Instant::now();
            self.gossip.join(vec![comparison.peer]);
        } else {
            self.gossip.join_if_silent(comparison.peer);
        }
    }

    /// Probes a peer; `Some(false)` if its catalog differs from this node's, `None` if it did not
    /// answer this node.
    async fn probe(&self, peer: PeerId) -> Option<bool> {
        let patience = self.suspicions.patience();
        let timeout = if self.links.is_connected(PING_ALPN, &peer) {
            DIRECT_TIMEOUT * patience
        } else {
            DIAL_TIMEOUT
        };
        let deadline = Instant::now() + timeout;
        if let Some(agrees) = self.pinger.probe(peer, timeout).await {
            self.suspicions.note_probe(true);
            self.suspicions.clear(&peer, None);
            return Some(agrees);
        }
        let version = self.store.catalog().signed.get(&peer)?.version();
        let stalled = deadline.elapsed() > STALL;
        let reached = self
            .reached_by_others(peer, INDIRECT_TIMEOUT * patience)
            .await;
        // Who gets no answer from anybody has a problem of its own (Lifeguard's missed nacks).
        if stalled || reached != Some(false) {
            self.suspicions.note_probe(false);
        }
        if stalled || reached == Some(true) {
            return None;
        }
        let current = self.store.catalog().signed.get(&peer)?.version();
        if current == version && self.suspicions.suspected(&peer).is_none() {
            tracing::debug!(peer = %peer.short(), "peer can't be reached and is suspected");
            self.suspicions.suspect(peer, version);
            self.gossip.suspect(peer, version);
        }
        None
    }

    /// Asks others to probe a peer: whether one of them reached it, `None` if none answered.
    async fn reached_by_others(&self, peer: PeerId, timeout: Duration) -> Option<bool> {
        let deadline = Instant::now() + timeout;
        let mut answers: FuturesUnordered<_> = self
            .helpers(&peer)
            .into_iter()
            .map(|helper| self.pinger.probe_for(helper, peer, timeout))
            .collect();
        if answers.is_empty() {
            return Some(false);
        }
        let mut reached = None;
        while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
            match answer {
                Some(true) => return Some(true),
                Some(false) => reached = Some(false),
                None => {}
            }
        }
        reached
    }

    /// Peers to ask for help: those connected already, so that trouble causes no wave of dials,
    /// and then any others.
    fn helpers(&self, peer: &PeerId) -> Vec<PeerId> {
        let catalog = self.store.catalog();
        let connected = self.links.connected_by(PING_ALPN);
        let known = connected
            .iter()
            .filter(|other| **other != *peer && catalog.signed.contains_key(*other));
        let mut helpers = known.copied().choose_multiple(&mut rand::rng(), HELPERS);
        let others = catalog
            .signed
            .keys()
            .filter(|other| **other != *peer && !connected.contains(*other));
        let missing = HELPERS - helpers.len();
        helpers.extend(others.choose_multiple(&mut rand::rng(), missing));
        helpers
    }
}
