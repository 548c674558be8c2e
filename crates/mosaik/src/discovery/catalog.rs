//! A snapshot of everything that a node knows about its network.

use core::hash::Hash;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rpds::RedBlackTreeMapSync;

use super::{clock::Clock, rtt::Rtt};
use crate::{
    primitives::{FunctionId, NetworkId, PeerId, StreamId},
    tickets::{PeerEntry, PeerInfo, SignedPeerEntry},
};

/// An immutable view of the network: all peers that this node knows, ordered by id.
///
/// Cloning is O(1). Entries are signed by their owners, or unsigned: inserted locally and never
/// passed on. A peer is never both. The local node's own signed entry is always there.
///
/// Entries whose last update lies more than `purge_after` before *now* are hidden from every
/// method, also in snapshots taken earlier. With `max_rtt` set, slower peers are hidden from
/// [`peers`](Self::peers), [`signed_peers`](Self::signed_peers),
/// [`unsigned_peers`](Self::unsigned_peers), [`get`](Self::get),
/// [`get_signed`](Self::get_signed) and the counts.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(super) local: SignedPeerEntry,
    pub(super) local_id: PeerId,
    pub(super) network_id: NetworkId,
    /// Remote peers only.
    pub(super) signed: RedBlackTreeMapSync<PeerId, SignedPeerEntry>,
    pub(super) unsigned: RedBlackTreeMapSync<PeerId, Arc<PeerEntry>>,
    pub(super) rtts: RedBlackTreeMapSync<PeerId, Rtt>,
    pub(super) purge_after: Duration,
    pub(super) max_rtt: Option<Duration>,
    pub(super) clock: Clock,
}

impl Catalog {
    /// A catalog that holds the local entry only.
    pub(super) fn new(
        local: SignedPeerEntry,
        purge_after: Duration,
        max_rtt: Option<Duration>,
        clock: Clock,
    ) -> Self {
        Self {
            local_id: *local.id(),
            network_id: *local.network_id(),
            local,
            signed: RedBlackTreeMapSync::new_sync(),
            unsigned: RedBlackTreeMapSync::new_sync(),
            rtts: RedBlackTreeMapSync::new_sync(),
            purge_after,
            max_rtt,
            clock,
        }
    }

    /// This node's id.
    pub const fn local_id(&self) -> PeerId {
        self.local_id
    }

    /// The network that all entries belong to.
    pub const fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// This node's own entry, as others see it. Never stale.
    pub fn local(&self) -> &SignedPeerEntry {
        &self.local
    }

