//! Incoming connections whose handshakes are not finished: their number is bounded, in all and per
//! source.
//!
//! A connection counts from its first packet until the peer has proven the network. One source and
//! one peer may have few at once. When all places are taken, the newest gets that of the oldest
//! one from where most come: a peer that means it needs its place for a few round trips, those
//! that say nothing lose theirs first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use iroh::{RelayUrl, TransportAddr, endpoint::IncomingAddr};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::limits::{MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER, MAX_HALF_OPEN_PER_SOURCE};
use crate::primitives::PeerId;

/// The connections whose handshakes are not finished.
#[derive(Debug, Default)]
pub(super) struct HalfOpen(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entered: u64,
    /// In the order of their arrival.
    places: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    source: IncomingAddr,
    /// Known once the transport's own handshake is done.
    peer: Option<PeerId>,
    given_away: CancellationToken,
}

/// A place among the connections whose handshakes are not finished; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<HalfOpen>,
    number: u64,
    given_away: CancellationToken,
}

/// Coarse source of a connection, as one party can have many addresses of one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Origin {
    Ip(IpAddr),
    Relay(RelayUrl),
    Other(TransportAddr),
}

impl HalfOpen {
    /// Takes a place, unless this source has enough.
    pub(super) fn enter(self: &Arc<Self>, source: IncomingAddr) -> Option<Place> {
        let mut state = self.0.lock();
        let of_source = state.places.values().filter(|t| t.source == source);
        if of_source.count() >= MAX_HALF_OPEN_PER_SOURCE {
            return None;
        }
        if state.places.len() >= MAX_HALF_OPEN {
            state.give_one_away();
        }
        let given_away = CancellationToken::new();
        let number = state.entered;
        state.entered += 1;
        let taken = Taken {
            source,
            peer: None,
            given_away: given_away.clone(),
        };
        state.places.insert(number, taken);
        Some(Place {
            table: self.clone(),
            number,
            given_away,
        })
    }

    /// Returns whether to require address validation (QUIC Retry) of new sources.
    pub(super) fn is_crowded(&self) -> bool {
        self.0.lock().places.len() >= MAX_HALF_OPEN / 2
    }
}

impl State {
    /// Frees the place of the oldest connection from where most come.
    fn give_one_away(&mut self) {
        let mut origins = HashMap::<_, (usize, u64)>::new();
        for (number, taken) in &self.places {
            origins
                .entry(Origin::of(&taken.source))
                .or_insert((0, *number))
                .0 += 1;
        }
        let crowd = origins
            .values()
            .max_by_key(|(count, oldest)| (*count, Reverse(*oldest)));
        if let Some(taken) = crowd.and_then(|(_, oldest)| self.places.remove(oldest)) {
            taken.given_away.cancel();
        }
    }
}

impl Place {
    /// Says whose connection it is; `false` if that peer has enough.
    pub(super) fn identify(&self, peer: PeerId) -> bool {
        let mut state = self.table.0.lock();
        let of_peer = state.places.values().filter(|t| t.peer == Some(peer));
        let has_room = of_peer.count() < MAX_HALF_OPEN_PER_PEER;
        if let Some(taken) = state.places.get_mut(&self.number) {
            taken.peer = Some(peer);
        }
        has_room
    }

    /// Resolves when another connection got this place.
    pub(super) async fn given_away(&self) {
        self.given_away.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.0.lock().places.remove(&self.number);
    }
}

