//! Machines whose whole state can be frozen, cut into pieces, carried elsewhere and put together.

use core::{any::Any, marker::PhantomData, ops::Range};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    groups::StateMachine,
    primitives::{Bytes, BytesMut, encoding},
};

/// Pieces that a snapshot is cut into at most for the number of its items alone: beyond that, a
/// piece holds more of them than was asked for.
const MAX_BATCHES: u64 = if cfg!(test) { 1 << 10 } else { 1 << 18 };

/// Pieces that are encoded at a time take about this much, or are a single one.
const MAX_RUN_BYTES: usize = 64 * 1024 * 1024;

/// A machine whose whole state can be taken and replaced; see
/// [`SnapshotSync`](crate::groups::SnapshotSync).
///
/// # Examples
///
/// A map in a persistent data structure, which is frozen by counting one reference more:
///
/// ```
/// use std::{ops::Range, sync::Arc};
///
/// use mosaik::groups::{
///     ApplyContext, Snapshot, SnapshotStateMachine, SnapshotSync, StateMachine,
/// };
///
/// #[derive(Clone, Default)]
/// struct Names(Arc<Vec<String>>);
///
/// impl StateMachine for Names {
///     type Command = String;
///     type Query = ();
///     type QueryResult = u64;
///     type StateSync = SnapshotSync<Self>;
///
///     fn signature(&self) -> mosaik::UniqueId {
///         mosaik::id!("names.v1")
///     }
///
///     fn apply(&mut self, name: String, _: &dyn ApplyContext) {
///         Arc::make_mut(&mut self.0).push(name);
///     }
///
///     fn query(&self, (): ()) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn state_sync(&self) -> Self::StateSync {
///         SnapshotSync::default()
///     }
/// }
///
/// impl SnapshotStateMachine for Names {
///     type Snapshot = Self;
///
///     fn create_snapshot(&self) -> Self {
///         self.clone()
///     }
///
///     fn install_snapshot(&mut self, snapshot: Self) {
///         *self = snapshot;
///     }
/// }
///
/// impl Snapshot for Names {
///     type Item = String;
///
///     fn len(&self) -> u64 {
///         self.0.len() as u64
///     }
///
///     fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = String>> {
///         let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
///         Some(self.0.get(range)?.iter().cloned())
///     }
///
///     fn append(&mut self, items: impl IntoIterator<Item = String>) {
///         Arc::make_mut(&mut self.0).extend(items);
///     }
/// }
/// ```
pub trait SnapshotStateMachine: StateMachine {
    /// The state, frozen.
    type Snapshot: Snapshot;

    /// Freezes the current state. Called between two commands, about once per
    /// [interval](crate::groups::SnapshotSync::with_interval), so it must be cheap: persistent data
    /// structures are the way.
    fn create_snapshot(&self) -> Self::Snapshot;

    /// Replaces the whole state, as if this machine had applied everything that the snapshot's had.
    /// A panic ends the group on this node. Not called with a snapshot that is not
    /// [readable](Snapshot::is_readable).
    fn install_snapshot(&mut self, snapshot: Self::Snapshot);
}

/// A frozen state as a sequence of items. The default value is the state before the first command.
///
/// A few of them are alive at a time, and some for as long as a newcomer needs to fetch one.
pub trait Snapshot: Default + Clone + Send + 'static {
    /// Item: a part of the snapshot. The smaller, the better: an item is encoded and decoded as a
    /// whole, and one of more than 1 GiB in encoded form can't be sent to other members.
    type Item: SnapshotItem;

    /// Number of items.
    fn len(&self) -> u64;

    /// Returns whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items by position; the same items in the same order on every member, for one snapshot.
    /// `None` when the range is out of bounds. Called with ranges of several thousand items; to
    /// skip to the start may take a while, but each item that is skipped should cost little.
    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Self::Item>>;

    /// Adds items at the end.
    fn append(&mut self, items: impl IntoIterator<Item = Self::Item>);

    /// Returns whether every item that was [added](Self::append) means something to this program. A
    /// snapshot with others, as another version of the program makes, is not installed: the group
    /// ends on this node, with an error in the log that says so. Default: `true`.
    fn is_readable(&self) -> bool {
        true
    }
}

/// Bounds on the items of a [`Snapshot`].
pub trait SnapshotItem: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> SnapshotItem for T {}

/// The snapshot methods of a machine, behind an object: machines without them have none.
pub(crate) trait SnapshotHooks<M>: Send + Sync {
    /// Freezes the current state.
    fn capture(&self, machine: &M) -> Box<dyn Capture>;

    /// An empty snapshot, to be filled.
    fn assembly(&self) -> Box<dyn Assembly>;

    /// Replaces the state, or leaves it as it is.
    fn install(&self, machine: &mut M, assembly: Box<dyn Assembly>) -> Installed;
}

