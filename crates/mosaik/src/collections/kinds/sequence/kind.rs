//! The content of a sequence, its operations, and their bytes.

use core::{
    marker::PhantomData,
    ops::{Bound, RangeBounds},
};
use std::sync::Arc;

use super::{
    super::super::{
        Value, Version,
        engine::{Applied, Element, ITEM, Kind, Place, Reader, Writer},
        state::Chunks,
    },
    change::{Elements, Item, VecChange},
};
use crate::{
    groups::Index,
    primitives::{Bytes, encoding::EncodeError},
};

pub(crate) struct VecKind<T>(PhantomData<fn() -> T>);

pub(crate) struct State<T> {
    elements: Chunks<Item<T>>,
    bytes: u64,
    /// The last version that changed anything.
    changed: Version,
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self {
            elements: self.elements.clone(),
            bytes: self.bytes,
            changed: self.changed,
        }
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            elements: Chunks::default(),
            bytes: 0,
            changed: Version::default(),
        }
    }
}

/// A decoded operation.
#[derive(Clone)]
pub(crate) enum Op<T> {
    PushFront(Element<T>),
    Append(Vec<Element<T>>),
    Insert(u64, Element<T>),
    Replace(u64, Element<T>),
    PopBack,
    PopFront,
    Remove(u64),
    Swap(u64, u64),
    Truncate(u64),
    Clear,
    Drain(u64, u64),
    /// Removes these indices, if nothing has changed since.
    Retain(Seen, Vec<u64>),
}

/// Marks of a content, compared to find out whether a sequence has changed. The version alone could name another
/// content in another history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    changed: Version,
    len: u64,
    bytes: u64,
}

/// Outcome of an operation.
pub(crate) enum Outcome<T> {
    /// The elements that were removed or replaced.
    Removed(Vec<Arc<Item<T>>>),
    /// True if nothing had changed since.
    Fits(bool),
}

impl<T: Clone> Outcome<T> {
    pub(super) fn value(self) -> Option<T> {
        self.values().pop()
    }

    pub(super) fn values(self) -> Vec<T> {
        match self {
            Self::Removed(items) => items.iter().map(|item| item.value.clone()).collect(),
            Self::Fits(_) => Vec::new(),
        }
    }

    pub(super) fn fits(self) -> bool {
        matches!(self, Self::Fits(true))
    }
}

/// The bytes of operations; the numbers are part of the format.
pub(super) mod op {
    use core::ops::RangeBounds;

    use super::{Bytes, EncodeError, Seen, Value, Writer, clip};

    pub(super) const PUSH_BACK: u8 = 0;
    pub(super) const PUSH_FRONT: u8 = 1;
    pub(super) const INSERT: u8 = 2;
    pub(super) const EXTEND: u8 = 3;
    pub(super) const POP_BACK: u8 = 4;
    pub(super) const POP_FRONT: u8 = 5;
    pub(super) const REMOVE: u8 = 6;
    pub(super) const SWAP: u8 = 7;
    pub(super) const TRUNCATE: u8 = 8;
    pub(super) const CLEAR: u8 = 9;
    pub(super) const REPLACE: u8 = 10;
    pub(super) const DRAIN: u8 = 11;
    pub(super) const RETAIN: u8 = 12;

    pub(in super::super) fn push_back<T: Value>(value: &T) -> Result<Bytes, EncodeError> {
        with_elements(PUSH_BACK, &[], [value])
    }

    pub(in super::super) fn push_front<T: Value>(value: &T) -> Result<Bytes, EncodeError> {
        with_elements(PUSH_FRONT, &[], [value])
    }

    pub(in super::super) fn insert<T: Value>(index: u64, value: &T) -> Result<Bytes, EncodeError> {
        with_elements(INSERT, &[index], [value])
    }

    pub(in super::super) fn replace<T: Value>(index: u64, value: &T) -> Result<Bytes, EncodeError> {
        with_elements(REPLACE, &[index], [value])
    }

    pub(in super::super) fn extend<T: Value>(values: &[T]) -> Result<Bytes, EncodeError> {
        with_elements(EXTEND, &[], values)
    }

    pub(in super::super) fn pop_back() -> Bytes {
        with_numbers(POP_BACK, &[])
    }

    pub(in super::super) fn pop_front() -> Bytes {
        with_numbers(POP_FRONT, &[])
    }

    pub(in super::super) fn remove(index: u64) -> Bytes {
        with_numbers(REMOVE, &[index])
    }

