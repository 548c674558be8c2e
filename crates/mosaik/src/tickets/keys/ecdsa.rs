//! Key pairs on the curves P-256, P-384, P-521 and secp256k1.

use core::fmt;

use p256::ecdsa::signature::{Signer, Verifier};
use zeroize::Zeroize;

use super::{
    InvalidKey, SigningAlgorithm, SigningKey, VerifyingKey,
    error::{hex_or_panic, try_hex},
    wrapper::Check,
};
use crate::primitives::Redacted;

macro_rules! key_pairs {
    ($($public:ident / $secret:ident:
        $algorithm:literal, $curve:literal, $lib:ident, $point_len:literal, $scalar_len:literal,
        $top_mask:literal;
    )*) => {$(
        #[doc = concat!("The public key of `", $algorithm, "`: a point on ", $curve, " in ")]
        #[doc = concat!("compressed SEC1 form, ", $point_len, " bytes.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $public([u8; $point_len]);

        impl $public {
            /// Takes the bytes as they are. Whether they are a key shows when they are made a
            /// [`VerifyingKey`], which panics if not; see [`try_new`](Self::try_new).
            pub const fn new(key: [u8; $point_len]) -> Self {
                Self(key)
            }

            /// Takes the bytes of a key.
            ///
            /// # Errors
            ///
            /// When they are not a point on the curve.
            pub fn try_new(key: [u8; $point_len]) -> Result<Self, InvalidKey> {
                Self(key).point().map(|_| Self(key))
            }

            #[doc = concat!("Reads exactly ", $point_len, " bytes of hex digits, in either case.")]
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

            fn point(&self) -> Result<$lib::ecdsa::VerifyingKey, InvalidKey> {
                $lib::ecdsa::VerifyingKey::from_sec1_bytes(&self.0).map_err(|_| InvalidKey::Point)
            }
        }

        impl fmt::Debug for $public {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($public)).field(&hex::encode(self.0)).finish()
            }
        }

        /// # Panics
        ///
        /// When the bytes are not a point on the curve.
        impl From<$public> for VerifyingKey {
            fn from(key: $public) -> Self {
                let point = key.point().unwrap_or_else(|error| panic!("{key:?}: {error}"));
                let check = Check(move |message: &[u8], signature: &[u8]| {
                    // Of the two forms of a signature, other libraries make either; the curve
                    // library takes only the lower one on secp256k1.
                    $lib::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                        point.verify(message, &signature.normalize_s()).is_ok()
                    })
                });
                Self::built_in(check, &key.0, $algorithm)
            }
        }

        #[doc = concat!("The secret key of `", $algorithm, "`. Wiped from memory when dropped.")]
        #[derive(Clone)]
        pub struct $secret($lib::ecdsa::SigningKey);

        impl $secret {
            /// Takes the big-endian bytes of the secret number. The array that it is given is
            /// wiped; copies of it are the caller's.
            ///
            /// # Panics
            ///
            /// When it is zero, or not below the order of the curve.
            pub fn from_bytes(mut bytes: [u8; $scalar_len]) -> Self {
                Self::take(&mut bytes).unwrap_or_else(|error| panic!("{error}"))
            }

            /// The same as [`from_bytes`](Self::from_bytes), for input that may be wrong.
            ///
            /// # Errors
            ///
            /// When the number is zero, or not below the order of the curve.
            pub fn try_from_bytes(mut bytes: [u8; $scalar_len]) -> Result<Self, InvalidKey> {
                Self::take(&mut bytes)
            }

            /// Reads the key, and wipes where it was.
            fn take(bytes: &mut [u8; $scalar_len]) -> Result<Self, InvalidKey> {
                let key = $lib::ecdsa::SigningKey::from_slice(&*bytes);
                bytes.zeroize();
                key.map(Self).map_err(|_| InvalidKey::Scalar)
            }

            /// A new key.
            pub fn random() -> Self {
                loop {
                    let mut bytes: [u8; $scalar_len] = rand::random();
                    bytes[0] &= $top_mask;
                    if let Ok(key) = Self::take(&mut bytes) {
                        return key;
                    }
                }
            }

            /// The public key that belongs to this one.
            #[must_use]
            pub fn verifying_key(&self) -> $public {
                let point = self.0.verifying_key().to_sec1_point(true);
                $public(point.as_bytes().try_into().expect("a compressed point has a fixed size"))
            }
        }

        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($secret)).field(&Redacted(())).finish()
            }
        }

        impl SigningAlgorithm for $secret {
            /// Both halves of the signature at fixed width, with the nonce of RFC 6979: the same
            /// message gives the same signature.
            fn sign(&self, header_and_claims: &[u8]) -> Vec<u8> {
                let signature: $lib::ecdsa::Signature = self.0.sign(header_and_claims);
                signature.to_bytes().to_vec()
            }
        }

        impl From<$secret> for SigningKey {
            fn from(key: $secret) -> Self {
                Self::built_in(key, $algorithm)
            }
        }
    )*};
}