/// Outcome of replacing a machine's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    Done,
    /// The assembly is none of this machine's.
    Foreign,
    /// Some items mean nothing to this program.
    Unreadable,
}

/// A frozen state that can be encoded in pieces.
pub(crate) trait Capture: Send {
    /// Encodes items from `from` on.
    fn encode(&self, from: u64, cutting: Cutting<'_>) -> Result<Vec<Encoded>, CaptureFailed>;
}

/// A snapshot that is being put together of pieces.
pub(crate) trait Assembly: Send {
    /// Adds a piece of exactly this many items at the end.
    fn append(&mut self, piece: &[u8], items: u64) -> Result<(), encoding::DecodeError>;

    /// For the machine that knows its type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// Borders between pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cutting<'a> {
    /// Cuts behind each full piece; until there are this many pieces, or some large ones, or no
    /// more items.
    Limits {
        items: u64,
        bytes: usize,
        pieces: usize,
    },
    /// Cuts before these items, if no piece is larger than one that was cut by this limit.
    Ends { ends: &'a [u64], bytes: usize },
}

/// Items of a snapshot, encoded as a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) items: u64,
    pub(crate) bytes: Bytes,
}

/// Errors of encoding a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureFailed {
    #[error("the snapshot does not have the items that it should have")]
    OutOfBounds,
    #[error("an item can't be encoded: {0}")]
    Encoding(#[from] encoding::EncodeError),
    #[error("the machine panicked")]
    Panicked,
}

/// The snapshot methods of a machine.
pub(crate) fn hooks<M: SnapshotStateMachine>() -> Box<dyn SnapshotHooks<M>> {
    Box::new(Hooks(PhantomData))
}

struct Hooks<M>(PhantomData<fn() -> M>);

impl<M: SnapshotStateMachine> SnapshotHooks<M> for Hooks<M> {
    fn capture(&self, machine: &M) -> Box<dyn Capture> {
        Box::new(Captured(machine.create_snapshot()))
    }

    fn assembly(&self) -> Box<dyn Assembly> {
        Box::new(Assembled(M::Snapshot::default()))
    }

    fn install(&self, machine: &mut M, assembly: Box<dyn Assembly>) -> Installed {
        let Ok(snapshot) = assembly.into_any().downcast::<M::Snapshot>() else {
            return Installed::Foreign;
        };
        if !snapshot.is_readable() {
            return Installed::Unreadable;
        }
        machine.install_snapshot(*snapshot);
        Installed::Done
    }
}

struct Captured<S>(S);

impl<S: Snapshot> Capture for Captured<S> {
    fn encode(&self, from: u64, cutting: Cutting<'_>) -> Result<Vec<Encoded>, CaptureFailed> {
        let len = self.0.len();
        let end = match cutting {
            Cutting::Limits { .. } => len,
            Cutting::Ends { ends, .. } => ends.last().copied().unwrap_or(from),
        };
        if from > end || end > len {
            return Err(CaptureFailed::OutOfBounds);
        }
        let items = self
            .0
            .iter_range(from..end)
            .ok_or(CaptureFailed::OutOfBounds)?;
        let mut pieces = Vec::new();
        let mut buffer = BytesMut::new();
        let mut begin = from;
        let (mut encoded, fewest) = (0, len.div_ceil(MAX_BATCHES));
        for (item, next) in items.zip(from + 1..=end) {
            encoding::serialize_into(&item, &mut buffer)?;
            let full = match cutting {
                Cutting::Limits { items, bytes, .. } => {
                    next - begin >= items.max(fewest) || buffer.len() >= bytes || next == end
                }
                Cutting::Ends { ends, bytes } => {
                    let is_end = ends.get(pieces.len()) == Some(&next);
                    if !is_end && buffer.len() >= bytes {
                        // Nobody has cut it like this.
                        return Err(CaptureFailed::OutOfBounds);
                    }
                    is_end
                }
            };
            if full {
                encoded += buffer.len();
                pieces.push(finish(next - begin, &mut buffer)?);
                begin = next;
                let most = match cutting {
                    Cutting::Limits { pieces, .. } => pieces,
                    Cutting::Ends { .. } => usize::MAX,
                };
                if pieces.len() == most || (encoded >= MAX_RUN_BYTES && next < end) {
                    return Ok(pieces);
                }
            }
        }
        if begin == end {
            Ok(pieces)
        } else {
            Err(CaptureFailed::OutOfBounds)
        }
    }
}

/// Puts the number of items before them.
fn finish(items: u64, buffer: &mut BytesMut) -> Result<Encoded, encoding::EncodeError> {
    let mut piece = BytesMut::with_capacity(buffer.len() + 10);
    encoding::serialize_into(&items, &mut piece)?;
    piece.extend_from_slice(buffer);
    buffer.clear();
    Ok(Encoded {
        items,
        bytes: piece.freeze(),
    })
}

struct Assembled<S>(S);

impl<S: Snapshot> Assembly for Assembled<S> {
    fn append(&mut self, piece: &[u8], items: u64) -> Result<(), encoding::DecodeError> {
        let decoded: Vec<S::Item> = encoding::deserialize(piece)?;
        if decoded.len() as u64 != items {
            return Err(encoding::DecodeError::DeserializeBadEncoding);
        }
        self.0.append(decoded);
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Empty words are those of another version of the program.
    #[derive(Debug, Default, Clone, PartialEq)]
    pub(in super::super) struct Words(pub(in super::super) Vec<String>);

    impl Snapshot for Words {
        type Item = String;

        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = String>> {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            Some(self.0.get(range)?.iter().cloned())
        }

        fn append(&mut self, items: impl IntoIterator<Item = String>) {
            self.0.extend(items);
        }

        fn is_readable(&self) -> bool {
            self.0.iter().all(|word| !word.is_empty())
        }
    }

    const BYTES: usize = 20;
    const WHOLE: Cutting<'_> = Cutting::Limits {
        items: 3,
        bytes: BYTES,
        pieces: usize::MAX,
    };