impl Origin {
    fn of(source: &IncomingAddr) -> Self {
        match source {
            IncomingAddr::Ip(address) => Self::Ip(match address.ip().to_canonical() {
                // A site has a whole /48.
                IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
                ip @ IpAddr::V4(_) => ip,
            }),
            // Who comes over a relay has as many ids as it likes.
            IncomingAddr::Relay { url, .. } => Self::Relay(url.clone()),
            other => Self::Other(other.clone().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures::FutureExt;

    use super::*;

    fn at(ip: [u8; 4], port: u16) -> IncomingAddr {
        IncomingAddr::Ip(SocketAddr::from((ip, port)))
    }

    fn is_given_away(place: &Place) -> bool {
        place.given_away().now_or_never().is_some()
    }

    #[test]
    fn a_source_has_few_places_at_once() {
        let table = Arc::<HalfOpen>::default();
        let mut held: Vec<_> = (0..MAX_HALF_OPEN_PER_SOURCE)
            .map(|_| table.enter(at([127, 0, 0, 1], 1)).unwrap())
            .collect();
        assert!(table.enter(at([127, 0, 0, 1], 1)).is_none());
        assert!(table.enter(at([127, 0, 0, 1], 2)).is_some());
        held.pop();
        assert!(table.enter(at([127, 0, 0, 1], 1)).is_some());
    }

    #[test]
    fn a_peer_has_few_places_at_once() {
        let table = Arc::<HalfOpen>::default();
        let peer = iroh::SecretKey::generate().public();
        let held: Vec<_> = (0..=MAX_HALF_OPEN_PER_PEER)
            .map(|n| {
                let place = table.enter(at([127, 0, 0, 1], u16::try_from(n).unwrap()));
                let place = place.unwrap();
                assert_eq!(place.identify(peer), n < MAX_HALF_OPEN_PER_PEER);
                place
            })
            .collect();
        let other = table.enter(at([127, 0, 0, 1], 1)).unwrap();
        assert!(other.identify(iroh::SecretKey::generate().public()));
        drop(held);
        assert!(other.identify(peer));
    }

    #[test]
    fn a_crowd_loses_its_oldest_place_to_who_comes() {
        let table = Arc::<HalfOpen>::default();
        let lonely = table.enter(at([10, 0, 0, 1], 1)).unwrap();
        assert!(!table.is_crowded());
        let crowd: Vec<_> = (1..MAX_HALF_OPEN)
            .map(|n| table.enter(at([10, 0, 0, 2], u16::try_from(n).unwrap())))
            .map(Option::unwrap)
            .collect();
        assert!(table.is_crowded());
        assert!(!crowd.iter().any(is_given_away));
        let newest = [1, 2].map(|port| table.enter(at([10, 0, 0, 3], port)).unwrap());
        assert!(is_given_away(&crowd[0]) && is_given_away(&crowd[1]));
        assert!(!crowd[2..].iter().chain(&newest).any(is_given_away));
        assert!(!is_given_away(&lonely));
        drop((crowd, newest, lonely));
        assert!(table.0.lock().places.is_empty());
    }

    /// Regression: ids that strangers made up for a relay were origins of their own.
    #[test]
    fn a_relay_is_one_origin() {
        let table = Arc::<HalfOpen>::default();
        let over = |n: usize| IncomingAddr::Relay {
            url: "https://relay.example.net".parse().unwrap(),
            endpoint_id: iroh::SecretKey::from_bytes(blake3::hash(&n.to_le_bytes()).as_bytes())
                .public(),
        };
        let lonely = table.enter(at([10, 0, 0, 1], 1)).unwrap();
        let crowd: Vec<_> = (1..MAX_HALF_OPEN)
            .map(|n| table.enter(over(n)).unwrap())
            .collect();
        let newest = table.enter(over(0)).unwrap();
        assert!(is_given_away(&crowd[0]));
        assert!(!is_given_away(&lonely) && !is_given_away(&newest));
    }

    #[test]
    fn of_origins_alike_the_oldest_place_is_given_away() {
        let table = Arc::<HalfOpen>::default();
        let from = |n: usize| {
            let [.., high, low] = n.to_be_bytes();
            at([10, 0, high, low], 1)
        };
        let held: Vec<_> = (0..=MAX_HALF_OPEN)
            .map(|n| table.enter(from(n)).unwrap())
            .collect();
        assert!(is_given_away(&held[0]));
        assert!(!held[1..].iter().any(is_given_away));
    }

    #[test]
    fn a_subnet_is_one_origin() {
        let of = |ip: &str| Origin::of(&IncomingAddr::Ip(SocketAddr::new(ip.parse().unwrap(), 1)));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
