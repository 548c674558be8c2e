//! The 32-byte identifier that names everything in a network.

use core::{cmp::Ordering, convert::Infallible, fmt, ops::Deref, str::FromStr};
use std::hash::{Hash, Hasher};

use iroh::SecretKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::names;

const LEN: usize = 32;
const HEX_LEN: usize = LEN * 2;

/// A 32-byte identifier: a BLAKE3 hash, or 32 bytes given as such.
///
/// Text becomes a digest by one rule everywhere (`From<&str>`, `From<&[u8]>`, [`FromStr`] and the
/// [`id!`](crate::id) macro): exactly 64 hex digits, in either case, are decoded; anything else is
/// hashed with BLAKE3. Note that this holds for byte slices too: 32 raw bytes are *hashed*; use
/// [`Digest::from_bytes`] to take them as they are.
///
/// Serialized as 64 hex digits in human-readable formats and as 32 raw bytes in binary ones.
///
/// # Examples
///
/// ```
/// use mosaik::{Digest, id};
///
/// const VALIDATOR: Digest = id!("validator");
/// assert_eq!(VALIDATOR, Digest::from("validator"));
/// assert_eq!(
///     VALIDATOR.to_string(),
///     "b5f8107ffc4da5efab7269490b6ade7ede05fa9bb15b8e7776c09f2a1f378caf"
/// );
/// ```
#[derive(Clone, Copy)]
pub struct Digest(blake3::Hash);

macro_rules! from_integers {
    ($($name:ident: $int:ty),* $(,)?) => {$(
        #[doc = concat!(
            "Zero bytes, the last of which are the little-endian bytes of `n`. The value depends ",
            "on the width of `", stringify!($int), "`."
        )]
        pub const fn $name(n: $int) -> Self {
            let source = n.to_le_bytes();
            let mut bytes = [0; LEN];
            let mut i = 0;
            while i < source.len() {
                bytes[LEN - source.len() + i] = source[i];
                i += 1;
            }
            Self::from_bytes(bytes)
        }
    )*};
}

impl Digest {
    /// The digest of 32 zero bytes.
    pub const fn zero() -> Self {
        Self::from_bytes([0; LEN])
    }

    /// Takes 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }

    /// The BLAKE3 hash of `bytes`, with no detection of hex digits.
    pub fn hash(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }

    /// The result of a hasher that was fed by the caller.
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        Self(hasher.finalize())
    }

    /// The BLAKE3 hash of the plain concatenation of `parts`.
    ///
    /// Part borders are not encoded: `["ab", "c"]` and `["a", "bc"]` give the same digest.
    pub fn from_parts(parts: &[impl AsRef<[u8]>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_ref());
        }
        Self::from_hasher(&hasher)
    }

    /// 32 random bytes.
    pub fn random() -> Self {
        Self::from_bytes(rand::random())
    }

    from_integers! {
        from_u8: u8, from_u16: u16, from_u32: u32, from_u64: u64, from_u128: u128,
        from_usize: usize, from_i8: i8, from_i16: i16, from_i32: i32, from_i64: i64,
        from_i128: i128, from_isize: isize,
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        self.0.as_bytes()
    }

    /// Always 32.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a digest has a fixed size and is never empty"
    )]
    pub const fn len(&self) -> usize {
        LEN
    }

    /// A digest that belongs to this one: the BLAKE3 hash of these bytes followed by `info`.
    #[must_use]
    pub fn derive(&self, info: impl AsRef<[u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.as_bytes()).update(info.as_ref());
        Self::from_hasher(&hasher)
    }

    /// The BLAKE3 hash of these 32 bytes.
    #[must_use]
    pub fn hashed(&self) -> Self {
        Self::hash(self.as_bytes())
    }

    /// The one rule that turns text into a digest.
    fn from_text(text: &[u8]) -> Self {
        let mut bytes = [0; LEN];
        if text.len() == HEX_LEN && hex::decode_to_slice(text, &mut bytes).is_ok() {
            return Self::from_bytes(bytes);
        }
        Self::hash(text)
    }
}

impl From<&str> for Digest {
    fn from(text: &str) -> Self {
        let digest = Self::from_text(text.as_bytes());
        if text.len() != HEX_LEN {
            names::heard(text, digest.as_bytes());
        }
        digest
    }
}

impl From<&[u8]> for Digest {
    fn from(text: &[u8]) -> Self {
        Self::from_text(text)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl From<&blake3::Hash> for Digest {
    fn from(hash: &blake3::Hash) -> Self {
        Self(*hash)
    }
}

impl From<Digest> for [u8; LEN] {
    fn from(digest: Digest) -> Self {
        *digest.as_bytes()
    }
}

impl From<&Digest> for [u8; LEN] {
    fn from(digest: &Digest) -> Self {
        *digest.as_bytes()
    }
}

impl From<Digest> for SecretKey {
    fn from(digest: Digest) -> Self {
        Self::from_bytes(digest.as_bytes())
    }
}

impl FromStr for Digest {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl Deref for Digest {
    type Target = blake3::Hash;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Digest {}

impl PartialEq<&Self> for Digest {
    fn eq(&self, other: &&Self) -> bool {
        self == *other
    }
}

impl PartialEq<Digest> for &Digest {
    fn eq(&self, other: &Digest) -> bool {
        *self == other
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.0.to_hex())
        } else {
            self.as_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; LEN]>::deserialize(deserializer).map(Self::from_bytes);
        }
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; LEN];
        hex::decode_to_slice(text.as_ref(), &mut bytes)
            .map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &"64 hex digits"))?;
        Ok(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDATOR: &str = "b5f8107ffc4da5efab7269490b6ade7ede05fa9bb15b8e7776c09f2a1f378caf";

    #[test]
    fn text_is_decoded_when_hex_and_hashed_otherwise() {
        assert_eq!(Digest::from("validator").to_string(), VALIDATOR);
        assert_eq!(Digest::from(VALIDATOR), Digest::from("validator"));
        assert_eq!(
            Digest::from(VALIDATOR.to_uppercase().as_str()),
            Digest::from("validator")
        );
        assert_eq!(Digest::from([7u8; 32].as_slice()), Digest::hash(&[7; 32]));
        assert_eq!(
            Digest::from_parts(&["val", "idator"]),
            Digest::from("validator")
        );
    }

    #[test]
    fn integers_stand_at_the_end_in_little_endian() {
        assert!(Digest::from_u8(1).to_string().ends_with("0001"));
        assert!(Digest::from_u16(0x0102).to_string().ends_with("000201"));
        let long = Digest::from_u64(0x0102_0304_0506_0708).to_string();
        assert!(long.ends_with("000807060504030201"), "{long}");
    }

    #[test]
    fn serde_is_hex_for_people_and_raw_for_machines() {
        let digest = Digest::from("validator");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{VALIDATOR}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"validator\"").is_err());
        let raw = postcard::to_allocvec(&digest).unwrap();
        assert_eq!(raw, digest.as_bytes());
        assert_eq!(postcard::from_bytes::<Digest>(&raw).unwrap(), digest);
    }
}
