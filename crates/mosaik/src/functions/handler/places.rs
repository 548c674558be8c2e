//! Places for calls, and who is kept one while its request is on its way.
//!
//! A call takes its place once its request is there. A large request is asked for, and a place is
//! kept for it meanwhile, so that it is not sent in vain. Three rules see to it that nobody holds
//! places by being slow, or silent:
//!
//! - A place is kept for [`KEEP_TIME`] at most. A request that takes longer goes on, and once it is
//!   there it waits in line for a place.
//! - The time for which places were kept longer than a good line needs is the peer's waste. It is
//!   repaid in ten times as long, and as long as a peer owes more than a little, no place is kept
//!   for it. So whatever a peer does, be it to leave shortly before the time is up and to begin
//!   anew, it holds places that nobody uses for less than a tenth of the time.
//! - Of a peer that owes, no more requests are asked for than there are places free: it may send
//!   them in vain, but not many.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::primitives::PeerId;

/// The longest time for which a place is kept for a request.
const KEEP_TIME: Duration = Duration::from_secs(5);
/// Throughput of a good line. A slower one wastes the place that is kept for it.
const GOOD_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// Time that is no waste if the request arrived: that of a few round trips.
const ROUND_TRIPS: Duration = Duration::from_secs(1);
/// A peer owes this many times what it has wasted.
const DEBT_PER_WASTE: u32 = 10;
/// Debt with which places are still kept for a peer: callers may leave now and then.
const TOLERATED_DEBT: Duration = Duration::from_secs(5);
/// The largest debt. After this time at the latest the peer is trusted again.
const MAX_DEBT: Duration = Duration::from_secs(60);

/// Places for the calls of one function.
pub(super) struct Places {
    /// First come, first served: a freed place goes to whoever waits before anybody else gets it.
    free: Arc<Semaphore>,
    /// Peers that owe time, or have requests under way for which no place is kept.
    records: Mutex<HashMap<PeerId, Record>>,
}

struct Record {
    /// Time at which the peer owes nothing more.
    settled_at: Instant,
    /// Requests under way without a place.
    without_place: usize,
}

/// A place that nobody else has.
pub(super) type Permit = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            records: Mutex::default(),
        }
    }

    /// Returns whether no place is free now.
    pub(super) fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn try_take(&self) -> Option<Permit> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Begins the transfer of a large request; `None` if it would probably be sent in vain.
    pub(super) fn begin_transfer(&self, peer: PeerId) -> Option<Transfer<'_>> {
        let since = Instant::now();
        let mut transfer = Transfer {
            places: self,
            peer,
            since,
            received_bytes: 0,
            kept: None,
            is_counted: false,
        };
        let mut records = self.records.lock();
        if records
            .get(&peer)
            .is_some_and(|record| record.is_blank(since))
        {
            records.remove(&peer);
        }
        match records.get_mut(&peer) {
            Some(record) if record.settled_at > since + TOLERATED_DEBT => {
                if record.without_place >= self.free.available_permits() {
                    return None;
                }
                record.without_place += 1;
                transfer.is_counted = true;
            }
            _ => transfer.kept = Some(self.try_take()?),
        }
        drop(records);
        Some(transfer)
    }

    /// Changes the record of a peer.
    fn record(&self, peer: PeerId, change: impl FnOnce(&mut Record, Instant)) {
        let now = Instant::now();
        let mut records = self.records.lock();
        if records.len() == records.capacity() {
            records.retain(|_, record| !record.is_blank(now));
        }
        let record = records.entry(peer).or_insert(Record {
            settled_at: now,
            without_place: 0,
        });
        change(record, now);
        if record.is_blank(now) {
            records.remove(&peer);
        }
    }
}

impl Record {
    fn is_blank(&self, now: Instant) -> bool {
        self.settled_at <= now && self.without_place == 0
    }
}

/// A large request on its way, with or without a place that is kept for it.
pub(super) struct Transfer<'p> {
    places: &'p Places,
    peer: PeerId,
    since: Instant,
    received_bytes: usize,
    kept: Option<Permit>,
    /// True if it is counted as one without a place.
    is_counted: bool,
}