    pub(in super::super) fn swap(i: u64, j: u64) -> Bytes {
        with_numbers(SWAP, &[i, j])
    }

    pub(in super::super) fn truncate(len: u64) -> Bytes {
        with_numbers(TRUNCATE, &[len])
    }

    pub(in super::super) fn clear() -> Bytes {
        with_numbers(CLEAR, &[])
    }

    pub(in super::super) fn drain(range: &impl RangeBounds<u64>) -> Bytes {
        let (start, end) = clip(range, u64::MAX);
        with_numbers(DRAIN, &[start, end])
    }

    pub(in super::super) fn retain(seen: Seen, removed: &[u64]) -> Bytes {
        let mut op = Writer::new(RETAIN);
        op.u64(seen.changed.0.0);
        op.u64(seen.len);
        op.u64(seen.bytes);
        for index in removed {
            op.u64(*index);
        }
        op.finish()
    }

    fn with_numbers(number: u8, operands: &[u64]) -> Bytes {
        let mut op = Writer::new(number);
        for operand in operands {
            op.u64(*operand);
        }
        op.finish()
    }

    fn with_elements<'a, T: Value>(
        number: u8,
        operands: &[u64],
        elements: impl IntoIterator<Item = &'a T>,
    ) -> Result<Bytes, EncodeError> {
        let mut op = Writer::new(number);
        for operand in operands {
            op.u64(*operand);
        }
        for element in elements {
            op.element(element)?;
        }
        Ok(op.finish())
    }
}

/// A range of indices as its start and its end, both at most `len`.
pub(super) fn clip(range: &impl RangeBounds<u64>, len: u64) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => len,
    };
    (start.min(len), end.min(len))
}

/// Indices that do not fit this platform are beyond any length.
fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl<T: Value> Kind for VecKind<T> {
    const NAME: &'static str = "vec";
    const SIZE: &'static str = "mosaik.collections.vec.size";

    type Op = Op<T>;
    type State = State<T>;
    type Outcome = Outcome<T>;
    type Change = VecChange<T>;

    fn len(state: &State<T>) -> usize {
        state.len()
    }

    fn parse(op: &mut Reader<'_>) -> Option<Op<T>> {
        Some(match op.u8()? {
            op::PUSH_BACK => Op::Append(vec![op.element()?]),
            op::PUSH_FRONT => Op::PushFront(op.element()?),
            op::INSERT => Op::Insert(op.u64()?, op.element()?),
            op::REPLACE => Op::Replace(op.u64()?, op.element()?),
            op::EXTEND => Op::Append(op.rest(Reader::element)?),
            op::POP_BACK => Op::PopBack,
            op::POP_FRONT => Op::PopFront,
            op::REMOVE => Op::Remove(op.u64()?),
            op::SWAP => Op::Swap(op.u64()?, op.u64()?),
            op::TRUNCATE => Op::Truncate(op.u64()?),
            op::CLEAR => Op::Clear,
            op::DRAIN => Op::Drain(op.u64()?, op.u64()?),
            op::RETAIN => {
                let seen = Seen {
                    changed: Version(Index(op.u64()?)),
                    len: op.u64()?,
                    bytes: op.u64()?,
                };
                Op::Retain(seen, op.rest(Reader::u64)?)
            }
            _ => return None,
        })
    }

    fn apply(state: &mut State<T>, op: Op<T>, at: &mut Place<VecChange<T>>) -> Applied<Self> {
        let len = state.len();
        let spliced = match op {
            Op::PushFront(element) => state.splice(0, 0, vec![element], at),
            Op::Append(elements) => state.splice(len, 0, elements, at),
            Op::Insert(index, element) if place(index) <= len => {
                state.splice(place(index), 0, vec![element], at)
            }
            Op::Replace(index, element) if place(index) < len => {
                state.splice(place(index), 1, vec![element], at)
            }
            Op::PopBack if len > 0 => state.splice(len - 1, 1, Vec::new(), at),
            Op::PopFront if len > 0 => state.splice(0, 1, Vec::new(), at),
            Op::Remove(index) if place(index) < len => {
                state.splice(place(index), 1, Vec::new(), at)
            }
            Op::Truncate(kept) if place(kept) < len => {
                state.splice(place(kept), len - place(kept), Vec::new(), at)
            }
            Op::Clear => state.splice(0, len, Vec::new(), at),
            Op::Drain(start, end) => {
                let (start, end) = clip(&(start..end), len as u64);
                let count = end.saturating_sub(start);
                state.splice(place(start), place(count), Vec::new(), at)
            }
            Op::Swap(i, j) => {
                state.swap(i, j, at);
                Some(Vec::new())
            }
            Op::Retain(seen, removed) => {
                let fits = state.seen() == seen;
                if fits {
                    state.remove_all(removed, at);
                }
                return Applied::Done(Outcome::Fits(fits));
            }
            _ => Some(Vec::new()),
        };
        match spliced {
            Some(removed) => Applied::Done(Outcome::Removed(removed)),
            None => Applied::Full,
        }
    }

    fn undo(state: &mut State<T>, change: &VecChange<T>) {
        let index = place(change.index);
        state.take_all(index, change.inserted.as_slice().len());
        state.put_all(index, change.removed.as_slice());
    }

    fn header(state: &State<T>, header: &mut Writer) {
        header.u64(state.changed.0.0);
    }

    fn restore_header(state: &mut State<T>, header: &mut Reader<'_>) -> Option<()> {
        state.changed = Version(Index(header.u64()?));
        Some(())
    }

    fn items(state: &State<T>) -> Result<Vec<Bytes>, EncodeError> {
        let item = |element: &Arc<Item<T>>| {
            let mut item = Writer::new(ITEM);
            item.element(&element.value)?;
            item.u64(element.size);
            Ok(item.finish())
        };
        state.elements.iter().map(item).collect()
    }

    fn restore(state: &mut State<T>, item: &mut Reader<'_>) -> Option<()> {
        let Element { value, .. } = item.element()?;
        let size = item.u64()?;
        state.bytes.checked_add(size)?;
        state.put_all(state.len(), &[Arc::new(Item { value, size })]);
        Some(())
    }
}

