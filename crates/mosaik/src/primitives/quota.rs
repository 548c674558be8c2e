//! Quotas with a total and a per-peer limit.

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::PeerId;

/// An amount that is handed out to peers, in whatever unit.
pub(crate) struct Quota {
    /// Limit on the total.
    max: usize,
    /// Limit per peer.
    max_each: usize,
    held: Mutex<Held>,
    /// Those who wait for more; nobody is told unless there are any.
    waiting: AtomicUsize,
    freed: Notify,
}

#[derive(Default)]
struct Held {
    total: usize,
    /// Only peers that hold something.
    peers: HashMap<PeerId, usize>,
}

/// Part of the quota that a peer holds, given back when dropped. It borrows the quota, or keeps it
/// alive.
pub(crate) struct Share<Q: Deref<Target = Quota>> {
    quota: Q,
    peer: PeerId,
    amount: usize,
}

impl Quota {
    pub(crate) fn new(max: usize, max_each: usize) -> Self {
        Self {
            max,
            max_each,
            held: Mutex::default(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// A share, if that much is left in all and for this peer.
    pub(crate) fn try_take(&self, peer: PeerId, amount: usize) -> Option<Share<&Self>> {
        self.try_hold(peer, amount)
            .then(|| Share::new(self, peer, amount))
    }

    /// The same, for a share that outlives the borrow.
    pub(crate) fn try_take_owned(
        self: &Arc<Self>,
        peer: PeerId,
        amount: usize,
    ) -> Option<Share<Arc<Self>>> {
        self.try_hold(peer, amount)
            .then(|| Share::new(self.clone(), peer, amount))
    }

    /// Waits for a share; for ever if there can't be that much.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken when the future is dropped.
    pub(crate) async fn take(&self, peer: PeerId, amount: usize) -> Share<&Self> {
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let mut freed = core::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(share) = self.try_take(peer, amount) {
                return share;
            }
            freed.await;
        }
    }

    /// Counts what exists already; `true` if it is within the limits.
    pub(crate) fn count(&self, peer: PeerId, amount: usize) -> (Share<&Self>, bool) {
        let mut held = self.held.lock();
        let of_peer = held.add(peer, amount);
        let is_within = held.total <= self.max && of_peer <= self.max_each;
        (Share::new(self, peer, amount), is_within)
    }

    /// Returns whether nothing is left for a peer.
    pub(crate) fn is_spent(&self, peer: &PeerId) -> bool {
        let held = self.held.lock();
        held.total >= self.max
            || held
                .peers
                .get(peer)
                .is_some_and(|held| *held >= self.max_each)
    }

    /// Hands out an amount, if it is left.
    fn try_hold(&self, peer: PeerId, amount: usize) -> bool {
        let mut held = self.held.lock();
        let of_peer = held.peers.get(&peer).copied().unwrap_or_default();
        let fits = held.total.saturating_add(amount) <= self.max
            && of_peer.saturating_add(amount) <= self.max_each;
        if fits {
            held.add(peer, amount);
        }
        fits
    }

    fn give_back(&self, peer: PeerId, amount: usize) {
        {
            let mut held = self.held.lock();
            held.total -= amount;
            if let Some(of_peer) = held.peers.get_mut(&peer) {
                *of_peer -= amount;
                if *of_peer == 0 {
                    held.peers.remove(&peer);
                }
            }
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }
}

impl Held {
    /// Counts an amount; returns all that the peer holds.
    fn add(&mut self, peer: PeerId, amount: usize) -> usize {
        self.total += amount;
        let of_peer = self.peers.entry(peer).or_default();
        *of_peer += amount;
        *of_peer
    }
}

impl<Q: Deref<Target = Quota>> Share<Q> {
    const fn new(quota: Q, peer: PeerId, amount: usize) -> Self {
        Self {
            quota,
            peer,
            amount,
        }
    }
}

impl<Q: Deref<Target = Quota>> Drop for Share<Q> {
    fn drop(&mut self) {
        self.quota.give_back(self.peer, self.amount);
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota")
            .field("max", &self.max)
            .field("max_each", &self.max_each)
            .field("held", &self.held.lock().total)
            .finish_non_exhaustive()
    }
}

/// One who waits.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn begin(count: &'w AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn peer() -> PeerId {
        iroh::SecretKey::generate().public()
    }

    #[test]
    fn no_peer_takes_more_than_its_share() {
        let quota = Quota::new(10, 4);
        let (one, other, third) = (peer(), peer(), peer());
        let first = quota.try_take(one, 3).unwrap();
        assert!(quota.try_take(one, 2).is_none());
        let _second = quota.try_take(one, 1).unwrap();
        assert!(quota.is_spent(&one) && !quota.is_spent(&other));
        let _others = quota.try_take(other, 4).unwrap();
        assert!(quota.try_take(third, 3).is_none(), "not that much is left");
        drop(first);
        assert!(!quota.is_spent(&one));
        let _rest = quota.try_take(third, 3).unwrap();
        assert_eq!(quota.held.lock().total, 8);
    }

    #[test]
    fn nobody_is_remembered_who_holds_nothing() {
        let quota = Quota::new(10, 10);
        drop(quota.try_take(peer(), 1));
        drop(quota.count(peer(), 100));
        let held = quota.held.lock();
        assert!(held.peers.is_empty() && held.total == 0);
    }

    #[test]
    fn what_exists_is_counted_beyond_the_limit() {
        let quota = Quota::new(10, 4);
        let one = peer();
        let (_first, is_within) = quota.count(one, 4);
        assert!(is_within);
        let (second, is_within) = quota.count(one, 3);
        assert!(!is_within && quota.is_spent(&one));
        drop(second);
        assert!(quota.is_spent(&one));
    }

    #[test]
    fn who_waits_gets_what_is_freed() {
        let quota = Quota::new(4, 4);
        let first = quota.try_take(peer(), 3);
        let mut waiting = Box::pin(quota.take(peer(), 2));
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some());
        assert_eq!(quota.waiting.load(Ordering::SeqCst), 0);
        assert_eq!(quota.held.lock().total, 0);
    }
}
