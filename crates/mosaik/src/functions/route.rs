//! What this node knows about the way to each handler: its load, its failures, its distance.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::primitives::{Digest, PeerId};

/// How long a handler goes to the back after a failure; doubles with each in a row.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest time that failures send a handler to the back.
const MAX_REST: Duration = Duration::from_secs(30);
/// How long a handler goes to the back when it has no place free.
const FULL_REST: Duration = Duration::from_millis(50);
/// Distances are measured on call connections at most this often.
const SAMPLE_PAUSE: Duration = Duration::from_secs(1);
/// The distance of a handler is the lowest round-trip time of one or two of these.
const DISTANCE_WINDOW: Duration = Duration::from_secs(10);

/// All peers that callers of this node call, or may call.
#[derive(Default)]
pub(crate) struct Routes {
    known: Mutex<HashMap<PeerId, Weak<Route>>>,
    pulse: Arc<Pulse>,
}

/// Wakes the watchdog when calls begin after a time without any.
#[derive(Default)]
struct Pulse {
    is_parked: AtomicBool,
    wake: Notify,
}

impl Routes {
    /// The route to a peer, shared by all callers.
    pub(super) fn to(&self, peer: PeerId) -> Arc<Route> {
        let mut known = self.known.lock();
        if let Some(route) = known.get(&peer).and_then(Weak::upgrade) {
            return route;
        }
        if known.len() == known.capacity() {
            known.retain(|_, route| route.strong_count() > 0);
        }
        let route = Arc::new(Route::new(peer, self.pulse.clone()));
        known.insert(peer, Arc::downgrade(&route));
        route
    }

    /// Routes with calls in flight.
    pub(super) fn busy(&self) -> Vec<Arc<Route>> {
        let known = self.known.lock();
        let routes = known.values().filter_map(Weak::upgrade);
        routes.filter(|route| route.load() > 0).collect()
    }

    /// Waits until a call is in flight.
    pub(super) async fn until_busy(&self) {
        while self.busy().is_empty() {
            self.pulse.is_parked.store(true, Ordering::SeqCst);
            // A call that began before the store did not see it.
            if self.busy().is_empty() {
                self.pulse.wake.notified().await;
            }
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("known", &self.known.lock().len())
            .finish()
    }
}

/// What is known about the way to one peer.
pub(crate) struct Route {
    peer: PeerId,
    born: Instant,
    inflight: AtomicUsize,
    failures: AtomicU32,
    /// Microseconds since `born`.
    rests_until: AtomicU64,
    sampled_at: AtomicU64,
    distance: Mutex<Option<Distance>>,
    /// Held during a catalog sync with the peer; the time of the last one.
    pub(super) introduced: tokio::sync::Mutex<Option<Instant>>,
    /// The content of this node's own entry that was handed to the peer last.
    pub(super) delivered: Mutex<Option<Digest>>,
    pulse: Arc<Pulse>,
}

/// The lowest round-trip time of late: smoothed ones rise when this machine is busy, which says
/// nothing about which handler is near.
#[derive(Clone, Copy)]
struct Distance {
    current: Duration,
    previous: Duration,
    since: Instant,
}

/// Counts a call on a route for as long as it exists.
pub(super) struct Load(Arc<Route>);

impl Route {
    fn new(peer: PeerId, pulse: Arc<Pulse>) -> Self {
        Self {
            peer,
            born: Instant::now(),
            inflight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            sampled_at: AtomicU64::new(0),
            distance: Mutex::new(None),
            introduced: tokio::sync::Mutex::new(None),
            delivered: Mutex::new(None),
            pulse,
        }
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Counts a call in.
    pub(super) fn begin(self: &Arc<Self>) -> Load {
        self.inflight.fetch_add(1, Ordering::SeqCst);
        if self.pulse.is_parked.load(Ordering::SeqCst) {
            self.pulse.is_parked.store(false, Ordering::SeqCst);
            self.pulse.wake.notify_one();
        }
        Load(self.clone())
    }

    /// Calls of this node in flight.
    pub(super) fn load(&self) -> usize {
        self.inflight.load(Ordering::SeqCst)
    }

    /// The call was answered.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rests_until.store(0, Ordering::Relaxed);
        }
    }

