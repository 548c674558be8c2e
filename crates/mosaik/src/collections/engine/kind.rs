//! What a kind of collection gives the engine: its state, its operations, and their effect.

use crate::{
    collections_layer::{Version, engine::wire::Reader},
    primitives::Bytes,
};

/// One kind of collection, with its element types.
///
/// The functions are deterministic: they look at the state and the operation alone, and never
/// panic on what an operation says.
pub(crate) trait Kind: Sized + Send + Sync + 'static {
    /// The kind's part of the collection's identity.
    const NAME: &'static str;
    /// The gauge of the number of entries.
    const SIZE: &'static str;

    /// The content, a persistent structure: a clone is a snapshot.
    type State: Clone + Default + Send + Sync + 'static;
    /// What an operation did, for its caller.
    type Outcome: Send + 'static;

    /// How many entries there are.
    fn len(state: &Self::State) -> usize;

    /// Carries out an operation; `None` when it does not decode, and then nothing has changed.
    fn apply(state: &mut Self::State, op: &mut Reader<'_>, at: &Place) -> Option<Applied<Self>>;

    /// The content as items, one for each entry, in an order that depends on nothing but the
    /// content. Each begins with [`ITEM`](super::machine::ITEM).
    fn items(state: &Self::State) -> Vec<Bytes>;

    /// Adds an item of another member's content; `None` when it does not decode.
    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()>;
}

/// What an operation did.
pub(crate) enum Applied<K: Kind> {
    Done(K::Outcome),
    /// Nothing, as the collection is full.
    Full,
}

/// Where an operation stands, and the limits that it must keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The version that the operation makes.
    pub(crate) version: Version,
    pub(crate) limits: Limits,
}

/// The most that a collection may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) entries: u64,
    /// Of encoded elements.
    pub(crate) bytes: u64,
}

impl Limits {
    pub(crate) const NONE: Self = Self {
        entries: u64::MAX,
        bytes: u64::MAX,
    };

    /// Whether a collection that grows from one size to another stays within its limits. One that
    /// shrinks always does.
    pub(crate) fn admit(&self, entries: (usize, usize), bytes: (u64, u64)) -> bool {
        let entries_fit = entries.1 <= entries.0 || entries.1 as u64 <= self.entries;
        let bytes_fit = bytes.1 <= bytes.0 || bytes.1 <= self.bytes;
        entries_fit && bytes_fit
    }
}