key_pairs! {
    Es256 / Es256SigningKey: "ES256", "P-256", p256, 33, 32, 0xff;
    Es384 / Es384SigningKey: "ES384", "P-384", p384, 49, 48, 0xff;
    Es512 / Es512SigningKey: "ES512", "P-521", p521, 67, 66, 0x01;
    Es256k / Es256kSigningKey: "ES256K", "secp256k1", k256, 33, 32, 0xff;
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn base64<const N: usize>(text: &str) -> [u8; N] {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        bytes.try_into().unwrap()
    }

    /// RFC 7515, appendix A.3.
    #[test]
    fn rfc_7515_es256() {
        let key =
            Es256SigningKey::from_bytes(base64("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"));
        let x: [u8; 32] = base64("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        assert_eq!(key.verifying_key().0, [&[3], x.as_slice()].concat()[..]);
        let input = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature: [u8; 64] = base64(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
        let verifier = VerifyingKey::from(key.verifying_key());
        assert!(verifier.verify(input.as_bytes(), &signature));
        assert!(!verifier.verify(&input.as_bytes()[1..], &signature));
    }

    /// RFC 7515, appendix A.4.
    #[test]
    fn rfc_7515_es512() {
        let key = Es512SigningKey::from_bytes(base64(
            "AY5pb7A0UFiB3RELSD64fTLOSV_jazdF7fLYyuTw8lOfRhWg6Y6rUrPAxerEzgdRhajnu0ferB0d53vM9mE15j2C",
        ));
        let signature: [u8; 132] = base64(
            "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        );
        let verifier = VerifyingKey::from(key.verifying_key());
        assert!(verifier.verify(b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA", &signature));
    }

    /// RFC 6979, appendix A.2.5, with SHA-256.
    #[test]
    fn rfc_6979_p256() {
        let secret = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
        let key = Es256SigningKey::from_bytes(hex_or_panic(secret));
        assert_eq!(
            hex::encode_upper(key.sign(b"sample")),
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
        );
    }

    /// RFC 6979, appendix A.2.6, with SHA-384.
    #[test]
    fn rfc_6979_p384() {
        let secret = "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8\
                      96D5724E4C70A825F872C9EA60D2EDF5";
        let key = Es384SigningKey::from_bytes(hex_or_panic(secret));
        assert_eq!(
            hex::encode_upper(key.sign(b"sample")),
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C\
             81A648152E44ACF96E36DD1E80FABE4699EF4AEB15F178CEA1FE40DB2603138F\
             130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8"
        );
    }

    macro_rules! rules {
        ($name:ident, $secret:ident, $public:ident, $len:literal, $lib:ident) => {
            #[test]
            fn $name() {
                let key = $secret::random();
                let public = key.verifying_key();
                let verifier = VerifyingKey::from(public);
                let signature = key.sign(b"message");
                assert_eq!(signature.len(), $len);
                assert_eq!(key.clone().sign(b"message"), signature, "deterministic");
                assert!(verifier.verify(b"message", &signature));
                assert!(!verifier.verify(b"massage", &signature));
                assert!(!verifier.verify(b"message", &signature[1..]));
                assert!(!verifier.verify(b"message", &[0; $len]));
                assert!(!verifier.verify(b"message", &[0xff; $len]));
                let other = VerifyingKey::from($secret::random().verifying_key());
                assert!(!other.verify(b"message", &signature));

                let parsed = $lib::ecdsa::Signature::from_slice(&signature).unwrap();
                let (r, s) = parsed.split_scalars();
                let twin = $lib::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
                assert!(
                    verifier.verify(b"message", &twin.to_bytes()),
                    "either form of s"
                );

                assert_eq!($public::try_new(public.0), Ok(public));
                assert_eq!($public::try_from_hex(&hex::encode(public.0)), Ok(public));
                let mut broken = public.0;
                broken[0] = 7;
                assert_eq!($public::try_new(broken), Err(InvalidKey::Point));
                let zero = $secret::try_from_bytes([0; $len / 2]);
                assert_eq!(zero.unwrap_err(), InvalidKey::Scalar);
                let large = $secret::try_from_bytes([0xff; $len / 2]);
                assert_eq!(large.unwrap_err(), InvalidKey::Scalar);
                // Taken or not, the array is wiped.
                let mut valid = [0; $len / 2];
                valid[$len / 2 - 1] = 1;
                for (mut bytes, is_key) in [(valid, true), ([0xff; $len / 2], false)] {
                    assert_eq!($secret::take(&mut bytes).is_ok(), is_key);
                    assert_eq!(bytes, [0; $len / 2]);
                }
                let debug = format!("{key:?} {public:?}");
                let expected = format!(
                    "{}(<redacted>) {}(\"{}\")",
                    stringify!($secret),
                    stringify!($public),
                    hex::encode(public.0)
                );
                assert_eq!(debug, expected);
            }
        };
    }

    rules!(es256, Es256SigningKey, Es256, 64, p256);
    rules!(es384, Es384SigningKey, Es384, 96, p384);
    rules!(es512, Es512SigningKey, Es512, 132, p521);
    rules!(es256k, Es256kSigningKey, Es256k, 64, k256);

    #[test]
    #[should_panic(expected = "not a point on the curve")]
    fn an_invalid_public_key_is_found_when_it_is_used() {
        let key = Es256::new([0xff; 33]);
        let _ = VerifyingKey::from(key);
    }

    #[test]
    #[should_panic(expected = "zero or not below")]
    fn an_invalid_secret_panics() {
        let _ = Es256kSigningKey::from_bytes([0; 32]);
    }
}
