//! Record in a slot: the addresses of one peer.

use std::{net::SocketAddr, str::FromStr};

use chrono::{DateTime, Utc};
use iroh::{EndpointAddr, RelayUrl, TransportAddr};
use pkarr::{
    SignedPacket, Timestamp,
    dns::{
        Name,
        rdata::{RData, TXT},
    },
    errors::SignedPacketBuildError,
};

use super::{
    Slot,
    error::{ResolveError, WriteError},
};
use crate::primitives::{PeerId, Reach};

/// Time in seconds that caches may keep a record, and that a fresh claim may be invisible.
pub(super) const TTL_SECS: u32 = 600;
/// Socket addresses in a record at most.
const MAX_ADDRESSES: usize = 8;
/// Relays in a record at most.
const MAX_RELAYS: usize = 2;

const ID: &str = "_id";
const ADDRESS: &str = "_ip";
const RELAY: &str = "_r";

/// A peer of a network, as published in the DHT.
///
/// Encoded as a DNS packet of at most 1000 bytes with one TXT record `_id`, the peer id in base58,
/// one `_ip` per socket address and one `_r` per relay URL. Relays come first, then public
/// addresses, then private ones; what does not fit is left out from the end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The peer that published the record, as it states itself.
    pub peer: PeerId,
    /// Its socket addresses, the most useful ones first.
    pub addresses: Vec<SocketAddr>,
    /// Its relays.
    pub relays: Vec<RelayUrl>,
    /// Time of publication, by the publisher's clock.
    pub published_at: DateTime<Utc>,
}

impl Record {
    /// The record of a peer at an address, published now.
    pub(super) fn new(addr: &EndpointAddr) -> Self {
        let mut addresses: Vec<_> = addr.ip_addrs().copied().collect();
        addresses.sort_by_key(|addr| Reach::of(addr.ip()));
        // Of no use to another machine, but better than nothing on one.
        let useful = addresses.partition_point(|addr| Reach::of(addr.ip()) < Reach::Machine);
        if useful > 0 {
            addresses.truncate(useful);
        }
        addresses.truncate(MAX_ADDRESSES);
        Self {
            peer: addr.id,
            addresses,
            relays: addr.relay_urls().take(MAX_RELAYS).cloned().collect(),
            published_at: Utc::now(),
        }
    }

    /// The address to dial.
    pub fn addr(&self) -> EndpointAddr {
        let addresses = self.addresses.iter().copied().map(TransportAddr::Ip);
        let relays = self.relays.iter().cloned().map(TransportAddr::Relay);
        EndpointAddr::from_parts(self.peer, relays.chain(addresses))
    }

    /// Returns whether both have the same content, whenever they were published.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        self.addr() == other.addr()
    }

    /// Signs this record for a slot. Leaves out addresses from the end until it fits, in the
    /// record too.
    pub(super) fn sign(&mut self, slot: &Slot, sequence: i64) -> Result<SignedPacket, WriteError> {
        loop {
            match self
                .packet()
                .timestamp(timestamp(sequence))
                .sign(slot.keys())
            {
                Ok(packet) => return Ok(packet),
                Err(SignedPacketBuildError::PacketTooLarge(_)) => {
                    let shorter = self.addresses.pop().is_some() || self.relays.pop().is_some();
                    if !shorter {
                        return Err(WriteError::Packet);
                    }
                }
                Err(_) => return Err(WriteError::Packet),
            }
        }
    }

    fn packet(&self) -> pkarr::SignedPacketBuilder {
        let id = bs58::encode(self.peer.as_bytes()).into_string();
        let relays = self.relays.iter().map(|relay| (RELAY, relay.to_string()));
        let addresses = self
            .addresses
            .iter()
            .map(|addr| (ADDRESS, addr.to_string()));
        let texts = core::iter::once((ID, id)).chain(relays).chain(addresses);
        let mut packet = SignedPacket::builder();
        for (name, text) in texts {
            if let Ok(text) = TXT::try_from(text.as_str()) {
                packet = packet.txt(Name::new_unchecked(name), text, TTL_SECS);
            }
        }
        packet
    }

    /// Reads a packet; `None` if it was withdrawn.
    pub(super) fn read(packet: &SignedPacket) -> Result<Option<Self>, ResolveError> {
        if packet.all_resource_records().next().is_none() {
            return Ok(None);
        }
        let id = texts(packet, ID)
            .next()
            .ok_or(ResolveError::Invalid("it has no peer id"))?;
        let mut bytes = [0; 32];
        let peer = match bs58::decode(id).onto(&mut bytes) {
            Ok(32) => PeerId::from_bytes(&bytes).ok(),
            _ => None,
        };
        let micros = i64::try_from(packet.timestamp().as_u64()).unwrap_or(i64::MAX);
        Ok(Some(Self {
            peer: peer.ok_or(ResolveError::Invalid("its peer id is not valid"))?,
            addresses: parsed(packet, ADDRESS),
            relays: parsed(packet, RELAY),
            published_at: DateTime::from_timestamp_micros(micros).unwrap_or_default(),
        }))
    }
}