impl<T: Value> State<T> {
    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn get(&self, index: u64) -> Option<&Arc<Item<T>>> {
        self.elements.get(place(index))
    }

    pub(super) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &Arc<Item<T>>> + Send {
        self.elements.range(place(start)..place(end))
    }

    pub(super) fn last(&self) -> Option<&Arc<Item<T>>> {
        self.elements.get(self.len().checked_sub(1)?)
    }

    pub(super) fn elements(&self) -> impl DoubleEndedIterator<Item = &Arc<Item<T>>> + Send {
        self.elements.iter()
    }

    pub(super) fn into_elements(self) -> impl Iterator<Item = Arc<Item<T>>> + Send {
        self.elements.into_iter()
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            changed: self.changed,
            len: self.len() as u64,
            bytes: self.bytes,
        }
    }

    /// Replaces `count` elements from an index on, all of which exist; returns them, or `None` when
    /// there is no room, and then nothing has changed.
    fn splice(
        &mut self,
        index: usize,
        count: usize,
        inserted: Vec<Element<T>>,
        at: &mut Place<VecChange<T>>,
    ) -> Option<Vec<Arc<Item<T>>>> {
        let range = self.elements.range(index..index + count);
        let removed: Vec<_> = range.cloned().collect();
        if removed.is_empty() && inserted.is_empty() {
            return Some(removed);
        }
        let removed_bytes: u64 = removed.iter().map(|element| element.size).sum();
        let inserted_bytes: u64 = inserted.iter().map(|element| element.size).sum();
        let lens = (self.len(), self.len() - removed.len() + inserted.len());
        let bytes = (self.bytes, self.bytes - removed_bytes + inserted_bytes);
        if !at.limits.admit(lens, bytes) {
            return None;
        }
        self.take_all(index, count);
        let inserted: Vec<_> = inserted
            .into_iter()
            .map(|Element { value, size }| Arc::new(Item { value, size }))
            .collect();
        self.put_all(index, &inserted);
        self.changed = at.version;
        let change = VecChange {
            index: index as u64,
            removed: Elements::from(removed.clone()),
            inserted: Elements::from(inserted),
        };
        let listed = (removed.len() + change.inserted.as_slice().len()) * size_of::<usize>();
        at.changes.push(change, removed_bytes + listed as u64);
        Some(removed)
    }

    fn swap(&mut self, i: u64, j: u64, at: &mut Place<VecChange<T>>) {
        let (Some(first), Some(second)) = (self.get(i).cloned(), self.get(j).cloned()) else {
            return;
        };
        if i == j {
            return;
        }
        self.elements.swap(place(i), place(j));
        self.changed = at.version;
        for (index, old, new) in [(i, &first, &second), (j, &second, &first)] {
            let change = VecChange {
                index,
                removed: Elements::One(old.clone()),
                inserted: Elements::One(new.clone()),
            };
            at.changes.push(change, 0);
        }
    }

    /// Removes the elements with these indices, as far as there are any.
    fn remove_all(&mut self, indices: Vec<u64>, at: &mut Place<VecChange<T>>) {
        let mut indices: Vec<_> = indices.into_iter().map(place).collect();
        // As every member sends them; otherwise they mean the same everywhere all the same.
        indices.sort_unstable();
        indices.dedup();
        let removed = self.elements.remove_all(&indices);
        if removed.is_empty() {
            return;
        }
        self.changed = at.version;
        // From the end, so that the others keep their indices.
        for (index, element) in indices.into_iter().zip(removed).rev() {
            self.bytes -= element.size;
            let bytes = element.size + size_of::<usize>() as u64;
            let change = VecChange {
                index: index as u64,
                removed: Elements::One(element),
                inserted: Elements::None,
            };
            at.changes.push(change, bytes);
        }
    }

    /// Adds elements before an index, which is at most the length.
    fn put_all(&mut self, index: usize, elements: &[Arc<Item<T>>]) {
        self.bytes += elements.iter().map(|element| element.size).sum::<u64>();
        match elements {
            [element] if index == 0 && self.len() > 0 => self.elements.push_front(element.clone()),
            _ => self.elements.insert_all(index, elements),
        }
    }

    /// Takes out elements, all of which exist.
    fn take_all(&mut self, index: usize, count: usize) {
        if count == self.len() {
            self.elements = Chunks::default();
            self.bytes = 0;
            return;
        }
        let range = self.elements.range(index..index + count);
        self.bytes -= range.map(|element| element.size).sum::<u64>();
        self.elements.remove_range(index..index + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections_layer::{
        engine::{Changes, Limits},
        state::steps,
    };

    type Numbers = VecKind<u64>;

    /// Steps in search of elements that an operation takes in a sequence of so many.
    fn steps_of(len: u64, op: impl FnOnce(&State<u64>) -> Op<u64>) -> usize {
        let mut state = State::default();
        let apply = |state: &mut State<u64>, op| {
            let mut place = Place {
                version: Version(Index(1)),
                limits: Limits::NONE,
                changes: Changes::new(usize::MAX, Numbers::key_hash),
            };
            Numbers::apply(state, op, &mut place);
            place.changes.list()
        };
        let elements = (0..len).map(|value| Element { value, size: 8 }).collect();
        apply(&mut state, Op::Append(elements));
        let op = op(&state);
        let before: Vec<_> = state.elements().map(|element| element.value).collect();
        steps::taken();
        let changes = apply(&mut state, op);
        assert_eq!(state.bytes, 8 * state.len() as u64);
        for change in changes.iter().rev() {
            Numbers::undo(&mut state, change);
        }
        let taken = steps::taken();
        assert!(state.elements().map(|element| element.value).eq(before));
        taken
    }

    #[test]
    fn operations_on_many_elements_search_each_of_them_once_at_most() {
        const LEN: u64 = 40_000;
        let ops: [fn(&State<u64>) -> Op<u64>; 4] = [
            |_| Op::Clear,
            |_| Op::Truncate(9),
            |state| Op::Drain(9, state.len() as u64 - 9),
            |state| Op::Drain(state.len() as u64 / 4, state.len() as u64 / 2),
        ];
        for op in ops {
            let (few, many) = (steps_of(LEN, op), steps_of(4 * LEN, op));
            assert!(many <= 6 * few.max(1), "{few} {many}");
        }
        let mut state = State::<u64>::default();
        let mut place = Place {
            version: Version(Index(1)),
            limits: Limits::NONE,
            changes: Changes::new(usize::MAX, Numbers::key_hash),
        };
        let elements = (0..LEN).map(|value| Element { value, size: 8 }).collect();
        Numbers::apply(&mut state, Op::Append(elements), &mut place);
        steps::taken();
        let retain = Op::Retain(state.seen(), (0..LEN).step_by(2).collect());
        let range = state.range(LEN / 2, LEN).map(|element| element.value);
        assert!(range.eq(LEN / 2..LEN));
        Numbers::apply(&mut state, retain, &mut place);
        assert_eq!((state.len() as u64, state.bytes), (LEN / 2, 4 * LEN));
        assert!(state.elements().all(|element| element.value % 2 == 1));
        let taken = steps::taken();
        assert!(taken < 100, "{taken}");
    }
}

#[cfg(test)]
#[path = "kind_tests.rs"]
mod vectors;
