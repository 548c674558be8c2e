//! SWIM prober: direct and indirect probes, suspicion, declaring peers dead.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use rand::seq::IteratorRandom;
use tokio::{
    sync::{Semaphore, broadcast, mpsc},
    time::{Instant, sleep_until},
};

use super::{ping::Pinger, ring::Rings};
use crate::{
    discovery::{
        gossip_handle::GossipHandle,
        state::Departure,
        store::SharedStore,
        suspicions::{STALL, Suspicions},
        sync::exchange::Syncer,
        wire::PING_ALPN,
    },
    net::Links,
    primitives::{PeerId, Quota, Scope, ShortFmtExt},
};

/// Time between probes of one peer, when this node seems healthy.
const PERIOD: Duration = Duration::from_secs(1);
/// Timeout for a direct probe on an open connection when this node seems healthy.
const DIRECT_TIMEOUT: Duration = Duration::from_millis(700);
/// Timeout for a direct probe when the peer must be dialed first and this node seems healthy.
const DIAL_TIMEOUT: Duration = Duration::from_millis(2500);
/// Timeout for an indirect probe when this node seems healthy.
const INDIRECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Number of other peers that are asked to probe before a peer is suspected.
const HELPERS: usize = 3;
/// Gossip does not do its work when catalogs have not agreed for this long, while this node seems
/// healthy.
const DISAGREEMENT: Duration = Duration::from_secs(4);
/// Reports of probes that wait for the worker; more are dropped, as the next round reports again.
const MAX_REPORTS: usize = 64;
/// Probes because of lost connections that run at once; for more, the next round has to do.
const MAX_LOSS_PROBES: usize = 32;
/// Longest pause between syncs with a peer that change neither catalog.
const MAX_FUTILE_PAUSE: Duration = Duration::from_mins(1);

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

/// State of the worker that lasts from round to round.
struct Rounds {
    rings: Rings,
    subjects: BTreeSet<PeerId>,
    /// Time at which a catalog last agreed with this node's, or gossip was joined anew.
    agreed: Instant,
    /// Syncs with peers whose catalogs go on to differ.
    syncs: HashMap<PeerId, Attempt>,
    /// One probe of each peer at a time: where answers are slow, more would only add to the load.
    probes: Arc<Quota>,
}

/// A sync because of two fingerprints. It is pointless to repeat it soon while both stay the same:
/// one side refuses what the other has.
struct Attempt {
    fingerprints: (u128, u128),
    next: Instant,
    pause: Duration,
}

/// Comparison of the catalogs of a peer and this node, from an answered probe.
struct Comparison {
    peer: PeerId,
    /// This node's, and the peer's.
    fingerprints: (u128, u128),
}

impl Rounds {
    /// Returns whether a sync may follow from a comparison; if so, it counts as made.
    fn may_sync(&mut self, comparison: &Comparison) -> bool {
        let now = Instant::now();
        let attempt = Attempt {
            fingerprints: comparison.fingerprints,
            next: now,
            pause: PERIOD,
        };
        let attempt = self.syncs.entry(comparison.peer).or_insert(attempt);
        if attempt.fingerprints == comparison.fingerprints {
            if now < attempt.next {
                return false;
            }
            attempt.pause = (attempt.pause * 2).min(MAX_FUTILE_PAUSE);
        } else {
            attempt.fingerprints = comparison.fingerprints;
            attempt.pause = PERIOD;
        }
        attempt.next = now + attempt.pause;
        true
    }
}