impl Transfer<'_> {
    /// Notes how much of the request is there.
    pub(super) const fn received(&mut self, bytes: usize) {
        self.received_bytes = bytes;
    }

    /// Gives up the place that is kept, when its time is over; never resolves.
    ///
    /// # Cancel safety
    ///
    /// The time goes on when the future is dropped.
    pub(super) async fn watch(&mut self) {
        if self.kept.is_some() {
            sleep_until(self.since + KEEP_TIME).await;
            self.give_up();
        }
        std::future::pending::<()>().await;
    }

    fn give_up(&mut self) {
        self.charge(Duration::ZERO);
        self.kept = None;
        self.is_counted = true;
        self.places
            .record(self.peer, |record, _| record.without_place += 1);
    }

    /// The place of a call whose request is there; waits for one if none was kept.
    ///
    /// # Cancel safety
    ///
    /// The place in the line is lost when the future is dropped.
    pub(super) async fn into_place(mut self) -> Permit {
        self.charge(ROUND_TRIPS);
        match self.kept.take() {
            Some(place) => place,
            None => match self.places.free.clone().acquire_owned().await {
                Ok(place) => place,
                // It is never closed.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Charges the peer for the time for which a place was kept, but for what a good line needs.
    fn charge(&self, allowance: Duration) {
        if self.kept.is_none() {
            return;
        }
        let bytes = self.received_bytes as u64;
        let needed = Duration::from_millis(bytes * 1000 / GOOD_BYTES_PER_SECOND) + allowance;
        let wasted = self.since.elapsed().saturating_sub(needed);
        if !wasted.is_zero() {
            self.places.record(self.peer, |record, now| {
                let due = record.settled_at.max(now) + wasted * DEBT_PER_WASTE;
                record.settled_at = due.min(now + MAX_DEBT);
            });
        }
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.charge(Duration::ZERO);
        if self.is_counted {
            self.places
                .record(self.peer, |record, _| record.without_place -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::{advance, timeout};

    use super::*;

    fn peer() -> PeerId {
        iroh::SecretKey::generate().public()
    }

    /// Lets a transfer go on for a while.
    async fn wait(transfer: &mut Transfer<'_>, time: Duration) {
        let _ = timeout(time, transfer.watch()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_for_a_while_and_then_waited_for() {
        let places = Places::new(1);
        let mut slow = places.begin_transfer(peer()).unwrap();
        assert!(places.is_full() && places.begin_transfer(peer()).is_none());
        wait(&mut slow, Duration::from_millis(4_999)).await;
        assert!(places.try_take().is_none());
        wait(&mut slow, Duration::from_millis(2)).await;
        let place = places.try_take().unwrap();
        let mut waiting = Box::pin(slow.into_place());
        assert!((&mut waiting).now_or_never().is_none());
        drop(place);
        assert!(places.try_take().is_none(), "who waits is first");
        drop(waiting.await);
        assert!(places.try_take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timely_request_owes_nothing_and_has_its_place() {
        let (places, one) = (Places::new(1), peer());
        for _ in 0..100 {
            let mut transfer = places.begin_transfer(one).unwrap();
            advance(Duration::from_millis(1_500)).await;
            transfer.received(1024 * 1024);
            assert!(transfer.into_place().now_or_never().is_some());
        }
        assert!(places.records.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_peer_does_it_wastes_less_than_a_tenth() {
        for leaves_after in [100, 400, 700, 4_999, 6_000] {
            let (places, one) = (Places::new(1), peer());
            let (started, mut kept) = (Instant::now(), Duration::ZERO);
            while started.elapsed() < Duration::from_mins(30) {
                let mut transfer = places.begin_transfer(one).unwrap();
                let has_place = transfer.kept.is_some();
                let time = Duration::from_millis(leaves_after);
                wait(&mut transfer, time).await;
                kept += if has_place {
                    time.min(KEEP_TIME)
                } else {
                    Duration::ZERO
                };
            }
            let of = started.elapsed();
            assert!(kept * 10 < of + KEEP_TIME * 10, "{kept:?} of {of:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_is_asked_for_no_more_than_there_is_room_for() {
        let (places, one) = (Places::new(2), peer());
        let mut silent = places.begin_transfer(one).unwrap();
        wait(&mut silent, KEEP_TIME * 2).await;
        // The silent one counts as well.
        let second = places.begin_transfer(one).unwrap();
        assert!(second.kept.is_none() && places.begin_transfer(one).is_none());
        let others = [places.begin_transfer(peer()), places.begin_transfer(peer())];
        assert!(others.iter().flatten().all(|other| other.kept.is_some()));
        drop((silent, second, others));
        assert!(!places.is_full());
        advance(MAX_DEBT).await;
        assert!(places.begin_transfer(one).unwrap().kept.is_some());
        assert!(places.records.lock().is_empty());
    }
}
