//! Other collections that nodes open under the same store id.

use core::fmt;

use crate::primitives::PeerId;

/// Ingredient of a collection's identity, besides its store id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ingredient {
    /// `Map`, `Vec` and so on.
    Kind,
    /// The names of the element types, or the
    /// [type tag](super::CollectionConfig::with_type_tag), and the capacity of a queue.
    Types,
    /// The [`SyncConfig`](super::SyncConfig), without its strategy.
    Sync,
    /// The most entries and bytes.
    Limits,
    /// The validators of tickets, and their order.
    Tickets,
    /// The [write key](super::CollectionConfig::with_write_key) of a writer: another one, or none on one
    /// of the two sides. It is not part of the identity: the two find each other, and who has a key
    /// refuses the other's writes.
    WriteKey,
}

impl Ingredient {
    /// In the order in which they are told.
    pub(crate) const ALL: [Self; 6] = [
        Self::Kind,
        Self::Types,
        Self::Sync,
        Self::Limits,
        Self::Tickets,
        Self::WriteKey,
    ];
}

impl fmt::Display for Ingredient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Types => "element types",
            Self::Sync => "sync configuration",
            Self::Limits => "limits",
            Self::Tickets => "required tickets",
            Self::WriteKey => "write key",
        })
    }
}

/// Collection of another node with the same store id and other ingredients: the two don't share
/// their content. From [`Status::mismatches`](super::Status::mismatches).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The other node.
    pub peer: PeerId,
    /// The ingredients that differ, in the order of [`Ingredient`].
    pub ingredients: Vec<Ingredient>,
}
