//! Routes to handlers: load, failures and distance, as this node knows them.

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
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    net::limits::MAX_STREAMS_PER_CONNECTION,
    primitives::{Digest, PeerId},
};

/// Calls of this node to one peer at the same time, streams of replies included. Each takes a
/// stream of their connection, and some are left for signs of life.
const MAX_CALLS: usize = MAX_STREAMS_PER_CONNECTION as usize - 64;
/// Time for which a handler is asked last after a failure; doubles with each in a row.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest time that failures send a handler to the back.
const MAX_REST: Duration = Duration::from_secs(30);
/// Time for which a handler is asked last when it is at its limit of concurrent calls.
const FULL_REST: Duration = Duration::from_millis(50);
/// A distance is measured anew at most this often.
const MEASURE_PAUSE: Duration = Duration::from_secs(5);
/// A distance is the lowest value of one or two of these.
const DISTANCE_WINDOW: Duration = Duration::from_secs(30);

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
            .finish_non_exhaustive()
    }
}

/// Route to one peer: its load, failures and distance.
pub(crate) struct Route {
    peer: PeerId,
    born: Instant,
    /// Permits for concurrent calls.
    places: Arc<Semaphore>,
    inflight: AtomicUsize,
    failures: AtomicU32,
    /// Microseconds since `born`, here and below; 0 for never.
    rests_until: AtomicU64,
    full_until: AtomicU64,
    measured_at: AtomicU64,
    /// Start time of the peer's node, on its own clock.
    started_ms: AtomicU64,
    lowest: Mutex<Option<Lowest>>,
    distance_us: AtomicU64,
    noise_us: AtomicU64,
    /// Held during a catalog sync with the peer; the time of the last one.
    pub(super) introduced: tokio::sync::Mutex<Option<Instant>>,
    /// The content of this node's own entry that was handed to the peer last.
    pub(super) delivered: Mutex<Option<Digest>>,
    pulse: Arc<Pulse>,
}

/// Distance to a peer.
///
/// The smoothed round-trip time of the catalog begins with the time of a handshake and rises when
/// machines are busy, which says nothing about who is near. So the lowest value of late counts, and
/// what may be noise is told apart: handlers that can't be told apart share the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Distance {
    pub(super) value: Duration,
    /// Share of it, or addition to it, that may be chance.
    pub(super) noise: Duration,
}

#[derive(Clone, Copy)]
struct Lowest {
    current: Duration,
    previous: Duration,
    since: Instant,
}

/// Counts a call on a route for as long as it exists.
pub(super) struct Load {
    route: Arc<Route>,
    _place: OwnedSemaphorePermit,
}

impl Route {
    fn new(peer: PeerId, pulse: Arc<Pulse>) -> Self {
        Self {
            peer,
            born: Instant::now(),
            places: Arc::new(Semaphore::new(MAX_CALLS)),
            inflight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            full_until: AtomicU64::new(0),
            measured_at: AtomicU64::new(0),
            started_ms: AtomicU64::new(0),
            lowest: Mutex::new(None),
            distance_us: AtomicU64::new(0),
            noise_us: AtomicU64::new(0),
            introduced: tokio::sync::Mutex::new(None),
            delivered: Mutex::new(None),
            pulse,
        }
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Counts a call in, unless there are as many as may be.
    pub(super) fn try_begin(self: &Arc<Self>) -> Option<Load> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(self.count_in(place))
    }

    /// Counts a call in as soon as there are fewer than there may be; `None` if that is not before
    /// the limit.
    pub(super) async fn begin(self: &Arc<Self>, limit: Instant) -> Option<Load> {
        let place = timeout_at(limit, self.places.clone().acquire_owned()).await;
        Some(self.count_in(place.ok()?.ok()?))
    }

