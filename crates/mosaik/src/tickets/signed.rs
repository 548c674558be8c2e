//! An entry with its owner's signature.

use core::ops::Deref;
use std::sync::Arc;

use iroh::{SecretKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    primitives::{
        Digest, PeerId,
        wire::{WireSignature, signature},
    },
    tickets::{PeerEntry, PeerEntryVersion, entry::versioned_digest},
};

/// Prefix of the digest in the signed message, so that no other signature of the same key can be
/// taken for one of an entry.
const SIGNATURE_CONTEXT: &[u8] = b"mosaik discovery entry signature v1\0";

/// A [`PeerEntry`] with the signature of its owner.
///
/// An invalid value can't exist: it comes from the owner's own key, or from decoding, which
/// verifies. Altering any byte of an encoded value makes decoding fail. Cheap to clone.
///
/// Serialized as the pair of entry and signature.
#[derive(Debug, Clone)]
pub struct SignedPeerEntry {
    entry: Arc<PeerEntry>,
    signature: Signature,
    content: Digest,
}

impl PeerEntry {
    /// Signs the entry with the owner's key.
    ///
    /// Fails with the key's id and the entry's if they differ.
    pub(crate) fn signed_by(self, secret: &SecretKey) -> Result<SignedPeerEntry, (PeerId, PeerId)> {
        if secret.public() == self.address.id {
            Ok(SignedPeerEntry::sign(self, secret))
        } else {
            Err((secret.public(), self.address.id))
        }
    }
}

impl SignedPeerEntry {
    /// The entry alone.
    pub fn into_unsigned(self) -> PeerEntry {
        Arc::unwrap_or_clone(self.entry)
    }

    /// Signs an entry; the caller has made sure that the key is the owner's.
    pub(super) fn sign(entry: PeerEntry, secret: &SecretKey) -> Self {
        let content = entry.content_digest();
        Self {
            signature: secret.sign(&message(&content, entry.version)),
            entry: Arc::new(entry),
            content,
        }
    }

    /// Joins an entry and a signature that belongs to it.
    pub(crate) fn verify(entry: PeerEntry, signature: Signature) -> Option<Self> {
        let content = entry.content_digest();
        is_signed(entry.id(), &content, entry.version, &signature).then(|| Self {
            entry: Arc::new(entry),
            signature,
            content,
        })
    }

    /// The same content at another version, if the owner signed that.
    ///
    /// This is how a sign of life is taken in without the entry being sent again.
    pub(crate) fn reversioned(
        &self,
        version: PeerEntryVersion,
        signature: Signature,
    ) -> Option<Self> {
        is_signed(self.id(), &self.content, version, &signature).then(|| Self {
            entry: Arc::new(PeerEntry {
                version,
                ..PeerEntry::clone(&self.entry)
            }),
            signature,
            content: self.content,
        })
    }

    /// The owner's signature.
    pub(crate) const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The digest of everything but the version, computed once.
    pub(crate) const fn content(&self) -> &Digest {
        &self.content
    }

    /// The entry, shared.
    pub(crate) fn shared(&self) -> Arc<PeerEntry> {
        Arc::clone(&self.entry)
    }
}

impl Deref for SignedPeerEntry {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl AsRef<PeerEntry> for SignedPeerEntry {
    fn as_ref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl AsRef<Signature> for SignedPeerEntry {
    fn as_ref(&self) -> &Signature {
        &self.signature
    }
}

impl PartialEq for SignedPeerEntry {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature && self.entry == other.entry
    }
}

impl Eq for SignedPeerEntry {}

impl From<SignedPeerEntry> for PeerEntry {
    fn from(signed: SignedPeerEntry) -> Self {
        signed.into_unsigned()
    }
}

impl From<SignedPeerEntry> for (PeerEntry, Signature) {
    fn from(signed: SignedPeerEntry) -> Self {
        let signature = signed.signature;
        (signed.into_unsigned(), signature)
    }
}

impl From<&SignedPeerEntry> for PeerEntry {
    fn from(signed: &SignedPeerEntry) -> Self {
        Self::clone(signed)
    }
}

impl From<&SignedPeerEntry> for PeerId {
    fn from(signed: &SignedPeerEntry) -> Self {
        *signed.id()
    }
}

impl Serialize for SignedPeerEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&*self.entry, WireSignature::from(&self.signature)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedPeerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UnverifiedEntry::deserialize(deserializer)?
            .verify()
            .ok_or_else(|| de::Error::custom("the signature is not the owner's"))
    }
}

/// An entry and a signature that may or may not belong to it.
///
/// It has the bytes of a [`SignedPeerEntry`]. Verifying costs far more than decoding; a receiver
/// looks at owner, network and version first.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct UnverifiedEntry(PeerEntry, #[serde(with = "signature")] Signature);

impl UnverifiedEntry {
    /// Claimed content of the entry.
    pub(crate) const fn entry(&self) -> &PeerEntry {
        &self.0
    }

    /// The signed entry, if the signature is the owner's.
    pub(crate) fn verify(self) -> Option<SignedPeerEntry> {
        SignedPeerEntry::verify(self.0, self.1)
    }
}

fn is_signed(
    owner: &PeerId,
    content: &Digest,
    version: PeerEntryVersion,
    signature: &Signature,
) -> bool {
    owner.verify(&message(content, version), signature).is_ok()
}

fn message(content: &Digest, version: PeerEntryVersion) -> Vec<u8> {
    [
        SIGNATURE_CONTEXT,
        versioned_digest(content, version).as_bytes(),
    ]
    .concat()
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
