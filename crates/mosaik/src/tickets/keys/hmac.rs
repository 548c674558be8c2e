//! Shared secrets: a key that can verify can also sign.

use core::{
    fmt,
    hash::{Hash, Hasher},
};

use ::hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::{
    InvalidKey, SigningAlgorithm, SigningKey, VerifyingAlgorithm, VerifyingKey,
    error::{hex_or_panic, try_hex},
    wrapper::fingerprint,
};
use crate::primitives::Redacted;

macro_rules! shared_secrets {
    ($($name:ident: $algorithm:literal, $len:literal, $hash:ident;)*) => {$(
        #[doc = concat!("The shared secret of `", $algorithm, "`, ", $len, " bytes.")]
        ///
        /// It must be random: a password can be guessed from any token. Compared in constant
        /// time. As it can be copied anywhere, it is not wiped from memory.
        #[derive(Clone, Copy)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes the bytes of the secret.
            pub const fn new(key: [u8; $len]) -> Self {
                Self(key)
            }

            /// The same as [`new`](Self::new), as the public keys have it.
            ///
            /// # Errors
            ///
            /// Never: every value is valid.
            pub const fn try_new(key: [u8; $len]) -> Result<Self, InvalidKey> {
                Ok(Self(key))
            }

            #[doc = concat!("Reads exactly ", $len, " bytes of hex digits, in either case.")]
            ///
            /// # Panics
            ///
            /// On anything else; in a `const`, that is a compile error.
            pub const fn hex(input: &str) -> Self {
                Self(hex_or_panic(input))
            }

            /// The same as [`hex`](Self::hex), for input that may be wrong.
            ///
            /// # Errors
            ///
            /// When the text has another length, or other characters than hex digits.
            pub fn try_from_hex(input: &str) -> Result<Self, InvalidKey> {
                try_hex(input).map(Self)
            }

            /// A new secret.
            pub fn random() -> Self {
                Self(rand::random())
            }

            fn mac(&self, message: &[u8]) -> Hmac<$hash> {
                let mac = Hmac::<$hash>::new_from_slice(&self.0);
                mac.expect("HMAC takes keys of any length").chain_update(message)
            }
        }

        impl VerifyingAlgorithm for $name {
            fn verify(&self, header_and_claims: &[u8], signature: &[u8]) -> bool {
                self.mac(header_and_claims).verify_slice(signature).is_ok()
            }
        }

        impl SigningAlgorithm for $name {
            fn sign(&self, header_and_claims: &[u8]) -> Vec<u8> {
                self.mac(header_and_claims).finalize().into_bytes().to_vec()
            }
        }

        impl From<$name> for VerifyingKey {
            fn from(key: $name) -> Self {
                Self::built_in(key, &key.0, $algorithm)
            }
        }

        impl From<$name> for SigningKey {
            fn from(key: $name) -> Self {
                Self::built_in(key, $algorithm)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        /// Hashes the fingerprint, so that no table is ordered by the secret itself.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                fingerprint($algorithm, &self.0).hash(state);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&Redacted(())).finish()
            }
        }
    )*};
}

shared_secrets! {
    Hs256: "HS256", 32, Sha256;
    Hs384: "HS384", 48, Sha384;
    Hs512: "HS512", 64, Sha512;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    const CONST_KEY: Hs256 =
        Hs256::hex("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF");

    /// RFC 7515, appendix A.1: its key is longer than ours, so the construction is checked.
    #[test]
    fn rfc_7515_hs256() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = BASE64URL_NOPAD.decode(key.as_bytes()).unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let mac = mac.chain_update(input).finalize().into_bytes();
        assert_eq!(
            BASE64URL_NOPAD.encode(&mac),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    /// RFC 4231, test case 1, whose key is padded with the zeros that HMAC pads with itself.
    #[test]
    fn rfc_4231_case_1() {
        fn padded<const N: usize>() -> [u8; N] {
            core::array::from_fn(|i| if i < 20 { 0x0b } else { 0 })
        }
        let sign = |key: &dyn SigningAlgorithm| hex::encode(key.sign(b"Hi There"));
        assert_eq!(
            sign(&Hs256::new(padded())),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            sign(&Hs384::new(padded())),
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c\
             faea9ea9076ede7f4af152e8b2fa9cb6"
        );
        assert_eq!(
            sign(&Hs512::new(padded())),
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        );
    }

    #[test]
    fn only_the_whole_mac_verifies() {
        let mac = CONST_KEY.sign(b"message");
        assert!(CONST_KEY.verify(b"message", &mac));
        assert!(!CONST_KEY.verify(b"massage", &mac));
        assert!(!CONST_KEY.verify(b"message", &mac[..16]));
        assert!(!CONST_KEY.verify(b"message", b""));
        assert!(!Hs256::random().verify(b"message", &mac));
    }

    #[test]
    fn secrets_compare_hash_and_hide() {
        let other = Hs256::random();
        assert_ne!(CONST_KEY, other);
        assert_eq!(HashSet::from([CONST_KEY, CONST_KEY, other]).len(), 2);
        assert_eq!(format!("{CONST_KEY:?}"), "Hs256(<redacted>)");
        assert_eq!(
            Hs384::try_from_hex("00"),
            Err(InvalidKey::Hex { bytes: 48 })
        );
        assert!(Hs512::try_from_hex(&"zz".repeat(64)).is_err());
        assert_eq!(Hs256::try_new(CONST_KEY.0), Ok(CONST_KEY));
        assert_eq!(Hs384::try_new([7; 48]), Ok(Hs384::new([7; 48])));
        assert_eq!(Hs512::try_new([7; 64]), Ok(Hs512::new([7; 64])));
    }

    #[test]
    #[should_panic(expected = "two hex digits per byte")]
    fn hex_of_another_length_panics() {
        let _ = Hs256::hex("00");
    }
}
