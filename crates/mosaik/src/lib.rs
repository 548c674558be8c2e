//! Programs that are given a network name find each other and organise themselves.

pub mod declare;
pub mod discovery;
pub mod groups;
mod net;
pub mod network;
pub mod primitives;
pub mod tickets;

pub use futures;
pub use iroh::{self, SecretKey, Signature};

pub use groups::{
    Consistency,
    Consistency::{Strong, Weak},
    Group, GroupId, GroupKey,
};
pub use network::{Network, NetworkId, PeerId};
pub use primitives::{Bytes, BytesMut, Datum, Digest, Tag, UniqueId};
pub use tickets::Ticket;

/// Turns a string literal into a [`Digest`] at compile time.
///
/// Exactly 64 hex digits are decoded; anything else is hashed with BLAKE3. Equal to
/// `Digest::from("text")`, and usable in `const` and `static` items.
#[macro_export]
macro_rules! id {
    ($text:literal) => {
        $crate::primitives::Digest::from_bytes($crate::__macros::digest_bytes!($text))
    };
}

/// The same as [`id!`].
#[macro_export]
macro_rules! unique_id {
    ($text:literal) => {
        $crate::id!($text)
    };
}

/// The same as [`id!`], for tags.
#[macro_export]
macro_rules! tag {
    ($text:literal) => {
        $crate::id!($text)
    };
}

#[doc(hidden)]
pub mod __macros {
    pub use mosaik_macros::{digest_bytes, function_impl, stream_impl};
}