impl Prober {
    /// Runs until the node ends.
    pub(crate) async fn run(self) {
        let mut rounds = Rounds {
            rings: Rings::default(),
            subjects: BTreeSet::new(),
            agreed: Instant::now(),
            syncs: HashMap::new(),
            probes: Arc::new(Quota::new(usize::MAX, 1)),
        };
        let losses = Arc::new(Semaphore::new(MAX_LOSS_PROBES));
        let mut lost = self.links.lost();
        let mut next_round = Instant::now() + PERIOD.mul_f64(rand::random());
        let (reports, mut comparisons) = mpsc::channel(MAX_REPORTS);
        loop {
            tokio::select! {
                () = sleep_until(next_round) => {
                    if next_round.elapsed() > STALL {
                        self.suspicions.start_over();
                    }
                    // A node that gets no answers in time asks less, too (Lifeguard): where many
                    // share a processor that is not enough for them, each failed probe makes more
                    // dials, of this node and of those that it asks for help.
                    let period = PERIOD * self.suspicions.patience();
                    next_round = Instant::now() + period.mul_f64(0.8 + 0.4 * rand::random::<f64>());
                    self.start_round(&mut rounds, &reports);
                }
                peer = lost.recv() => match peer {
                    // A lost connection is a hint: look at once instead of at the next round.
                    Ok(peer) if self.store.catalog().contains(&peer) => {
                        if let Ok(place) = losses.clone().try_acquire_owned() {
                            self.spawn_probe(peer, &rounds, &reports, place);
                        }
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
        self.store.follow_clock();
        let catalog = self.store.catalog();
        rounds
            .syncs
            .retain(|peer, _| catalog.signed.contains_key(peer));
        let subjects = rounds
            .rings
            .subjects(&catalog.local_id(), catalog.signed.keys());
        for subject in subjects.intersection(&rounds.subjects) {
            self.spawn_probe(*subject, rounds, reports, ());
        }
        rounds.subjects = subjects;
    }

    /// Probes a peer, unless a probe of it is under way, and holds a place for as long.
    fn spawn_probe(
        &self,
        peer: PeerId,
        rounds: &Rounds,
        reports: &mpsc::Sender<Comparison>,
        place: impl Send + 'static,
    ) {
        let Some(only) = rounds.probes.try_take_owned(peer, 1) else {
            return;
        };
        let (prober, reports) = (self.clone(), reports.clone());
        self.scope.spawn(async move {
            if let Some(fingerprints) = prober.probe(peer).await {
                // When full, the next round reports again.
                let _ = reports.try_send(Comparison { peer, fingerprints });
            }
            drop((only, place));
        });
    }

    /// Catalogs that differ are synced. Changes should have spread by gossip: if it is silent, or
    /// catalogs go on to differ, it does not reach this node and is joined anew.
    fn on_comparison(&self, comparison: &Comparison, rounds: &mut Rounds) {
        let (ours, theirs) = comparison.fingerprints;
        // A full catalog is never like another.
        if ours == theirs || self.store.is_full() {
            rounds.agreed = Instant::now();
            rounds.syncs.remove(&comparison.peer);
            return;
        }
        if !rounds.may_sync(comparison) {
            return;
        }
        self.syncer.request(comparison.peer.into());
        if rounds.agreed.elapsed() > DISAGREEMENT * self.suspicions.patience() {
            rounds.agreed = Instant::now();
            self.gossip.join(vec![comparison.peer]);
        } else {
            self.gossip.join_if_silent(comparison.peer);
        }
    }

    /// Probes a peer: the fingerprints of this node's catalog and of its, `None` if it did not
    /// answer this node.
    async fn probe(&self, peer: PeerId) -> Option<(u128, u128)> {
        let patience = self.suspicions.patience();
        let timeout = if self.links.is_connected(PING_ALPN, &peer) {
            self.pinger.at_least_round_trips(DIRECT_TIMEOUT, &[peer]) * patience
        } else {
            DIAL_TIMEOUT * patience
        };
        let deadline = Instant::now() + timeout;
        if let Some(fingerprints) = self.pinger.probe(peer, timeout).await {
            self.suspicions.note_probe(true);
            self.suspicions.clear(&peer);
            return Some(fingerprints);
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
        if current == version && self.suspicions.suspect(peer, version) {
            tracing::debug!(peer = %peer.short(), "peer can't be reached and is suspected");
            self.gossip.suspect(peer, version);
        }
        None
    }

    /// Asks others to probe a peer: whether one of them reached it, `None` if none answered.
    async fn reached_by_others(&self, peer: PeerId, timeout: Duration) -> Option<bool> {
        let mut answers: FuturesUnordered<_> = self
            .helpers(&peer)
            .into_iter()
            .map(|helper| {
                let limit = self.pinger.at_least_round_trips(timeout, &[helper, peer]);
                self.pinger.probe_for(helper, peer, limit)
            })
            .collect();
        if answers.is_empty() {
            return Some(false);
        }
        let mut reached = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Some(true) => return Some(true),
                Some(false) => reached = Some(false),
                None => {}
            }
        }
        reached
    }

    /// Peers to ask for help: of those connected already, so that trouble causes no wave of dials;
    /// any, if there are none.
    fn helpers(&self, peer: &PeerId) -> Vec<PeerId> {
        let catalog = self.store.catalog();
        let connected = self.links.connected_by(PING_ALPN);
        let known = connected
            .iter()
            .filter(|other| **other != *peer && catalog.signed.contains_key(*other));
        let helpers = known.copied().choose_multiple(&mut rand::rng(), HELPERS);
        if !helpers.is_empty() {
            return helpers;
        }
        let others = catalog.signed.keys().filter(|other| **other != *peer);
        others.copied().choose_multiple(&mut rand::rng(), HELPERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Rounds {
        Rounds {
            rings: Rings::default(),
            subjects: BTreeSet::new(),
            agreed: Instant::now(),
            syncs: HashMap::new(),
            probes: Arc::new(Quota::new(usize::MAX, 1)),
        }
    }

    /// Two contents at one version are never made one by a sync: neither side takes the other's.
    #[tokio::test(start_paused = true)]
    async fn catalogs_that_go_on_to_differ_are_synced_ever_more_rarely() {
        let mut rounds = rounds();
        let peer = iroh::SecretKey::generate().public();
        let differ = |fingerprints| Comparison { peer, fingerprints };
        let (mut syncs, start) = (Vec::new(), Instant::now());
        // A probe every second tells of the same difference, for ten minutes.
        for _ in 0..600 {
            if rounds.may_sync(&differ((1, 2))) {
                syncs.push(start.elapsed().as_secs());
            }
            tokio::time::advance(PERIOD).await;
        }
        assert_eq!(syncs[..6], [0, 2, 6, 14, 30, 62]);
        let pauses = syncs.windows(2).skip(5).map(|pair| pair[1] - pair[0]);
        assert!(pauses.eq([60; 8]), "{syncs:?}");
        assert!(rounds.may_sync(&differ((1, 3))), "something has changed");
        let other = Comparison {
            peer: iroh::SecretKey::generate().public(),
            fingerprints: (1, 2),
        };
        assert!(rounds.may_sync(&other), "each peer for itself");
    }
}
