//! Key pairs on Ed25519.

use core::fmt;

use ed25519_dalek::{Signature, Signer};
use zeroize::Zeroize;

use super::{
    InvalidKey, SigningAlgorithm, SigningKey, VerifyingKey,
    error::{hex_or_panic, try_hex},
    wrapper::Check,
};
use crate::primitives::Redacted;

const ALGORITHM: &str = "EdDSA";
const LEN: usize = 32;

/// The public key of `EdDSA` on Ed25519, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EdDsa([u8; LEN]);

impl EdDsa {
    /// Takes the bytes as they are. Whether they are a key shows when they are made a
    /// [`VerifyingKey`], which panics if not; see [`try_new`](Self::try_new).
    pub const fn new(key: [u8; LEN]) -> Self {
        Self(key)
    }

    /// Takes the bytes of a key.
    ///
    /// # Errors
    ///
    /// When they are not a point on the curve.
    pub fn try_new(key: [u8; LEN]) -> Result<Self, InvalidKey> {
        Self(key).point().map(|_| Self(key))
    }

    /// Reads exactly 32 bytes of hex digits, in either case.
    ///
    /// # Panics
    ///
    /// On anything else; in a `const`, that is a compile error.
    pub const fn hex(input: &str) -> Self {
        Self(hex_or_panic(input))
    }

    /// Reads the hex digits of a key.
    ///
    /// # Errors
    ///
    /// When the text is not hex of this length, or not a point on the curve.
    pub fn try_from_hex(input: &str) -> Result<Self, InvalidKey> {
        try_hex(input).and_then(Self::try_new)
    }

    fn point(&self) -> Result<ed25519_dalek::VerifyingKey, InvalidKey> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| InvalidKey::Point)
    }
}

impl fmt::Debug for EdDsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EdDsa").field(&hex::encode(self.0)).finish()
    }
}

/// # Panics
///
/// When the bytes are not a point on the curve.
impl From<EdDsa> for VerifyingKey {
    fn from(key: EdDsa) -> Self {
        let point = key
            .point()
            .unwrap_or_else(|error| panic!("{key:?}: {error}"));
        // Strict: keys and signatures of small order, for which one signature fits many messages,
        // verify nothing.
        let check = Check(move |message: &[u8], signature: &[u8]| {
            Signature::from_slice(signature)
                .is_ok_and(|signature| point.verify_strict(message, &signature).is_ok())
        });
        Self::built_in(check, &key.0, ALGORITHM)
    }
}

/// The secret key of `EdDSA` on Ed25519. Wiped from memory when dropped.
#[derive(Clone)]
pub struct EdDsaSigningKey(ed25519_dalek::SigningKey);

impl EdDsaSigningKey {
    /// Takes the 32 bytes of the secret; every value is valid.
    pub fn from_bytes(mut bytes: [u8; LEN]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(&bytes);
        bytes.zeroize();
        Self(key)
    }

    /// The same as [`from_bytes`](Self::from_bytes), as the other secret keys have it.
    ///
    /// # Errors
    ///
    /// Never: every value is valid.
    pub fn try_from_bytes(bytes: [u8; LEN]) -> Result<Self, InvalidKey> {
        Ok(Self::from_bytes(bytes))
    }

    /// A new key.
    pub fn random() -> Self {
        Self::from_bytes(rand::random())
    }

    /// The public key that belongs to this one.
    #[must_use]
    pub fn verifying_key(&self) -> EdDsa {
        EdDsa(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for EdDsaSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EdDsaSigningKey")
            .field(&Redacted(()))
            .finish()
    }
}

impl SigningAlgorithm for EdDsaSigningKey {
    fn sign(&self, header_and_claims: &[u8]) -> Vec<u8> {
        Signer::sign(&self.0, header_and_claims).to_vec()
    }
}

impl From<EdDsaSigningKey> for SigningKey {
    fn from(key: EdDsaSigningKey) -> Self {
        Self::built_in(key, ALGORITHM)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    /// RFC 8037, appendix A.
    #[test]
    fn rfc_8037_ed25519() {
        let secret = BASE64URL_NOPAD
            .decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let key = EdDsaSigningKey::from_bytes(secret.try_into().unwrap());
        assert_eq!(
            BASE64URL_NOPAD.encode(&key.verifying_key().0),
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
        let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = key.sign(input);
        assert_eq!(
            BASE64URL_NOPAD.encode(&signature),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let verifier = VerifyingKey::from(key.verifying_key());
        assert!(verifier.verify(input, &signature));
        assert!(!verifier.verify(b"other", &signature));
        assert!(!verifier.verify(input, &signature[1..]));
    }

    #[test]
    fn a_key_of_small_order_verifies_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let verifier = VerifyingKey::from(EdDsa::new(identity));
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!verifier.verify(b"any message", &signature));
    }

    #[test]
    fn keys_that_are_none() {
        let no_point = core::array::from_fn(|i| if i == 0 { 2 } else { 0 });
        assert_eq!(EdDsa::try_new(no_point), Err(InvalidKey::Point));
        assert_eq!(
            EdDsa::try_from_hex("ab"),
            Err(InvalidKey::Hex { bytes: 32 })
        );
        let key = EdDsaSigningKey::random();
        assert_eq!(format!("{key:?}"), "EdDsaSigningKey(<redacted>)");
        let public = key.verifying_key();
        assert_eq!(EdDsa::try_from_hex(&hex::encode(public.0)), Ok(public));
        let secret = EdDsaSigningKey::try_from_bytes([7; LEN]).unwrap();
        let same = EdDsaSigningKey::from_bytes([7; LEN]);
        assert_eq!(secret.verifying_key(), same.verifying_key());
    }
}
