//! The secrets of members and of writers.

use core::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use crate::{primitives::Digest, tickets::TicketValidator};

/// Cost of one guess at a passphrase: the second recommendation of RFC 9106, section 4. Part of what
/// a passphrase means: other values make another key.
const PASSPHRASE_MEMORY_KIB: u32 = 64 * 1024;
const PASSPHRASE_PASSES: u32 = 3;
const PASSPHRASE_LANES: u32 = 4;

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
    /// The id of a group, which everybody in the network can read, is made of its key: an attacker
    /// who has it can try texts offline, billions a second. Take a text of 128 random bits
    /// at least, or [`GroupKey::random`]; for what people remember there is
    /// [`GroupKey::from_passphrase`].
    pub fn from_secret(secret: impl Into<Digest>) -> Self {
        Self(secret.into())
    }

    /// Makes a key from a passphrase, slowly: by Argon2id with 64 MiB of memory, three passes and four
    /// lanes (RFC 9106).
    ///
    /// It makes each guess at the passphrase cost as much as this call: some tenths of a second of one
    /// core, and 64 MiB for as long. That slows down whoever tries texts against the group's id, some
    /// million times, and replaces no entropy: four words drawn by lot are a good passphrase, a
    /// favourite quotation is none.
    ///
    /// The `salt` is no secret. All members must use the same one; one that no other group has, such as
    /// the name of the network and the group's purpose, keeps guesses from serving for several groups
    /// at once. Equal bytes make equal keys: characters that can be written in several ways are not
    /// brought to one form.
    ///
    /// The call blocks. Within an asynchronous task run it by
    /// [`spawn_blocking`](tokio::task::spawn_blocking).
    ///
    /// # Panics
    ///
    /// If the passphrase has 4 GiB or more.
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::GroupKey;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let key = tokio::task::spawn_blocking(|| {
    ///     GroupKey::from_passphrase("crater lantern oboe thirteen", "example.org/night-shift")
    /// })
    /// .await?;
    /// # let _: GroupKey = key;
    /// # Ok::<_, tokio::task::JoinError>(())
    /// # }).unwrap();
    /// ```
    pub fn from_passphrase(passphrase: impl AsRef<str>, salt: impl Into<Digest>) -> Self {
        let params = Params::new(
            PASSPHRASE_MEMORY_KIB,
            PASSPHRASE_PASSES,
            PASSPHRASE_LANES,
            Some(32),
        )
        .expect("the costs are in bounds");
        let mut secret = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(
                passphrase.as_ref().as_bytes(),
                salt.into().as_bytes(),
                &mut secret,
            )
            .expect("salt and key have good lengths, and so have passphrases below 4 GiB");
        Self(Digest::from_bytes(secret))
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

    /// Another value would lock members of two versions out from each other.
    #[test]
    fn a_passphrase_makes_the_key_that_it_has_always_made() {
        let key = GroupKey::from_passphrase("crater lantern oboe thirteen", "salt");
        let expected = "813ac615359ac4e066b897d2ef7a0bb784a8ba96f7f44271aa1757ec26b746f7";
        assert_eq!(hex::encode(key.secret().as_bytes()), expected);
        assert_ne!(key, GroupKey::from_secret("crater lantern oboe thirteen"));
        assert_ne!(
            key,
            GroupKey::from_passphrase("crater lantern oboe thirteen", "pepper")
        );
    }

    #[test]
    fn equal_secrets_make_equal_keys() {
        assert_eq!(GroupKey::from("a"), GroupKey::from(String::from("a")));
        assert_ne!(GroupKey::random(), GroupKey::generate());
    }
}