    fn at(ends: &[u64]) -> Cutting<'_> {
        Cutting::Ends { ends, bytes: BYTES }
    }

    fn words() -> Captured<Words> {
        let word = |n: usize| "x".repeat(if n == 4 { 50 } else { n % 3 });
        Captured(Words((0..20).map(word).collect()))
    }

    #[test]
    fn pieces_are_cut_alike_wherever_one_begins_and_fit_together() {
        let words = words();
        let whole = words.encode(0, WHOLE).unwrap();
        let items: Vec<_> = whole.iter().map(|piece| piece.items).collect();
        assert_eq!(items, [3, 2, 3, 3, 3, 3, 3], "full of items, or of bytes");
        let mut from = 0;
        for (n, piece) in whole.iter().enumerate() {
            let ends = [from + piece.items];
            assert_eq!(words.encode(from, at(&ends)).unwrap(), whole[n..=n]);
            let rest = Cutting::Limits {
                items: 3,
                bytes: BYTES,
                pieces: 2,
            };
            let some = words.encode(from, rest).unwrap();
            assert_eq!(some, whole[n..(n + 2).min(whole.len())]);
            from += piece.items;
        }
        let mut assembly = Box::new(Assembled(Words::default()));
        for piece in &whole {
            assembly.append(&piece.bytes, piece.items).unwrap();
        }
        assert_eq!(assembly.0, words.0);
    }

    #[test]
    fn pieces_are_as_they_were_recorded() {
        let words = Captured(Words(vec!["one".into(), "two".into()]));
        let piece = words.encode(0, WHOLE).unwrap().remove(0);
        crate::primitives::vectors::check(|v| {
            v.bytes("piece of a snapshot", &piece.bytes, "02036f6e650374776f");
        });
        assert_eq!(piece.items, 2);
    }

    #[test]
    fn what_is_out_of_bounds_or_miscounted_is_refused() {
        let words = words();
        for (from, ends) in [(0, [21]), (21, [21]), (5, [4])] {
            let refused = words.encode(from, at(&ends));
            assert!(matches!(refused, Err(CaptureFailed::OutOfBounds)));
        }
        assert!(words.encode(20, WHOLE).unwrap().is_empty());
        let piece = words.encode(0, at(&[2])).unwrap().remove(0);
        let mut assembly = Assembled(Words::default());
        assert!(assembly.append(&piece.bytes, 3).is_err());
        assert!(assembly.append(&piece.bytes[1..], 2).is_err());
        assert!(assembly.append(b"\xff\xff\xff\xff\x0f", 2).is_err());
    }

    /// A peer once had all of the content encoded as one piece, and held in memory.
    #[test]
    fn a_piece_that_nobody_would_cut_is_refused() {
        let words = words();
        // The fifth word fills a piece.
        assert!(words.encode(3, at(&[5])).is_ok());
        for (from, end) in [(3, 6), (0, 20), (4, 7)] {
            let refused = words.encode(from, at(&[end]));
            assert!(matches!(refused, Err(CaptureFailed::OutOfBounds)), "{from}");
        }
    }

    #[test]
    fn many_items_in_small_batches_are_not_too_many_pieces() {
        let count = usize::try_from(3 * MAX_BATCHES).unwrap();
        let words = Captured(Words(vec![String::new(); count]));
        let one_by_one = Cutting::Limits {
            items: 1,
            bytes: 1 << 20,
            pieces: usize::MAX,
        };
        let pieces = words.encode(0, one_by_one).unwrap();
        assert_eq!(pieces.len() as u64, MAX_BATCHES);
        // As they are asked for later.
        let again = words.encode(0, at(&[3, 6])).unwrap();
        assert_eq!(again, pieces[..2]);
    }
}
