//! Quotas with a total and a per-peer limit.

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::primitives::PeerId;

/// An amount that is handed out to peers, in whatever unit.
pub(super) struct Shares {
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

/// Part of the quota that a peer holds, given back when dropped.
pub(super) struct Share<'s> {
    shares: &'s Shares,
    peer: PeerId,
    amount: usize,
}

impl Shares {
    pub(super) fn new(max: usize, max_each: usize) -> Self {
        Self {
            max,
            max_each,
            held: Mutex::default(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// A share, if that much is left in all and for this peer.
    pub(super) fn try_take(&self, peer: PeerId, amount: usize) -> Option<Share<'_>> {
        let mut held = self.held.lock();
        let of_peer = held.peers.get(&peer).copied().unwrap_or_default();
        let fits = held.total.saturating_add(amount) <= self.max
            && of_peer.saturating_add(amount) <= self.max_each;
        fits.then(|| self.hold(&mut held, peer, amount))
    }

    /// Waits for a share; for ever if there can't be that much.
    ///
    /// # Cancel safety
    ///
    /// Nothing is taken when the future is dropped.
    pub(super) async fn take(&self, peer: PeerId, amount: usize) -> Share<'_> {
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
    pub(super) fn count(&self, peer: PeerId, amount: usize) -> (Share<'_>, bool) {
        let mut held = self.held.lock();
        let share = self.hold(&mut held, peer, amount);
        let is_within = held.total <= self.max && held.peers[&peer] <= self.max_each;
        (share, is_within)
    }

    /// Returns whether nothing is left for a peer.
    pub(super) fn is_spent(&self, peer: &PeerId) -> bool {
        let held = self.held.lock();
        held.total >= self.max
            || held
                .peers
                .get(peer)
                .is_some_and(|held| *held >= self.max_each)
    }

    fn hold<'s>(&'s self, held: &mut Held, peer: PeerId, amount: usize) -> Share<'s> {
        held.total += amount;
        *held.peers.entry(peer).or_default() += amount;
        Share {
            shares: self,
            peer,
            amount,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let Self {
            shares,
            peer,
            amount,
        } = self;
        {
            let mut held = shares.held.lock();
            held.total -= *amount;
            if let Some(of_peer) = held.peers.get_mut(peer) {
                *of_peer -= *amount;
                if *of_peer == 0 {
                    held.peers.remove(peer);
                }
            }
        }
        if shares.waiting.load(Ordering::SeqCst) > 0 {
            shares.freed.notify_waiters();
        }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares")
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
        let shares = Shares::new(10, 4);
        let (one, other, third) = (peer(), peer(), peer());
        let first = shares.try_take(one, 3).unwrap();
        assert!(shares.try_take(one, 2).is_none());
        let _second = shares.try_take(one, 1).unwrap();
        assert!(shares.is_spent(&one) && !shares.is_spent(&other));
        let _others = shares.try_take(other, 4).unwrap();
        assert!(shares.try_take(third, 3).is_none(), "not that much is left");
        drop(first);
        assert!(!shares.is_spent(&one));
        let _rest = shares.try_take(third, 3).unwrap();
        assert_eq!(shares.held.lock().total, 8);
    }

    #[test]
    fn nobody_is_remembered_who_holds_nothing() {
        let shares = Shares::new(10, 10);
        drop(shares.try_take(peer(), 1));
        drop(shares.count(peer(), 100));
        let held = shares.held.lock();
        assert!(held.peers.is_empty() && held.total == 0);
    }

    #[test]
    fn what_exists_is_counted_beyond_the_limit() {
        let shares = Shares::new(10, 4);
        let one = peer();
        let (_first, is_within) = shares.count(one, 4);
        assert!(is_within);
        let (second, is_within) = shares.count(one, 3);
        assert!(!is_within && shares.is_spent(&one));
        drop(second);
        assert!(shares.is_spent(&one));
    }

    #[test]
    fn who_waits_gets_what_is_freed() {
        let shares = Shares::new(4, 4);
        let first = shares.try_take(peer(), 3);
        let mut waiting = Box::pin(shares.take(peer(), 2));
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some());
        assert_eq!(shares.waiting.load(Ordering::SeqCst), 0);
        assert_eq!(shares.held.lock().total, 0);
    }
}
