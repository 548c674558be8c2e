//! The encoding of an entry: strict, so that a value has exactly one form, and bounded.
//!
//! Sets must arrive in ascending order without duplicates, addresses in their normal form, and
//! tickets without their ids, which follow from their content. A signature is over the decoded
//! value; without strictness, an altered byte that decodes to the same value would go unnoticed.
//!
//! The transport's addresses and versions have an encoding and an order of our own, which no version
//! of their libraries changes.

use core::{fmt, marker::PhantomData, str::FromStr};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use iroh::{EndpointAddr, RelayUrl, TransportAddr};
use semver::Version;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};

use crate::{
    primitives::{Digest, PeerId, UniqueId, wire::WirePeerId},
    tickets::{MAX_ADDRESSES, MAX_TICKET_BYTES, MAX_TICKETS, Ticket},
};

/// Up to `MAX` ids.
pub(crate) fn ids<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<BTreeSet<Digest>, D::Error> {
    let ids: Vec<Digest> = bounded(deserializer, MAX)?;
    ascending(&ids)?;
    Ok(ids.into_iter().collect())
}

/// Tickets, without their ids.
pub(crate) fn serialize_tickets<S: Serializer>(
    tickets: &BTreeMap<UniqueId, Ticket>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tickets.values())
}

/// Tickets, in the order of their ids.
pub(crate) fn tickets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<UniqueId, Ticket>, D::Error> {
    let tickets: Vec<Ticket> = bounded(deserializer, MAX_TICKETS)?;
    if tickets
        .iter()
        .any(|ticket| ticket.data.len() > MAX_TICKET_BYTES)
    {
        return Err(D::Error::custom(format_args!(
            "more than {MAX_TICKET_BYTES} bytes of data in a ticket"
        )));
    }
    let ids: Vec<UniqueId> = tickets.iter().map(Ticket::id).collect();
    ascending(&ids)?;
    Ok(ids.into_iter().zip(tickets).collect())
}

/// The crate version of an owner, as text.
pub(crate) mod version {
    use super::{Deserializer, Serializer, Version, parsed};

    pub(crate) fn serialize<S: Serializer>(
        version: &Version,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(version)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Version, D::Error> {
        parsed(deserializer, "a version")
    }
}

/// An address: the peer's id, and the transports by which it can be reached. Custom transports,
/// which no two builds need to share, are neither written nor read.
pub(crate) mod address {
    use super::{
        Address, Deserialize, Deserializer, EndpointAddr, Serialize, Serializer, Transport,
        ascending,
    };

    pub(crate) fn serialize<S: Serializer>(
        addr: &EndpointAddr,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Address::from(addr).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EndpointAddr, D::Error> {
        let Address { id, addrs } = Address::deserialize(deserializer)?;
        ascending(&addrs)?;
        let addrs = addrs.into_iter().map(Transport::into_addr::<D::Error>);
        Ok(EndpointAddr::from_parts(
            id.0,
            addrs.collect::<Result<Vec<_>, _>>()?,
        ))
    }
}

/// An address as it is encoded.
#[derive(Debug, Serialize, Deserialize)]
struct Address<'a> {
    id: WirePeerId,
    /// In ascending order.
    #[serde(deserialize_with = "transports")]
    addrs: Vec<Transport<'a>>,
}

/// One of a peer's transports, as it is encoded.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Transport<'a> {
    /// The relay's URL.
    Relay(Cow<'a, str>),
    Ip(Socket),
}

/// An IP address and a port. Text where people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Socket(RawSocket);

/// An IP address and a port, as they are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum RawSocket {
    V4([u8; 4], u16),
    V6([u8; 16], u16),
}

impl<'a> From<&'a EndpointAddr> for Address<'a> {
    fn from(addr: &'a EndpointAddr) -> Self {
        let addrs = addr.addrs.iter().filter_map(|addr| match addr {
            TransportAddr::Relay(url) => Some(Transport::Relay(Cow::Borrowed(url.as_str()))),
            TransportAddr::Ip(addr) => Some(Transport::Ip(Socket((*addr).into()))),
            _ => None,
        });
        let mut addrs: Vec<_> = addrs.collect();
        // The order is ours, whatever the transport's is; of an IPv6 address the zone is not written.
        addrs.sort_unstable();
        addrs.dedup();
        Self {
            id: WirePeerId(addr.id),
            addrs,
        }
    }
}

impl Transport<'_> {
    fn into_addr<E: Error>(self) -> Result<TransportAddr, E> {
        match self {
            Self::Relay(text) => match text.parse::<RelayUrl>() {
                Ok(url) if url.as_str() == text => Ok(TransportAddr::Relay(url)),
                _ => Err(E::custom("a relay address is not a url in its normal form")),
            },
            Self::Ip(Socket(raw)) => Ok(TransportAddr::Ip(raw.into())),
        }
    }
}

impl From<SocketAddr> for RawSocket {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(addr.ip().octets(), addr.port()),
            SocketAddr::V6(addr) => Self::V6(addr.ip().octets(), addr.port()),
        }
    }
}

impl From<RawSocket> for SocketAddr {
    fn from(raw: RawSocket) -> Self {
        match raw {
            RawSocket::V4(ip, port) => Self::from((ip, port)),
            RawSocket::V6(ip, port) => Self::from((ip, port)),
        }
    }
}

impl Serialize for Socket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&SocketAddr::from(self.0))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Socket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let addr: SocketAddr = parsed(deserializer, "an IP address and a port")?;
            Ok(Self(addr.into()))
        } else {
            RawSocket::deserialize(deserializer).map(Self)
        }
    }
}

fn transports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Transport<'static>>, D::Error> {
    bounded(deserializer, MAX_ADDRESSES)
}

/// A value that is encoded as text.
fn parsed<'de, D: Deserializer<'de>, T: FromStr>(
    deserializer: D,
    expected: &'static str,
) -> Result<T, D::Error> {
    struct Text<T>(&'static str, PhantomData<T>);

    impl<T: FromStr> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse()
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Text(expected, PhantomData))
}

fn ascending<T: Ord, E: Error>(items: &[T]) -> Result<(), E> {
    if items.is_sorted_by(|one, next| one < next) {
        Ok(())
    } else {
        Err(E::custom("a set is not in strictly ascending order"))
    }
}

/// A list of up to `max` items; a longer one is refused before anything is allocated for it.
pub(crate) fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    max: usize,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T>(usize, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} items", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            // The announced length is the sender's claim: it is refused early, but never trusted
            // for an allocation.
            if let Some(len) = seq.size_hint().filter(|len| *len > self.0) {
                return Err(A::Error::invalid_length(len, &self));
            }
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == self.0 {
                    return Err(A::Error::invalid_length(items.len() + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Bounded(max, PhantomData))
}

/// A list of peers.
pub(crate) mod peers {
    use super::{Deserializer, PeerId, Serializer, WirePeerId};

    pub(crate) fn serialize<S: Serializer>(
        peers: &[PeerId],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(peers.iter().copied().map(WirePeerId))
    }

    /// Up to `max` peers.
    pub(crate) fn bounded<'de, D: Deserializer<'de>>(
        deserializer: D,
        max: usize,
    ) -> Result<Vec<PeerId>, D::Error> {
        let peers: Vec<WirePeerId> = super::bounded(deserializer, max)?;
        Ok(peers.into_iter().map(|peer| peer.0).collect())
    }
}

#[cfg(test)]
#[path = "recorded/wire_tests.rs"]
mod tests;
