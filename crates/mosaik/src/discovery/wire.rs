//! All that discovery puts on the network.
//!
//! Types that carry entries are generic over them: what is sent holds [`SignedPeerEntry`], what is
//! received holds [`UnverifiedEntry`], which has the same bytes and is verified only when it is
//! wanted.
//!
//! [`SignedPeerEntry`]: crate::tickets::SignedPeerEntry
//! [`UnverifiedEntry`]: crate::tickets::UnverifiedEntry

use iroh::{SecretKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    primitives::{
        Digest, NetworkId, PeerId,
        wire::{self, WirePeerId},
    },
    tickets::{
        PeerEntryVersion,
        wire::{bounded, peers},
    },
};

/// Protocol of the gossip topic.
pub(crate) const ANNOUNCE_ALPN: &[u8] = b"/mosaik/announce";
/// Protocol of catalog syncs.
pub(crate) const SYNC_ALPN: &[u8] = b"/mosaik/catalog-sync";
/// Protocol of pings and probes.
pub(crate) const PING_ALPN: &[u8] = b"/mosaik/discovery/ping/1.0";
/// A range of at most this many entries is listed instead of fingerprinted.
pub(crate) const MAX_LISTED: usize = 16;
/// Ranges of one turn: each part of a catalog that is split holds an entry, and so a side has no
/// more of them than a catalog has entries.
pub(crate) const MAX_RANGES: usize = super::config::MAX_MAX_PEERS;

/// A gossip message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Announcement<E> {
    /// A peer's whole entry. `stamp_ms` is when the message was sent, by the sender's clock.
    Entry { stamp_ms: u64, entry: E },
    /// A heartbeat: the entry with this content has this version now, and the owner's signature
    /// over that proves it. Also announces entries too large for one message.
    Heartbeat {
        stamp_ms: u64,
        #[serde(with = "wire::peer_id")]
        peer: PeerId,
        version: PeerEntryVersion,
        content: Digest,
        #[serde(with = "wire::signature")]
        signature: Signature,
    },
    /// A departure announcement.
    Departure(Goodbye),
    /// A peer can't reach this one, whose entry had this version. It refutes that with a newer
    /// version, or is gone.
    Suspicion {
        #[serde(with = "wire::peer_id")]
        peer: PeerId,
        version: PeerEntryVersion,
    },
}

/// A signed departure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Goodbye {
    #[serde(with = "wire::peer_id")]
    pub(crate) peer: PeerId,
    pub(crate) network: NetworkId,
    pub(crate) version: PeerEntryVersion,
    pub(crate) time_ms: u64,
    #[serde(with = "wire::signature")]
    signature: Signature,
}

impl Goodbye {
    const CONTEXT: &'static [u8] = b"mosaik discovery goodbye signature v1\0";

    pub(crate) fn new(
        network: NetworkId,
        version: PeerEntryVersion,
        time_ms: u64,
        secret: &SecretKey,
    ) -> Self {
        let signature = secret.sign(&Self::message(&network, version, time_ms));
        Self {
            peer: secret.public(),
            network,
            version,
            time_ms,
            signature,
        }
    }

    pub(crate) fn is_signed(&self) -> bool {
        let message = Self::message(&self.network, self.version, self.time_ms);
        self.peer.verify(&message, &self.signature).is_ok()
    }

    fn message(network: &NetworkId, version: PeerEntryVersion, time_ms: u64) -> Vec<u8> {
        let mut message = Self::CONTEXT.to_vec();
        message.extend_from_slice(network.as_bytes());
        for part in [version.start_ms(), version.update_ms(), time_ms] {
            message.extend_from_slice(&part.to_le_bytes());
        }
        message
    }
}

/// One side's move in a catalog sync; the sides take turns, the initiator begins and ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SyncTurn<E> {
    /// Parts of the id space that are still to be compared: ascending and disjoint, so that what
    /// follows from a turn is bounded by the catalogs.
    #[serde(deserialize_with = "ranges")]
    pub(crate) ranges: Vec<Range>,
    /// Entries that the sender of this turn asks for.
    #[serde(serialize_with = "peers::serialize", deserialize_with = "wanted")]
    pub(crate) want: Vec<PeerId>,
    /// Entries that the other side lacks or asked for.
    pub(crate) entries: Vec<E>,
    /// Peers that the sender knows to have departed, up to these versions.
    #[serde(serialize_with = "items", deserialize_with = "departed")]
    pub(crate) departed: Vec<(PeerId, PeerEntryVersion)>,
}

impl<E> SyncTurn<E> {
    pub(crate) const fn empty() -> Self {
        Self {
            ranges: Vec::new(),
            want: Vec::new(),
            entries: Vec::new(),
            departed: Vec::new(),
        }
    }

    /// Returns whether the sender has nothing more to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
            && self.want.is_empty()
            && self.entries.is_empty()
            && self.departed.is_empty()
    }
}

