//! Places for calls, and how long one is kept for a request on its way.
//!
//! A call takes its place once its request is there. A large request is asked for, and a place is
//! kept for it meanwhile, so that it is not sent in vain, but only as long as it comes at a good
//! pace: nobody holds a place by being slow, or silent. A request that is slower goes on without
//! one, and once it is there it waits in line for a place.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// Time for which a place is kept for a request that does not come.
const KEEP_TIME: Duration = Duration::from_secs(5);
/// Throughput of a good line: for what has come, a place is kept as much longer.
const GOOD_BYTES_PER_SECOND: u64 = 1024 * 1024;

/// Places for the calls of one function. First come, first served: a freed place goes to whoever
/// waits before anybody else gets it.
pub(super) struct Places(Arc<Semaphore>);

/// A place that nobody else has.
pub(super) type Permit = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }

    /// Returns whether no place is free now.
    pub(super) fn is_full(&self) -> bool {
        self.0.available_permits() == 0
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn try_take(&self) -> Option<Permit> {
        self.0.clone().try_acquire_owned().ok()
    }

    /// Begins the transfer of a large request; `None` if no place is free for it.
    pub(super) fn begin_transfer(&self) -> Option<Transfer<'_>> {
        Some(Transfer {
            kept: Some(self.try_take()?),
            places: self,
            keep_until: Instant::now() + KEEP_TIME,
            received_bytes: 0,
        })
    }
}

/// A large request on its way.
pub(super) struct Transfer<'p> {
    places: &'p Places,
    kept: Option<Permit>,
    keep_until: Instant,
    received_bytes: u64,
}

impl Transfer<'_> {
    /// Notes how much of the request is there.
    pub(super) fn received(&mut self, bytes: usize) {
        let more = (bytes as u64).saturating_sub(self.received_bytes);
        self.received_bytes += more;
        self.keep_until += Duration::from_micros(more * 1_000_000 / GOOD_BYTES_PER_SECOND);
    }

    /// Gives up the place that is kept, when its time is over; never resolves.
    ///
    /// # Cancel safety
    ///
    /// The time goes on when the future is dropped.
    pub(super) async fn watch(&mut self) {
        if self.kept.is_some() {
            sleep_until(self.keep_until).await;
            self.kept = None;
        }
        std::future::pending::<()>().await;
    }

    /// The place of a call whose request is there; waits for one if none was kept.
    ///
    /// # Cancel safety
    ///
    /// The place in the line is lost when the future is dropped.
    pub(super) async fn into_place(self) -> Permit {
        match self.kept {
            Some(place) => place,
            None => match self.places.0.clone().acquire_owned().await {
                Ok(place) => place,
                // It is never closed.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;

    /// Lets a transfer go on for a while.
    async fn wait(transfer: &mut Transfer<'_>, millis: u64) {
        let _ = timeout(Duration::from_millis(millis), transfer.watch()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_kept_for_a_while_and_then_waited_for() {
        let places = Places::new(1);
        let mut slow = places.begin_transfer().unwrap();
        assert!(places.is_full() && places.begin_transfer().is_none());
        wait(&mut slow, 4_999).await;
        assert!(places.try_take().is_none());
        wait(&mut slow, 2).await;
        let place = places.try_take().unwrap();
        let mut waiting = Box::pin(slow.into_place());
        assert!((&mut waiting).now_or_never().is_none());
        drop(place);
        assert!(places.try_take().is_none(), "who waits is first");
        drop(waiting.await);
        assert!(places.try_take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_at_a_good_pace_keeps_its_place() {
        let places = Places::new(1);
        let mut transfer = places.begin_transfer().unwrap();
        for second in 1..=60 {
            transfer.received(second * 1024 * 1024);
            wait(&mut transfer, 1_000).await;
        }
        assert!(places.is_full());
        // What was noted before earns nothing again.
        transfer.received(60 * 1024 * 1024);
        wait(&mut transfer, 5_001).await;
        assert!(!places.is_full());
        assert!(transfer.into_place().now_or_never().is_some());
    }
}
