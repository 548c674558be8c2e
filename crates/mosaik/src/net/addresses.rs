//! Address book of peers: addresses from the catalog, and those given for a dial.

use std::collections::{BTreeSet, HashMap, VecDeque};

use iroh::{EndpointAddr, TransportAddr, address_lookup::memory::MemoryLookup};
use parking_lot::Mutex;

use crate::primitives::PeerId;

/// Peers whose given addresses are remembered; those that were given first are forgotten first.
const MAX_GIVEN: usize = 4096;
/// Addresses that are remembered for one peer; beyond, the latest ones replace all others.
const MAX_GIVEN_PER_PEER: usize = 16;

type Addresses = BTreeSet<TransportAddr>;

/// The addresses of peers, for the endpoint to look up.
///
/// Both kinds are tried together. A peer's own word, which the catalog has, counts for as long as
/// the peer is in the catalog, and so takes no more memory than that.
#[derive(Debug)]
pub(super) struct AddressBook {
    lookup: MemoryLookup,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    learned: HashMap<PeerId, Addresses>,
    given: HashMap<PeerId, Addresses>,
    /// The peers with given addresses, in the order in which they came.
    order: VecDeque<PeerId>,
}

impl AddressBook {
    pub(super) fn new(lookup: MemoryLookup) -> Self {
        Self {
            lookup,
            inner: Mutex::default(),
        }
    }

    /// Replaces the addresses that a peer states itself.
    pub(super) fn learn(&self, addr: &EndpointAddr) {
        let mut inner = self.inner.lock();
        inner.learned.insert(addr.id, addr.addrs.clone());
        self.publish(&inner, addr.id);
    }

    /// Forgets the addresses that a peer states itself.
    pub(super) fn forget(&self, peer: PeerId) {
        let mut inner = self.inner.lock();
        inner.learned.remove(&peer);
        self.publish(&inner, peer);
    }

    /// Remembers addresses that were given for dialing a peer.
    pub(super) fn give(&self, addr: &EndpointAddr) {
        let mut inner = self.inner.lock();
        let is_new = !inner.given.contains_key(&addr.id);
        let given = inner.given.entry(addr.id).or_default();
        if given.union(&addr.addrs).count() > MAX_GIVEN_PER_PEER {
            given.clear();
        }
        given.extend(addr.addrs.iter().cloned());
        self.publish(&inner, addr.id);
        if !is_new {
            return;
        }
        inner.order.push_back(addr.id);
        if inner.order.len() > MAX_GIVEN
            && let Some(first) = inner.order.pop_front()
        {
            inner.given.remove(&first);
            self.publish(&inner, first);
        }
    }

    fn publish(&self, inner: &Inner, peer: PeerId) {
        let known = [inner.learned.get(&peer), inner.given.get(&peer)];
        let addrs: Addresses = known.into_iter().flatten().flatten().cloned().collect();
        if addrs.is_empty() {
            self.lookup.remove_endpoint_info(peer);
        } else {
            self.lookup
                .set_endpoint_info(EndpointAddr::from_parts(peer, addrs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    fn peer() -> PeerId {
        SecretKey::generate().public()
    }

    fn at(peer: PeerId, port: u16) -> EndpointAddr {
        EndpointAddr::from(peer).with_ip_addr(([127, 0, 0, 1], port).into())
    }

    fn ports(book: &AddressBook, peer: PeerId) -> Vec<u16> {
        let known = book.lookup.get_endpoint_info(peer);
        let addr = known.map(|info| info.into_endpoint_addr());
        let ports = addr.iter().flat_map(EndpointAddr::ip_addrs);
        ports.map(|addr| addr.port()).collect()
    }

    #[test]
    fn what_was_learned_is_forgotten_and_what_was_given_stays() {
        let book = AddressBook::new(MemoryLookup::new());
        let (one, two) = (peer(), peer());
        book.give(&at(one, 1));
        book.learn(&at(one, 2));
        book.learn(&at(one, 3));
        book.learn(&at(two, 4));
        assert_eq!(ports(&book, one), [1, 3]);
        for peer in [one, two] {
            book.forget(peer);
        }
        assert_eq!(ports(&book, one), [1]);
        assert!(ports(&book, two).is_empty());
        assert!(book.lookup.get_endpoint_info(two).is_none());
        assert!(book.inner.lock().learned.is_empty());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let book = AddressBook::new(MemoryLookup::new());
        let bytes = |n: usize| blake3::hash(&n.to_le_bytes());
        let peer = |n: usize| SecretKey::from_bytes(bytes(n).as_bytes()).public();
        for n in 0..=MAX_GIVEN {
            book.give(&at(peer(n), 1));
        }
        assert!(ports(&book, peer(0)).is_empty());
        assert_eq!(ports(&book, peer(1)), [1]);
        assert_eq!(book.inner.lock().given.len(), MAX_GIVEN);
        for port in 1..=17 {
            book.give(&at(peer(1), port));
        }
        assert_eq!(ports(&book, peer(1)), [17]);
        assert_eq!(book.inner.lock().order.len(), MAX_GIVEN);
    }
}