/// Summary of the entries that one side holds in a part of the id space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    /// First id, inclusive.
    pub(crate) from: [u8; 32],
    /// First id behind the range; `None` is the end of the space.
    pub(crate) to: Option<[u8; 32]>,
    pub(crate) summary: Summary,
}

/// The content of a range, in full or as a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Summary {
    Fingerprint {
        count: u64,
        sum: u128,
    },
    /// At most [`MAX_LISTED`], ordered by id.
    List(#[serde(serialize_with = "items", deserialize_with = "listed")] Vec<Item>),
}

/// A peer, and the version of its entry.
pub(crate) type Item = (PeerId, PeerEntryVersion);

impl Range {
    /// Returns whether the bounds form a part of the id space, and the listed items lie in it, in
    /// order.
    fn is_sound(&self) -> bool {
        let ends_after = |id: &[u8; 32]| self.to.is_none_or(|to| *id < to);
        let listed: &[Item] = match &self.summary {
            Summary::List(items) => items,
            Summary::Fingerprint { .. } => &[],
        };
        let mut ids = listed.iter().map(|(id, _)| id.as_bytes());
        ends_after(&self.from)
            && ids.clone().is_sorted_by(|one, next| one < next)
            && ids.all(|id| self.from <= *id && ends_after(id))
    }

    fn is_before(&self, next: &Self) -> bool {
        self.to.is_some_and(|to| to <= next.from)
    }
}

fn ranges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Range>, D::Error> {
    let ranges: Vec<Range> = bounded(deserializer, MAX_RANGES)?;
    if ranges.iter().all(Range::is_sound) && ranges.is_sorted_by(Range::is_before) {
        Ok(ranges)
    } else {
        Err(D::Error::custom("ranges are not ascending and disjoint"))
    }
}

fn wanted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PeerId>, D::Error> {
    peers::bounded(deserializer, MAX_RANGES)
}

fn departed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
    bounded_items(deserializer, MAX_RANGES)
}

fn listed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
    bounded_items(deserializer, MAX_LISTED)
}

fn items<S: Serializer>(items: &[Item], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(|(id, version)| (WirePeerId(*id), version)))
}

fn bounded_items<'de, D: Deserializer<'de>>(
    deserializer: D,
    max: usize,
) -> Result<Vec<Item>, D::Error> {
    let items: Vec<(WirePeerId, PeerEntryVersion)> = bounded(deserializer, max)?;
    Ok(items
        .into_iter()
        .map(|(id, version)| (id.0, version))
        .collect())
}

/// A question on a ping link. Each is answered once, then the link is closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum PingRequest<E> {
    /// Are you there, and what is your entry? Answered with [`PingReply::Entry`].
    Ping,
    /// Are you there? `fingerprint` sums up the content of the asker's catalog. Answered with
    /// [`PingReply::Alive`].
    Probe { fingerprint: u128 },
    /// Is that peer there? Answered with [`PingReply::Reached`].
    ProbeFor {
        #[serde(with = "wire::peer_id")]
        peer: PeerId,
    },
    /// Here is my entry. Answered with [`PingReply::Alive`] once it is merged.
    Push { entry: E },
    /// I am leaving. Answered with [`PingReply::Alive`].
    Leave(Goodbye),
}

/// The answer to a [`PingRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum PingReply<E> {
    /// The answerer's current entry.
    Entry(E),
    /// The answerer is there. `fingerprint` sums up the content of its catalog; `suspected` is
    /// the asker's version up to which the answerer holds it for gone or suspects it.
    Alive {
        fingerprint: u128,
        suspected: Option<PeerEntryVersion>,
    },
    /// Result of the probe: true if the peer answered.
    Reached(bool),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tickets::{SignedPeerEntry, UnverifiedEntry};

    /// Each id costs its receiver a point decompression, and has to be looked up.
    #[test]
    fn a_turn_asks_and_tells_of_no_more_peers_than_a_catalog_has() {
        let id = iroh::SecretKey::generate().public();
        let version = PeerEntryVersion::from_millis(1, 1);
        let decodes = |want: usize, departed: usize| {
            let turn = SyncTurn::<SignedPeerEntry> {
                want: vec![id; want],
                departed: vec![(id, version); departed],
                ..SyncTurn::empty()
            };
            let encoded = postcard::to_allocvec(&turn).unwrap();
            postcard::from_bytes::<SyncTurn<UnverifiedEntry>>(&encoded).is_ok()
        };
        assert!(decodes(MAX_RANGES, 0) && decodes(0, MAX_RANGES));
        assert!(!decodes(MAX_RANGES + 1, 0) && !decodes(0, MAX_RANGES + 1));
    }
}

#[cfg(test)]
#[path = "recorded/wire_tests.rs"]
mod vectors;
