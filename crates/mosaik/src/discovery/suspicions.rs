//! Peers that somebody could not reach, until they refute it or the time is up.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{primitives::PeerId, tickets::PeerEntryVersion};

/// Time that a suspected peer has to refute, when this node seems healthy.
const SUSPICION: Duration = Duration::from_secs(3);
/// This node itself stood still when a timer fires so much later than asked for.
pub(super) const STALL: Duration = Duration::from_millis(500);
/// Suspicions that are held at once; more are ignored, as the peers are also probed by others.
const MAX_SUSPICIONS: usize = 1024;
/// The worst score of this node's own health.
const MAX_UNHEALTH: u32 = 4;

/// The suspected peers, and how much this node trusts its own view.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    suspected: HashMap<PeerId, (PeerEntryVersion, Instant)>,
    /// Lifeguard's local health multiplier: 0 is healthy.
    unhealth: u32,
}

impl Suspicions {
    /// Suspects a peer at the version that this node holds; `false` if it is suspected already.
    ///
    /// Others' claims decide neither the version nor the time: whatever they say, the peer has its
    /// time to show anything newer than what is held.
    pub(crate) fn suspect(&self, peer: PeerId, held: PeerEntryVersion) -> bool {
        let mut inner = self.inner.lock();
        if inner.suspected.len() >= MAX_SUSPICIONS || inner.suspected.contains_key(&peer) {
            return false;
        }
        let deadline = Instant::now() + SUSPICION * (1 + inner.unhealth);
        inner.suspected.insert(peer, (held, deadline));
        drop(inner);
        self.changed.notify_one();
        true
    }

    /// The version up to which a peer is suspected.
    pub(crate) fn suspected(&self, peer: &PeerId) -> Option<PeerEntryVersion> {
        self.inner
            .lock()
            .suspected
            .get(peer)
            .map(|(version, _)| *version)
    }

    /// Clears a peer that has shown to be alive: by an entry that was admitted, or directly.
    pub(crate) fn clear(&self, peer: &PeerId) {
        if self.inner.lock().suspected.remove(peer).is_some() {
            tracing::debug!(peer = %peer.fmt_short(), "suspicion refuted");
        }
    }

    /// Notes how one of this node's own probes went.
    pub(crate) fn note_probe(&self, answered: bool) {
        let mut inner = self.inner.lock();
        inner.unhealth = if answered {
            inner.unhealth.saturating_sub(1)
        } else {
            (inner.unhealth + 1).min(MAX_UNHEALTH)
        };
    }

    /// Factor for timeouts: 1 when this node seems healthy (Lifeguard's local health multiplier).
    pub(crate) fn patience(&self) -> u32 {
        1 + self.inner.lock().unhealth
    }

    /// Gives all suspected peers their full time anew: this node was suspended, and has not handled
    /// what it received meanwhile.
    pub(crate) fn start_over(&self) {
        let mut inner = self.inner.lock();
        let deadline = Instant::now() + SUSPICION * (1 + inner.unhealth);
        for (_, due) in inner.suspected.values_mut() {
            *due = deadline;
        }
    }

    /// Waits until the time of at least one suspected peer is up, and takes those out.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn confirmed(&self) -> Vec<(PeerId, PeerEntryVersion)> {
        loop {
            let next = {
                let now = Instant::now();
                let mut inner = self.inner.lock();
                let due = inner
                    .suspected
                    .extract_if(|_, (_, deadline)| *deadline <= now);
                let due: Vec<_> = due.map(|(peer, (version, _))| (peer, version)).collect();
                if !due.is_empty() {
                    return due;
                }
                inner
                    .suspected
                    .values()
                    .map(|(_, deadline)| *deadline)
                    .min()
            };
            match next {
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {
                        if deadline.elapsed() > STALL {
                            self.start_over();
                        }
                    }
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    fn at(update: u64) -> PeerEntryVersion {
        PeerEntryVersion::from_millis(1, update)
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspicion_is_confirmed_after_its_time() {
        let (suspicions, peer) = (Suspicions::default(), SecretKey::generate().public());
        let started = Instant::now();
        suspicions.suspect(peer, at(5));
        assert_eq!(suspicions.confirmed().await, [(peer, at(5))]);
        assert!(started.elapsed() >= SUSPICION);
        assert_eq!(suspicions.suspected(&peer), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_refutes() {
        let (suspicions, peer) = (Suspicions::default(), SecretKey::generate().public());
        assert!(suspicions.suspect(peer, at(5)));
        assert!(!suspicions.suspect(peer, at(6)), "it is already");
        assert_eq!(suspicions.suspected(&peer), Some(at(5)));
        suspicions.clear(&peer);
        assert!(suspicions.suspected(&peer).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_observer_that_stood_still_starts_over() {
        let (suspicions, peer) = (Suspicions::default(), SecretKey::generate().public());
        suspicions.suspect(peer, at(5));
        let mut confirmed = std::pin::pin!(suspicions.confirmed());
        assert!(futures::poll!(&mut confirmed).is_pending());
        tokio::time::advance(SUSPICION * 3).await;
        assert!(futures::poll!(&mut confirmed).is_pending());
        let resumed = Instant::now();
        confirmed.await;
        assert!(resumed.elapsed() >= SUSPICION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_observer_is_more_patient() {
        let (suspicions, peer) = (Suspicions::default(), SecretKey::generate().public());
        suspicions.note_probe(false);
        assert_eq!(suspicions.patience(), 2);
        let started = Instant::now();
        suspicions.suspect(peer, at(5));
        suspicions.confirmed().await;
        assert!(started.elapsed() >= 2 * SUSPICION);
        suspicions.note_probe(true);
        assert_eq!(suspicions.patience(), 1);
    }
}
