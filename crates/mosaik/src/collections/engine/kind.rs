//! Interface between a kind of collection and the engine: its state, its operations, and their
//! effect.

use crate::{
    collections_layer::{
        Version,
        engine::{
            changes::Changes,
            wire::{Reader, Writer},
        },
    },
    primitives::{Bytes, encoding::EncodeError},
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

    /// A decoded operation.
    type Op: Clone + Send + Sync + 'static;
    /// The content, a persistent structure: a clone is a snapshot.
    type State: Clone + Default + Send + Sync + 'static;
    /// Outcome of an operation, for its caller.
    type Outcome: Send + 'static;
    /// Change made by an operation, for watchers: one of these for each place that it changed.
    type Change: Clone + Send + Sync + 'static;

    /// Number of entries.
    fn len(state: &Self::State) -> usize;

    /// Decodes an operation; `None` when it is none.
    fn parse(op: &mut Reader<'_>) -> Option<Self::Op>;

    /// Carries out an operation.
    fn apply(state: &mut Self::State, op: Self::Op, at: &mut Place<Self::Change>) -> Applied<Self>;

    /// Takes a change back; the last one first.
    fn undo(state: &mut Self::State, change: &Self::Change);

    /// The hash of the key that a change concerns, where watchers of single keys exist.
    fn key_hash(_: &Self::Change) -> u64 {
        0
    }

    /// Writes what is not part of any entry.
    fn header(_: &Self::State, _: &mut Writer) {}

    /// Reads what [`header`](Self::header) wrote, into a state without entries.
    fn restore_header(_: &mut Self::State, _: &mut Reader<'_>) -> Option<()> {
        Some(())
    }

    /// The content as items, one for each entry, in an order that depends on nothing but the
    /// content. Each begins with [`ITEM`](super::machine::ITEM), and has what members must agree on
    /// as it was replicated, prints and sizes too: a new encoding may be another one.
    ///
    /// # Errors
    ///
    /// When an element that was decoded has no encoding any more.
    fn items(state: &Self::State) -> Result<Vec<Bytes>, EncodeError>;

    /// Adds an item of another member's content; `None` when it does not decode.
    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()>;

    /// Brings what operations are about to change into the processor's caches, where that helps.
    fn prefetch<'o>(_: &Self::State, _ops: impl Iterator<Item = &'o Self::Op>) {}

    /// The clock that the log carries, where entries expire.
    fn clock(_: &Self::State) -> Clock {
        Clock::default()
    }

    /// The operation that sets the clock forward, where entries expire.
    fn tick(_: Tick) -> Option<Bytes> {
        None
    }
}

/// The clock that a collection's log carries: milliseconds, the same on every member at a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) millis: u64,
    pub(crate) next: Option<Alarm>,
}

/// Next time at which the clock must be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// An entry's time to live has not begun.
    Begin,
    /// An entry expires when the clock shows this.
    Expire(u64),
}

/// A reading of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// The reading that this one goes on from. It counts only where that is the last one: readings
    /// of members that went on from different ones can't be compared.
    pub(crate) base: u64,
    pub(crate) millis: u64,
    /// The version that was applied when the clock was read. What came later may have been
    /// written after that, so its time begins with a later reading.
    pub(crate) seen: Version,
}

/// Outcome of applying an operation.
pub(crate) enum Applied<K: Kind> {
    Done(K::Outcome),
    /// Nothing, as the collection is full.
    Full,
}

/// Context of an operation: its version, the limits that it must keep, and the changes that it
/// makes.
#[derive(Debug)]
pub(crate) struct Place<C> {
    /// The version that the operation makes.
    pub(crate) version: Version,
    pub(crate) limits: Limits,
    pub(crate) changes: Changes<C>,
}

/// The most that a collection may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) entries: u64,
    /// Limit on the encoded elements, in bytes.
    pub(crate) bytes: u64,
}

impl Limits {
    pub(crate) const NONE: Self = Self {
        entries: u64::MAX,
        bytes: u64::MAX,
    };

    /// Returns whether a collection that grows from one size to another stays within its limits.
    /// One that shrinks always does.
    pub(crate) fn admit(&self, entries: (usize, usize), bytes: (u64, u64)) -> bool {
        let entries_fit = entries.1 <= entries.0 || entries.1 as u64 <= self.entries;
        let bytes_fit = bytes.1 <= bytes.0 || bytes.1 <= self.bytes;
        entries_fit && bytes_fit
    }
}
