//! Encodings of a peer's keys. The transport's types are in memory, their bytes are ours: what a peer
//! reads must not change with a version of the transport.
//!
//! A field names the module of its encoding: `#[serde(with = "wire::peer_id")]`.

use iroh::Signature;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Digest, PeerId};

/// A peer id as it is encoded: the 32 bytes of the public key, or hex digits where people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WirePeerId(pub(crate) PeerId);

impl Serialize for WirePeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Digest::from_bytes(*self.0.as_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WirePeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = Digest::deserialize(deserializer)?;
        Self::try_from(&id).map_err(D::Error::custom)
    }
}

impl TryFrom<&Digest> for WirePeerId {
    type Error = &'static str;

    fn try_from(id: &Digest) -> Result<Self, Self::Error> {
        let peer = PeerId::from_bytes(id.as_bytes());
        peer.map(Self).map_err(|_| "a peer id is no public key")
    }
}

/// A signature as it is encoded: its 64 bytes, in two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireSignature(Digest, Digest);

impl From<&Signature> for WireSignature {
    fn from(signature: &Signature) -> Self {
        let bytes = signature.to_bytes();
        let (mut first, mut second) = ([0; 32], [0; 32]);
        first.copy_from_slice(&bytes[..32]);
        second.copy_from_slice(&bytes[32..]);
        Self(Digest::from_bytes(first), Digest::from_bytes(second))
    }
}

impl From<WireSignature> for Signature {
    fn from(WireSignature(first, second): WireSignature) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(first.as_bytes());
        bytes[32..].copy_from_slice(second.as_bytes());
        Self::from_bytes(&bytes)
    }
}

/// Encoding of a peer id, as [`WirePeerId`].
pub(crate) mod peer_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{PeerId, WirePeerId};

    pub(crate) fn serialize<S: Serializer>(
        peer: &PeerId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        WirePeerId(*peer).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PeerId, D::Error> {
        WirePeerId::deserialize(deserializer).map(|peer| peer.0)
    }
}

/// Encoding of a peer id, or of none.
pub(crate) mod optional_peer_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{PeerId, WirePeerId};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        peer: &Option<PeerId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        peer.map(WirePeerId).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PeerId>, D::Error> {
        let peer = Option::<WirePeerId>::deserialize(deserializer)?;
        Ok(peer.map(|peer| peer.0))
    }
}

/// Encoding of a list of peer ids, of which a reader takes 64.
pub(crate) mod peer_ids {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Digest, PeerId, WirePeerId};

    /// Peer ids that are read: each takes some time to be checked.
    const MAX_READ: usize = 64;

    pub(crate) fn serialize<S: Serializer>(
        peers: &[PeerId],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(peers.iter().copied().map(WirePeerId))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<PeerId>, D::Error> {
        let ids = Vec::<Digest>::deserialize(deserializer)?;
        let peers = ids.iter().take(MAX_READ).map(WirePeerId::try_from);
        let peers = peers.map(|peer| peer.map(|peer| peer.0).map_err(D::Error::custom));
        peers.collect()
    }
}

/// Encoding of a signature, as [`WireSignature`].
pub(crate) mod signature {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Signature, WireSignature};

    pub(crate) fn serialize<S: Serializer>(
        signature: &Signature,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        WireSignature::from(signature).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Signature, D::Error> {
        WireSignature::deserialize(deserializer).map(Into::into)
    }
}

#[cfg(test)]
#[path = "recorded/wire_tests.rs"]
mod tests;