/// Packet that marks a slot as free.
pub(super) fn withdrawal(slot: &Slot, sequence: i64) -> Result<SignedPacket, WriteError> {
    let packet = SignedPacket::builder().timestamp(timestamp(sequence));
    packet.sign(slot.keys()).map_err(|_| WriteError::Packet)
}

fn timestamp(sequence: i64) -> Timestamp {
    Timestamp::from(u64::try_from(sequence).unwrap_or_default())
}

/// All texts under a name that are valid; a packet of 1000 bytes has few.
fn texts(packet: &SignedPacket, name: &str) -> impl Iterator<Item = String> {
    packet
        .resource_records(name)
        .filter_map(|record| match &record.rdata {
            RData::TXT(text) => String::try_from(text.clone()).ok(),
            _ => None,
        })
}

fn parsed<T: FromStr>(packet: &SignedPacket, name: &str) -> Vec<T> {
    texts(packet, name)
        .filter_map(|text| text.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{discovery::bootstrap::dht::slots, primitives::Digest};
    use iroh::SecretKey;

    fn addr(texts: &[&str]) -> EndpointAddr {
        let peer = SecretKey::from_bytes(&[3; 32]).public();
        let ips = texts
            .iter()
            .map(|text| TransportAddr::Ip(text.parse().unwrap()));
        EndpointAddr::from_parts(peer, ips)
    }

    fn signed(record: &mut Record) -> SignedPacket {
        let slot = &slots(&Digest::from("example"))[0];
        record.sign(slot, 1_700_000_000_000_000).unwrap()
    }

    #[test]
    fn packets_are_as_they_were_recorded() {
        let addr = addr(&["198.51.100.7:4000", "[2a00::1]:4001"])
            .with_relay_url("https://relay.example.net".parse().unwrap());
        let packet = signed(&mut Record::new(&addr));
        crate::primitives::vectors::check(|v| {
            v.bytes(
                "packet of the DHT",
                &packet.encoded_packet(),
                "000080000000000400000000035f69643437616f6f6767363567687770636d6a \
             6f3375316e7866347468623871616833726f7834623439657564627435366977 \
             6767633779000010000100000258002d2c4779474b784d796731703953734866 \
             6d31354d6b4e5575317539544e324a7454737063646d72744755647365025f72 \
             c0100010000100000258001b1a68747470733a2f2f72656c61792e6578616d70 \
             6c652e6e65742f035f6970c01000100001000002580012113139382e35312e31 \
             30302e373a34303030c0a70010000100000258000f0e5b326130303a3a315d3a \
             34303031",
            );
        });
    }

    #[test]
    fn a_record_survives_the_packet() {
        let addr = addr(&["198.51.100.7:4000", "[2a00::1]:4001"])
            .with_relay_url("https://relay.example.net".parse().unwrap());
        let mut record = Record::new(&addr);
        let packet = signed(&mut record);
        let read = Record::read(&packet).unwrap().unwrap();
        assert_eq!(read.addr(), addr);
        assert!(read.agrees_with(&record));
        assert_eq!(read.published_at.timestamp(), 1_700_000_000);
        assert!(texts(&packet, ID).eq([bs58::encode(addr.id.as_bytes()).into_string()]));
    }

    #[test]
    fn public_addresses_come_first_and_loopback_only_alone() {
        let texts = [
            "127.0.0.1:1",
            "10.0.0.1:1",
            "169.254.0.1:1",
            "198.51.100.7:1",
            "[fd00::1]:1",
        ];
        let record = Record::new(&addr(&texts));
        let order: Vec<_> = record.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            order,
            [
                "198.51.100.7:1",
                "10.0.0.1:1",
                "[fd00::1]:1",
                "169.254.0.1:1"
            ]
        );
        assert_eq!(Record::new(&addr(&["127.0.0.1:1"])).addresses.len(), 1);
    }

    #[test]
    fn a_record_always_fits() {
        let texts: Vec<_> = (0..60)
            .map(|n| format!("[2a00:1234:5678:9abc:def0:1234:5678:{n:x}]:65535"))
            .collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let long = format!("https://{}.example.net", vec!["a".repeat(60); 4].join("."));
        let addr = addr(&texts).with_relay_url(long.parse().unwrap());
        let mut record = Record::new(&addr);
        let packet = signed(&mut record);
        assert!(packet.encoded_packet().len() <= 1000);
        let read = Record::read(&packet).unwrap().unwrap();
        assert!(read.agrees_with(&record));
        assert!(!read.addresses.is_empty() && read.relays.len() == 1);
    }

    #[test]
    fn other_packets_are_no_records() {
        let slot = &slots(&Digest::from("example"))[0];
        assert_eq!(Record::read(&withdrawal(slot, 5).unwrap()), Ok(None));
        for (name, text) in [
            ("_x", "y"),
            (ID, "0OIl"),
            (ID, "abc"),
            (ID, &"1".repeat(60)),
        ] {
            let packet = SignedPacket::builder()
                .txt(Name::new_unchecked(name), text.try_into().unwrap(), 1)
                .sign(slot.keys())
                .unwrap();
            assert!(
                matches!(Record::read(&packet), Err(ResolveError::Invalid(_))),
                "{text}"
            );
        }
    }
}