    fn count_in(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Load {
        self.inflight.fetch_add(1, Ordering::SeqCst);
        if self.pulse.is_parked.load(Ordering::SeqCst) {
            self.pulse.is_parked.store(false, Ordering::SeqCst);
            self.pulse.wake.notify_one();
        }
        Load {
            route: self.clone(),
            _place: place,
        }
    }

    /// Calls of this node in flight.
    pub(super) fn load(&self) -> usize {
        self.inflight.load(Ordering::SeqCst)
    }

    /// The peer has answered.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rests_until.store(0, Ordering::Relaxed);
        }
    }

    /// The peer could not be reached, or was lost. All that fail while it rests for that count
    /// once: they are the calls that one lost connection carried.
    pub(super) fn failed(&self, now: Instant) {
        let until = self.rests_until.load(Ordering::Relaxed);
        let micros_now = self.since_birth(now);
        if micros_now < until {
            return;
        }
        let before = self.failures.load(Ordering::Relaxed);
        let rest = FIRST_REST.saturating_mul(1 << before.min(16)).min(MAX_REST);
        let is_first = self.rests_until.compare_exchange(
            until,
            micros_now.saturating_add(micros(rest)),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if is_first.is_ok() {
            self.failures
                .store(before.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// The peer's node was started at this time. Failures of an earlier run say nothing about a
    /// later one.
    pub(super) fn started(&self, at_ms: u64) {
        if self.started_ms.fetch_max(at_ms, Ordering::Relaxed) < at_ms {
            self.succeeded();
        }
    }

    /// The peer had no place free.
    pub(super) fn was_full(&self, now: Instant) {
        let until = self.since_birth(now + FULL_REST);
        self.full_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Returns whether others should be asked first.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        let until = |until: &AtomicU64| until.load(Ordering::Relaxed);
        match until(&self.rests_until).max(until(&self.full_until)) {
            0 => false,
            until => self.since_birth(now) < until,
        }
    }

    /// Returns whether the distance was not measured for a while.
    pub(super) fn is_measurement_due(&self, now: Instant) -> bool {
        let last = self.measured_at.load(Ordering::Relaxed);
        last == 0 || self.since_birth(now).saturating_sub(last) >= micros(MEASURE_PAUSE)
    }

    /// Returns whether the distance should be measured now; if so, the measurement is the caller's
    /// task.
    pub(super) fn begin_measuring(&self, now: Instant) -> bool {
        let last = self.measured_at.load(Ordering::Relaxed);
        self.is_measurement_due(now)
            && self
                .measured_at
                .compare_exchange(
                    last,
                    self.since_birth(now).max(1),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Takes in the smoothed round-trip time of the catalog.
    pub(super) fn hint(&self, rtt: Duration, now: Instant) {
        let value = self.lower(rtt, now);
        if self.noise_us.load(Ordering::Relaxed) == 0 {
            // As long as nothing better is known, most of it may be noise.
            self.set_noise(value * 3 / 4);
        }
    }

    /// Takes in the times of a few exchanges with the peer.
    pub(super) fn measured(&self, exchanges: &mut [Duration], now: Instant) {
        exchanges.sort_unstable();
        let (Some(best), Some(median)) = (exchanges.first(), exchanges.get(exchanges.len() / 2))
        else {
            return;
        };
        self.succeeded();
        self.lower(*best, now);
        self.set_noise(median.saturating_sub(*best));
    }

    /// Current distance to the peer.
    pub(super) fn distance(&self) -> Distance {
        let load = |us: &AtomicU64| Duration::from_micros(us.load(Ordering::Relaxed));
        Distance {
            value: load(&self.distance_us),
            noise: load(&self.noise_us),
        }
    }

    fn lower(&self, rtt: Duration, now: Instant) -> Duration {
        let mut lowest = self.lowest.lock();
        let known = lowest.get_or_insert(Lowest {
            current: rtt,
            previous: rtt,
            since: now,
        });
        if now.saturating_duration_since(known.since) >= DISTANCE_WINDOW {
            *known = Lowest {
                current: rtt,
                previous: known.current,
                since: now,
            };
        }
        known.current = known.current.min(rtt);
        let value = known.current.min(known.previous);
        self.distance_us.store(micros(value), Ordering::Relaxed);
        value
    }

    fn set_noise(&self, noise: Duration) {
        self.noise_us.store(micros(noise).max(1), Ordering::Relaxed);
    }

    fn since_birth(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.born))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
        self.route.inflight.fetch_sub(1, Ordering::SeqCst);
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
        route.failed(after(501));
        assert!(route.is_resting(after(1_500)) && !route.is_resting(after(1_502)));
        route.succeeded();
        assert!(!route.is_resting(Instant::now()));
        route.was_full(Instant::now());
        assert!(route.is_resting(after(49)) && !route.is_resting(after(51)));
        route.failed(Instant::now());
        assert!(route.is_resting(after(499)), "full and lost are two things");
        for times in 1..100 {
            route.failed(after(times * 31_000));
        }
        let last = 99 * 31_000;
        assert!(route.is_resting(after(last + 29_999)) && !route.is_resting(after(last + 30_001)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_calls_of_one_lost_connection_are_one_failure() {
        let route = route();
        let now = Instant::now();
        for _ in 0..64 {
            route.failed(now);
        }
        assert!(!route.is_resting(now + FIRST_REST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_or_an_answer_ends_the_rest() {
        let route = route();
        let now = Instant::now();
        route.started(7);
        route.failed(now);
        route.started(7);
        assert!(route.is_resting(now), "still the same");
        route.started(8);
        assert!(!route.is_resting(now));
        route.failed(now);
        route.measured(&mut [], now);
        assert!(route.is_resting(now), "no answer");
        route.measured(&mut [Duration::from_millis(1)], now);
        assert!(!route.is_resting(now));
    }

    #[tokio::test]
    async fn some_streams_are_left_for_signs_of_life() {
        let route = route();
        let mut calls: Vec<_> = (0..MAX_CALLS).map(|_| route.try_begin().unwrap()).collect();
        assert!(route.try_begin().is_none());
        assert!(route.begin(Instant::now()).await.is_none());
        let mut next = std::pin::pin!(route.begin(Instant::now() + MAX_REST));
        assert!((&mut next).now_or_never().is_none());
        calls.pop();
        assert!(next.await.is_some());
        assert_eq!(route.load(), MAX_CALLS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_distance_ignores_busy_times_but_follows_the_path() {
        let route = route();
        let ms = Duration::from_millis;
        let mut now = Instant::now();
        route.hint(ms(4), now);
        assert_eq!(
            route.distance(),
            Distance {
                value: ms(4),
                noise: ms(3)
            }
        );
        route.hint(ms(40), now);
        assert_eq!(route.distance().value, ms(4));
        route.measured(&mut [ms(9), ms(3), ms(5)], now);
        assert_eq!(
            route.distance(),
            Distance {
                value: ms(3),
                noise: ms(2)
            }
        );
        for _ in 0..2 {
            now += DISTANCE_WINDOW;
            route.measured(&mut [ms(40); 3], now);
        }
        assert_eq!(route.distance().value, ms(40));
        assert!(route.distance().noise < ms(1));
        route.measured(&mut [], now);
    }

    #[tokio::test(start_paused = true)]
    async fn measurements_are_spaced() {
        let route = route();
        let now = Instant::now();
        assert!(route.begin_measuring(now) && !route.begin_measuring(now));
        assert!(!route.begin_measuring(now + MEASURE_PAUSE / 2));
        assert!(route.begin_measuring(now + MEASURE_PAUSE * 2));
    }

    #[tokio::test]
    async fn the_watchdog_wakes_with_the_first_call() {
        let routes = Routes::default();
        let route = routes.to(iroh::SecretKey::generate().public());
        assert!(Arc::ptr_eq(&route, &routes.to(route.peer())));
        let mut busy = std::pin::pin!(routes.until_busy());
        assert!((&mut busy).now_or_never().is_none());
        let load = route.try_begin();
        busy.await;
        assert_eq!(routes.busy().len(), 1);
        drop(load);
        assert!(routes.until_busy().now_or_never().is_none());
    }
}
