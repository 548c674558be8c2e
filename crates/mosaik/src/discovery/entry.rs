//! Operations on entries whose failures are errors of discovery.

use iroh::{EndpointAddr, SecretKey};

use super::Error;
use crate::tickets::{PeerEntry, SignedPeerEntry};

impl PeerEntry {
    /// Replaces the address. The version always becomes greater.
    ///
    /// # Errors
    ///
    /// [`Error::PeerIdChanged`] when the address is another peer's.
    pub fn update_address(self, address: EndpointAddr) -> Result<Self, Error> {
        self.with_address(address)
            .map_err(|(current, attempted)| Error::PeerIdChanged(current, attempted))
    }

    /// Signs the entry.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecretKey`] when the key is not that of the peer that the entry describes.
    pub fn sign(self, secret: &SecretKey) -> Result<SignedPeerEntry, Error> {
        self.signed_by(secret)
            .map_err(|(key, entry)| Error::InvalidSecretKey(key, entry))
    }
}
