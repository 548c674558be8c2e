//! The secrets of members and of writers.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{primitives::Digest, tickets::TicketValidator};

/// The secret that the members of a group share: 32 bytes.
///
/// The key never travels; members prove to each other that they know it, over every connection
/// anew. A key made from public data (a store id, a validator with a public verification key)
/// keeps nobody out: admission then rests on the tickets alone.
///
/// # Examples
///
/// ```
/// use mosaik::GroupKey;
///
/// let key = GroupKey::from_secret("everybody on the night shift");
/// assert_eq!(key, GroupKey::from("everybody on the night shift"));
/// assert!(format!("{key:?}").len() < 32, "printing a key does not give it away");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupKey(Digest);

impl GroupKey {
    /// Takes 32 secret bytes as they are.
    pub const fn new(secret: Digest) -> Self {
        Self(secret)
    }

    /// Makes a key from anything that becomes a digest: text is hashed, once and quickly.
    ///
    /// The id of a group, which everybody in the network can read, is made of its key: whoever has
    /// it can try texts at home, billions a second. Take a text that nobody can guess, of 128 random
    /// bits at least, or [`GroupKey::random`]; pass a passphrase through a slow function such as
    /// Argon2id first.
    pub fn from_secret(secret: impl Into<Digest>) -> Self {
        Self(secret.into())
    }

    /// A new random key.
    pub fn random() -> Self {
        Self(Digest::random())
    }

    /// A new random key; the same as [`GroupKey::random`].
    pub fn generate() -> Self {
        Self::random()
    }

    /// The secret bytes.
    pub const fn secret(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        write!(f, "{:02x}****{:02x}", bytes[0], bytes[31])
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({self})")
    }
}

impl From<Digest> for GroupKey {
    fn from(secret: Digest) -> Self {
        Self(secret)
    }
}

impl From<&Digest> for GroupKey {
    fn from(secret: &Digest) -> Self {
        Self(*secret)
    }
}

impl From<&str> for GroupKey {
    fn from(secret: &str) -> Self {
        Self::from_secret(secret)
    }
}

impl From<String> for GroupKey {
    fn from(secret: String) -> Self {
        Self::from_secret(secret.as_str())
    }
}

impl<T: TicketValidator + ?Sized> From<&T> for GroupKey {
    /// The validator's signature is the secret: see the note on public data above.
    fn from(validator: &T) -> Self {
        Self(validator.signature())
    }
}

/// The secret that writers of a collection share, beyond its store id: 32 bytes.
///
/// The key never travels. On every connection anew, a member proves to the other side that it has
/// it, by a code that is worthless on any other connection.
///
/// A member of the collection sees such codes and can try keys on them at home, billions a second:
/// take 128 random bits at least, or [`WriteKey::random`].
///
/// # Examples
///
/// ```
/// use mosaik::collections::WriteKey;
///
/// let key = WriteKey::random();
/// assert_eq!(key, WriteKey::new(*key.secret()));
/// assert!(format!("{key:?}").len() < 32, "printing a key does not give it away");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteKey(Digest);

impl WriteKey {
    /// Takes 32 secret bytes as they are.
    pub const fn new(secret: Digest) -> Self {
        Self(secret)
    }

    /// Makes a key from anything that becomes a digest: text is hashed, once and quickly.
    pub fn from_secret(secret: impl Into<Digest>) -> Self {
        Self(secret.into())
    }

    /// A new random key.
    pub fn random() -> Self {
        Self(Digest::random())
    }

    /// The secret bytes.
    pub const fn secret(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteKey(****)")
    }
}

impl From<Digest> for WriteKey {
    fn from(secret: Digest) -> Self {
        Self(secret)
    }
}

impl From<&str> for WriteKey {
    fn from(secret: &str) -> Self {
        Self::from_secret(secret)
    }
}

impl From<String> for WriteKey {
    fn from(secret: String) -> Self {
        Self::from_secret(secret.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_masks_the_secret() {
        let key = GroupKey::new(Digest::from_bytes([0xab; 32]));
        assert_eq!(key.to_string(), "ab****ab");
        assert_eq!(format!("{key:?}"), "GroupKey(ab****ab)");
    }

    #[test]
    fn equal_secrets_make_equal_keys() {
        assert_eq!(GroupKey::from("a"), GroupKey::from(String::from("a")));
        assert_ne!(GroupKey::random(), GroupKey::generate());
    }
}
