//! The encoding of an entry: strict, so that a value has exactly one form, and bounded.
//!
//! Sets must arrive in ascending order without duplicates, addresses in their normal form, and
//! tickets without their ids, which follow from their content. A signature is over the decoded
//! value; without strictness, an altered byte that decodes to the same value would go unnoticed.

use core::{fmt, marker::PhantomData};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use iroh::{EndpointAddr, RelayUrl, TransportAddr};
use serde::{
    Deserialize, Deserializer, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{
    primitives::{Digest, PeerId, UniqueId},
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

/// An address, of the same encoding as [`EndpointAddr`]. Custom transports, which no two builds
/// need to share, are refused.
pub(crate) fn address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<EndpointAddr, D::Error> {
    let Address { id, addrs } = Address::deserialize(deserializer)?;
    let addrs = addrs
        .into_iter()
        .map(Transport::into_addr)
        .collect::<Result<Vec<_>, _>>()?;
    ascending(&addrs)?;
    Ok(EndpointAddr::from_parts(id, addrs))
}

#[derive(Deserialize)]
struct Address {
    id: PeerId,
    #[serde(deserialize_with = "addresses")]
    addrs: Vec<Transport>,
}

#[derive(Deserialize)]
enum Transport {
    Relay(String),
    Ip(SocketAddr),
}

impl Transport {
    fn into_addr<E: Error>(self) -> Result<TransportAddr, E> {
        match self {
            Self::Relay(text) => match text.parse::<RelayUrl>() {
                Ok(url) if url.as_str() == text => Ok(TransportAddr::Relay(url)),
                _ => Err(E::custom("a relay address is not a url in its normal form")),
            },
            Self::Ip(addr) => Ok(TransportAddr::Ip(addr)),
        }
    }
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Transport>, D::Error> {
    bounded(deserializer, MAX_ADDRESSES)
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
