//! Any key, and the interface for algorithms that are not built in.

use core::fmt;
use std::sync::Arc;

use crate::{primitives::UniqueId, tickets::identity::Identity};

const FINGERPRINT_CONTEXT: &str = "mosaik tickets verifying key v1";

/// Checks signatures of an algorithm that is not built in.
pub trait VerifyingAlgorithm {
    /// Returns whether `signature` is one of `header_and_claims`, which is the token's text up to
    /// its second dot. Both come from a peer: anything unexpected is `false`, never a panic.
    fn verify(&self, header_and_claims: &[u8], signature: &[u8]) -> bool;
}

/// Makes signatures, with one of the built-in keys or an algorithm of the user's own.
pub trait SigningAlgorithm {
    /// The signature of `header_and_claims`, which is the token's text up to its second dot.
    fn sign(&self, header_and_claims: &[u8]) -> Vec<u8>;
}

/// A key that verifies tokens of exactly one algorithm. Cheap to clone.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: &'static str,
    fingerprint: UniqueId,
    verifier: Arc<dyn VerifyingAlgorithm + Send + Sync>,
}

impl VerifyingKey {
    /// A key of an algorithm that is not built in.
    ///
    /// `algorithm_name` is what stands in a token's header, and what it is matched by.
    /// `key_material` only tells keys apart in [`Jwt`](crate::tickets::Jwt)'s signature, through a
    /// hash that doesn't reveal it.
    ///
    /// # Panics
    ///
    /// When the name is empty or `none`, in any case: that is the mark of unsigned tokens.
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::tickets::{Jwt, VerifyingAlgorithm, VerifyingKey};
    ///
    /// struct Rsa { /* the public key */ }
    ///
    /// impl VerifyingAlgorithm for Rsa {
    ///     fn verify(&self, header_and_claims: &[u8], signature: &[u8]) -> bool {
    ///         // … the check of a library …
    ///         # false
    ///     }
    /// }
    ///
    /// let validator = Jwt::with_key(VerifyingKey::custom(Rsa {}, b"the public key", "RS256"));
    /// ```
    pub fn custom(
        algo: impl VerifyingAlgorithm + Send + Sync + 'static,
        key_material: impl AsRef<[u8]>,
        algorithm_name: &'static str,
    ) -> Self {
        assert_usable_name(algorithm_name);
        Self::built_in(algo, key_material.as_ref(), algorithm_name)
    }

    pub(super) fn built_in(
        verifier: impl VerifyingAlgorithm + Send + Sync + 'static,
        key_material: &[u8],
        algorithm: &'static str,
    ) -> Self {
        Self {
            algorithm,
            fingerprint: fingerprint(algorithm, key_material),
            verifier: Arc::new(verifier),
        }
    }

    /// The name in the header of the tokens that this key verifies.
    pub(crate) const fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// Tells keys apart without revealing them.
    pub(crate) const fn fingerprint(&self) -> UniqueId {
        self.fingerprint
    }

    pub(crate) fn verify(&self, header_and_claims: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify(header_and_claims, signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A key that signs tokens. Cheap to clone.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: &'static str,
    signer: Arc<dyn SigningAlgorithm + Send + Sync>,
}

impl SigningKey {
    /// Key of an algorithm that is not built in; its name appears in the header of every token.
    ///
    /// # Panics
    ///
    /// When the name is empty or `none`, in any case: that is the mark of unsigned tokens.
    pub fn custom(
        key: impl SigningAlgorithm + Send + Sync + 'static,
        algorithm_name: &'static str,
    ) -> Self {
        assert_usable_name(algorithm_name);
        Self::built_in(key, algorithm_name)
    }

    pub(super) fn built_in(
        signer: impl SigningAlgorithm + Send + Sync + 'static,
        algorithm: &'static str,
    ) -> Self {
        Self {
            algorithm,
            signer: Arc::new(signer),
        }
    }

    pub(crate) const fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    pub(crate) fn sign(&self, header_and_claims: &[u8]) -> Vec<u8> {
        self.signer.sign(header_and_claims)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A check that is a closure over a parsed key.
pub(super) struct Check<F>(pub(super) F);

impl<F: Fn(&[u8], &[u8]) -> bool> VerifyingAlgorithm for Check<F> {
    fn verify(&self, header_and_claims: &[u8], signature: &[u8]) -> bool {
        (self.0)(header_and_claims, signature)
    }
}

pub(super) fn fingerprint(algorithm: &str, key_material: &[u8]) -> UniqueId {
    let mut identity = Identity::new(FINGERPRINT_CONTEXT);
    identity.bytes(algorithm.as_bytes()).bytes(key_material);
    identity.finish()
}

fn assert_usable_name(name: &str) {
    assert!(
        !name.is_empty() && !name.eq_ignore_ascii_case("none"),
        "a signature algorithm must have a name other than `none`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tickets::{Hs256, Hs384};

    struct Never;

    impl VerifyingAlgorithm for Never {
        fn verify(&self, _: &[u8], _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    #[should_panic(expected = "other than `none`")]
    fn unsigned_tokens_have_no_key() {
        let _ = VerifyingKey::custom(Never, b"", "NoNe");
    }

    #[test]
    fn fingerprints_follow_algorithm_and_material_and_hide_it() {
        let of = |key: VerifyingKey| key.fingerprint();
        let hex = "ab".repeat(32);
        let text = of(VerifyingKey::custom(Never, &hex, "X"));
        assert_eq!(text, of(VerifyingKey::custom(Never, &hex, "X")));
        assert_ne!(text, of(VerifyingKey::custom(Never, &hex, "Y")));
        assert_ne!(text, of(VerifyingKey::custom(Never, [0xab; 32], "X")));
        assert_ne!(text.as_bytes(), &[0xab; 32], "hex digits are not decoded");
        assert_ne!(
            of(Hs256::new([1; 32]).into()),
            of(Hs384::new([1; 48]).into())
        );
        let debug = format!("{:?}", VerifyingKey::from(Hs256::new([7; 32])));
        assert_eq!(debug, "VerifyingKey { algorithm: \"HS256\", .. }");
    }
}