    /// The peer could not be reached, or was lost.
    pub(super) fn failed(&self, now: Instant) {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let rest = FIRST_REST.saturating_mul(1 << before.min(16)).min(MAX_REST);
        self.rest(now, rest);
    }

    /// The peer had no place free.
    pub(super) fn was_full(&self, now: Instant) {
        self.rest(now, FULL_REST);
    }

    fn rest(&self, now: Instant, rest: Duration) {
        self.rests_until
            .fetch_max(self.since_birth(now + rest), Ordering::Relaxed);
    }

    /// Whether others should be asked first.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        match self.rests_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.since_birth(now) < until,
        }
    }

    /// Whether the round-trip time should be measured with this call.
    pub(super) fn takes_sample(&self, now: Instant) -> bool {
        let (now, last) = (
            self.since_birth(now),
            self.sampled_at.load(Ordering::Relaxed),
        );
        let pause = u64::try_from(SAMPLE_PAUSE.as_micros()).unwrap_or(u64::MAX);
        let is_due = last == 0 || now.saturating_sub(last) >= pause;
        is_due
            && self
                .sampled_at
                .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Takes a smoothed round-trip time in; returns the distance.
    pub(super) fn distance(&self, rtt: Duration, now: Instant) -> Duration {
        let mut distance = self.distance.lock();
        let known = distance.get_or_insert(Distance {
            current: rtt,
            previous: rtt,
            since: now,
        });
        if now.saturating_duration_since(known.since) >= DISTANCE_WINDOW {
            *known = Distance {
                current: rtt,
                previous: known.current,
                since: now,
            };
        }
        known.current = known.current.min(rtt);
        known.current.min(known.previous)
    }

    fn since_birth(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.born);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("peer", &self.peer)
            .field("inflight", &self.inflight)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.inflight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Load")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn route() -> Arc<Route> {
        Routes::default().to(iroh::SecretKey::generate().public())
    }

    #[tokio::test(start_paused = true)]
    async fn failures_send_to_the_back_for_longer_each_time() {
        let route = route();
        let after = |rest: u64| Instant::now() + Duration::from_millis(rest);
        assert!(!route.is_resting(Instant::now()));
        route.failed(Instant::now());
        assert!(route.is_resting(after(499)) && !route.is_resting(after(501)));
        route.failed(Instant::now());
        assert!(route.is_resting(after(999)) && !route.is_resting(after(1001)));
        route.succeeded();
        assert!(!route.is_resting(Instant::now()));
        route.was_full(Instant::now());
        assert!(route.is_resting(after(49)) && !route.is_resting(after(51)));
        for _ in 0..100 {
            route.failed(Instant::now());
        }
        assert!(route.is_resting(after(29_999)) && !route.is_resting(after(30_001)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_distance_ignores_busy_times_but_follows_the_path() {
        let route = route();
        let ms = Duration::from_millis;
        let mut now = Instant::now();
        assert_eq!(route.distance(ms(4), now), ms(4));
        assert_eq!(route.distance(ms(40), now), ms(4));
        assert_eq!(route.distance(ms(3), now), ms(3));
        for _ in 0..2 {
            now += DISTANCE_WINDOW;
            route.distance(ms(40), now);
        }
        assert_eq!(route.distance(ms(40), now), ms(40));
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_spaced() {
        let route = route();
        let now = Instant::now();
        assert!(route.takes_sample(now) && !route.takes_sample(now));
        assert!(!route.takes_sample(now + SAMPLE_PAUSE / 2));
        assert!(route.takes_sample(now + SAMPLE_PAUSE * 2));
    }

    #[tokio::test]
    async fn the_watchdog_wakes_with_the_first_call() {
        let routes = Routes::default();
        let route = routes.to(iroh::SecretKey::generate().public());
        assert!(Arc::ptr_eq(&route, &routes.to(route.peer())));
        let mut busy = std::pin::pin!(routes.until_busy());
        assert!((&mut busy).now_or_never().is_none());
        let load = route.begin();
        busy.await;
        assert_eq!(routes.busy().len(), 1);
        drop(load);
        assert!(routes.until_busy().now_or_never().is_none());
    }
}