    /// All entries: signed ones, the local one among them, then unsigned ones; each part ordered
    /// by id.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&PeerId, &PeerEntry)> {
        let signed = self.iter_signed().map(|entry| (entry.id(), &**entry));
        let stale_before = self.stale_before();
        let unsigned = self.unsigned.iter().map(|(id, entry)| (id, &**entry));
        signed.chain(unsigned.filter(move |(_, entry)| is_fresh(entry, stale_before)))
    }

    /// Number of entries that [`iter`](Self::iter) yields.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Always `false`: the local entry is always there.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// All signed entries, the local one among them.
    pub fn iter_signed(&self) -> impl DoubleEndedIterator<Item = &SignedPeerEntry> {
        let stale_before = self.stale_before();
        let fresh = move |entry: &&SignedPeerEntry| is_fresh(entry, stale_before);
        let before = self.signed.range(..self.local_id).map(|(_, entry)| entry);
        let after = self.signed.range(self.local_id..).map(|(_, entry)| entry);
        before
            .filter(fresh)
            .chain(core::iter::once(&self.local))
            .chain(after.filter(fresh))
    }

    /// All remote peers: signed ones, then unsigned ones.
    pub fn peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        self.signed_peers()
            .map(|entry| &**entry)
            .chain(self.unsigned_peers())
    }

    /// Numbers of remote peers that produce these streams, in one pass over the catalog.
    pub(crate) fn producers_of(&self, streams: &HashSet<StreamId>) -> HashMap<StreamId, u64> {
        count(streams, self.peers().map(|entry| entry.streams()))
    }

    /// Numbers of remote peers that serve these functions, in one pass over the catalog.
    pub(crate) fn handlers_of(&self, functions: &HashSet<FunctionId>) -> HashMap<FunctionId, u64> {
        count(functions, self.peers().map(|entry| entry.functions()))
    }

    /// All remote peers with signed entries.
    pub fn signed_peers(&self) -> impl DoubleEndedIterator<Item = &SignedPeerEntry> {
        let stale_before = self.stale_before();
        let entries = self.signed.iter().map(|(_, entry)| entry);
        entries.filter(move |entry| is_fresh(entry, stale_before) && self.is_near(entry.id()))
    }

    /// All peers with unsigned entries.
    pub fn unsigned_peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        let stale_before = self.stale_before();
        let entries = self.unsigned.iter().map(|(_, entry)| &**entry);
        entries.filter(move |entry| is_fresh(entry, stale_before) && self.is_near(entry.id()))
    }

    /// The entry of a peer, signed or not; the local entry for the local id.
    pub fn get(&self, peer_id: &PeerId) -> Option<&PeerEntry> {
        let unsigned = || {
            let entry = self.unsigned.get(peer_id)?;
            (is_fresh(entry, self.stale_before()) && self.is_near(peer_id)).then_some(&**entry)
        };
        self.get_signed(peer_id)
            .map(|entry| &**entry)
            .or_else(unsigned)
    }

    /// The signed entry of a peer; the local entry for the local id.
    pub fn get_signed(&self, peer_id: &PeerId) -> Option<&SignedPeerEntry> {
        if *peer_id == self.local_id {
            return Some(&self.local);
        }
        let entry = self.signed.get(peer_id)?;
        (is_fresh(entry, self.stale_before()) && self.is_near(peer_id)).then_some(entry)
    }

    /// Number of remote peers with signed entries.
    pub fn signed_peers_count(&self) -> usize {
        self.signed_peers().count()
    }

    /// Number of remote peers.
    pub fn peers_count(&self) -> usize {
        self.peers().count()
    }

    /// A remote peer's entry and round-trip time, if it is visible.
    pub(crate) fn info(&self, peer_id: &PeerId) -> Option<PeerInfo> {
        if *peer_id == self.local_id {
            return None;
        }
        let entry = if let Some(entry) = self.get_signed(peer_id) {
            entry.shared()
        } else {
            self.get(peer_id)?;
            self.unsigned.get(peer_id)?.clone()
        };
        Some(PeerInfo::new(entry, self.rtt(peer_id)))
    }

    /// Returns whether there is an entry of a peer, hidden or not.
    pub(crate) fn contains(&self, peer_id: &PeerId) -> bool {
        self.signed.contains_key(peer_id) || self.unsigned.contains_key(peer_id)
    }

    /// The smoothed round-trip time of a peer.
    pub(crate) fn rtt(&self, peer_id: &PeerId) -> Option<Duration> {
        self.rtts.get(peer_id).map(Rtt::smoothed)
    }

    pub(super) fn is_near(&self, peer_id: &PeerId) -> bool {
        match (self.max_rtt, self.rtt(peer_id)) {
            (Some(max), Some(rtt)) => rtt <= max,
            _ => true,
        }
    }

    /// Entries updated before this moment (in ms since the epoch) are stale.
    pub(super) fn stale_before(&self) -> u64 {
        let age = u64::try_from(self.purge_after.as_millis()).unwrap_or(u64::MAX);
        self.clock.now_ms().saturating_sub(age)
    }
}

pub(super) fn is_fresh(entry: &PeerEntry, stale_before: u64) -> bool {
    entry.version().update_ms() >= stale_before
}

/// Iterates as [`Catalog::iter`] does.
impl<'a> IntoIterator for &'a Catalog {
    type Item = (&'a PeerId, &'a PeerEntry);
    type IntoIter = Box<dyn DoubleEndedIterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// Counts in how many sets each wanted id is. The shorter of the two is gone through, so that neither
/// many wanted ids nor a peer with many cost their product.
fn count<'s, I: Copy + Ord + Hash + 's>(
    wanted: &HashSet<I>,
    sets: impl Iterator<Item = &'s BTreeSet<I>>,
) -> HashMap<I, u64> {
    let mut counts: HashMap<I, u64> = wanted.iter().map(|id| (*id, 0)).collect();
    for set in sets {
        if set.len() < wanted.len() {
            for id in set {
                if let Some(count) = counts.get_mut(id) {
                    *count += 1;
                }
            }
        } else {
            for (id, count) in &mut counts {
                *count += u64::from(set.contains(id));
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_whichever_side_has_more() {
        let sets = [BTreeSet::from([1, 2]), BTreeSet::from([2, 3, 4, 5, 6])];
        for wanted in [HashSet::from([2]), (0..9).collect()] {
            let counts = count(&wanted, sets.iter());
            assert_eq!((counts[&2], counts.len()), (2, wanted.len()));
            assert!(
                counts
                    .iter()
                    .all(|(id, n)| *n == sets.iter().filter(|s| s.contains(id)).count() as u64)
            );
        }
    }
}
