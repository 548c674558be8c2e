//! `Vec`: a sequence.

use core::fmt;
use std::{marker::PhantomData, sync::Arc};

use super::super::{
    CollectionConfig, Error, StoreId, Value, Version, When,
    engine::{Applied, Element, Handle, ITEM, Kind, Live, Outcome, Place, Reader, Role, Writer},
    state::Chunks,
};
use crate::{
    groups::{GroupId, Groups},
    primitives::{Bytes, encoding::EncodeError},
};

/// A replicated sequence.
///
/// Indices refer to the content at the mutation's place in the order of all mutations, not to what
/// the caller saw when calling.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let jobs = collections::Vec::<String>::writer(&network, "jobs");
/// jobs.when().online().await;
/// jobs.push_back("index block 7".into()).await?;
/// let job = jobs.pop_front_returning().await?.value;
/// assert_eq!(job.as_deref(), Some("index block 7"));
/// # Ok(())
/// # }
/// ```
pub struct Vec<T: Value, const IS_WRITER: bool = true>(Handle<VecKind<T>>);

/// A [`Vec`] that can be changed.
pub type VecWriter<T> = Vec<T, true>;
/// A [`Vec`] that can only be read.
pub type VecReader<T> = Vec<T, false>;

pub(crate) struct VecKind<T>(PhantomData<fn() -> T>);

/// An element and the bytes of its encoding.
pub(crate) struct Item<T> {
    value: T,
    size: u64,
}

pub(crate) struct State<T> {
    elements: Chunks<Item<T>>,
    bytes: u64,
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self {
            elements: self.elements.clone(),
            bytes: self.bytes,
        }
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            elements: Chunks::default(),
            bytes: 0,
        }
    }
}

const PUSH_BACK: u8 = 0;
const PUSH_FRONT: u8 = 1;
const INSERT: u8 = 2;
const EXTEND: u8 = 3;
const POP_BACK: u8 = 4;
const POP_FRONT: u8 = 5;
const REMOVE: u8 = 6;
const SWAP: u8 = 7;
const TRUNCATE: u8 = 8;
const CLEAR: u8 = 9;
const REPLACE: u8 = 10;

/// An operation with numbers only.
fn op(number: u8, operands: &[u64]) -> Bytes {
    let mut op = Writer::new(number);
    for operand in operands {
        op.u64(*operand);
    }
    op.finish()
}

/// An operation with numbers and then elements.
fn op_with<'a, T: Value>(
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

/// Indices that do not fit this platform are beyond any length.
fn place(index: u64) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl<T: Value> Kind for VecKind<T> {
    const NAME: &'static str = "vec";
    const SIZE: &'static str = "mosaik.collections.vec.size";

    type State = State<T>;
    /// The element that was removed or replaced.
    type Outcome = Option<Arc<Item<T>>>;

    fn len(state: &State<T>) -> usize {
        state.elements.len()
    }

    fn apply(state: &mut State<T>, op: &mut Reader<'_>, at: &Place) -> Option<Applied<Self>> {
        let number = op.u8()?;
        let outcome = match number {
            PUSH_BACK | PUSH_FRONT | INSERT | EXTEND | REPLACE => {
                return state.add(number, op, at);
            }
            POP_BACK => {
                op.is_empty().then_some(())?;
                state.removed(Chunks::pop_back)
            }
            POP_FRONT => {
                op.is_empty().then_some(())?;
                state.removed(Chunks::pop_front)
            }
            REMOVE => {
                let index = place(op.u64()?);
                op.is_empty().then_some(())?;
                state.removed(|elements| elements.remove(index))
            }
            SWAP => {
                let (i, j) = (place(op.u64()?), place(op.u64()?));
                op.is_empty().then_some(())?;
                state.elements.swap(i, j);
                None
            }
            TRUNCATE => {
                let len = place(op.u64()?);
                op.is_empty().then_some(())?;
                while state.elements.len() > len {
                    state.removed(Chunks::pop_back);
                }
                None
            }
            CLEAR => {
                op.is_empty().then_some(())?;
                *state = State::default();
                None
            }
            _ => return None,
        };
        Some(Applied::Done(outcome))
    }

    fn items(state: &State<T>) -> std::vec::Vec<Bytes> {
        let elements = state.elements.iter().filter_map(|element| {
            let mut item = Writer::new(ITEM);
            item.element(&element.value).ok()?;
            Some(item.finish())
        });
        elements.collect()
    }

    fn restore(state: &mut State<T>, item: &mut Reader<'_>) -> Option<()> {
        let Element { value, size } = item.element()?;
        state.bytes += size;
        state.elements.push_back(Arc::new(Item { value, size }));
        Some(())
    }
}

impl<T: Value> State<T> {
    fn add(&mut self, number: u8, op: &mut Reader<'_>, at: &Place) -> Option<Applied<VecKind<T>>> {
        let index = match number {
            INSERT | REPLACE => Some(place(op.u64()?)),
            _ => None,
        };
        let elements = op.rest(Reader::element::<T>)?;
        if number != EXTEND && elements.len() != 1 {
            return None;
        }
        let replaced = index
            .filter(|_| number == REPLACE)
            .map(|index| self.elements.get(index).cloned());
        let without_effect = match number {
            INSERT => index > Some(self.elements.len()),
            REPLACE => matches!(replaced, Some(None)),
            _ => false,
        };
        if without_effect {
            return Some(Applied::Done(None));
        }
        let replaced = replaced.flatten();
        let len = self.elements.len();
        let added: u64 = elements.iter().map(|element| element.size).sum();
        let bytes = self.bytes + added - replaced.as_ref().map_or(0, |replaced| replaced.size);
        let grown = len + elements.len() - usize::from(replaced.is_some());
        if !at.limits.admit((len, grown), (self.bytes, bytes)) {
            return Some(Applied::Full);
        }
        self.bytes = bytes;
        for Element { value, size } in elements {
            let element = Arc::new(Item { value, size });
            match (number, index) {
                (PUSH_FRONT, _) => self.elements.push_front(element),
                (INSERT, Some(index)) => {
                    self.elements.insert(index, element);
                }
                (REPLACE, Some(index)) => {
                    self.elements.replace(index, element);
                }
                _ => self.elements.push_back(element),
            }
        }
        Some(Applied::Done(replaced))
    }

    fn removed(
        &mut self,
        remove: impl FnOnce(&mut Chunks<Item<T>>) -> Option<Arc<Item<T>>>,
    ) -> Option<Arc<Item<T>>> {
        let removed = remove(&mut self.elements)?;
        self.bytes -= removed.size;
        Some(removed)
    }
}

super::constructors!(Vec<T: Value>, [T], VecKind<T>, VecReader<T>);

impl<T: Value, const IS_WRITER: bool> Vec<T, IS_WRITER> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.elements.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index; `None` when it is out of range.
    pub fn get(&self, index: u64) -> Option<T> {
        self.0.read(|state| {
            let element = state.elements.get(place(index))?;
            Some(element.value.clone())
        })
    }

    /// The first element.
    pub fn front(&self) -> Option<T> {
        self.get(0)
    }

    /// The same as [`front`](Self::front).
    pub fn head(&self) -> Option<T> {
        self.front()
    }

    /// The last element.
    pub fn back(&self) -> Option<T> {
        self.0.read(|state| {
            let last = state.elements.len().checked_sub(1)?;
            Some(state.elements.get(last)?.value.clone())
        })
    }

    /// The same as [`back`](Self::back).
    pub fn last(&self) -> Option<T> {
        self.back()
    }

    /// All elements of the present state, by index.
    pub fn iter(&self) -> impl Iterator<Item = T> + Send + use<T, IS_WRITER> {
        let elements = self.0.snapshot().state.elements.into_iter();
        elements.map(|element: Arc<Item<T>>| element.value.clone())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> VecSnapshot<T> {
        VecSnapshot(self.0.snapshot())
    }
}

impl<T: Value + PartialEq, const IS_WRITER: bool> Vec<T, IS_WRITER> {
    /// Whether an element is equal to this value.
    pub fn contains(&self, value: &T) -> bool {
        self.index_of(value).is_some()
    }

    /// The index of the first element that is equal to this value.
    pub fn index_of(&self, value: &T) -> Option<u64> {
        let snapshot = self.snapshot();
        let index = snapshot.iter().position(|element| element == value)?;
        Some(index as u64)
    }
}

impl<T: Value> Vec<T, true> {
    /// Appends an element.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn push_back(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static {
        self.0.submit(op_with(PUSH_BACK, &[], [&value]), value)
    }

    /// Puts an element before the first.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn push_front(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static {
        self.0.submit(op_with(PUSH_FRONT, &[], [&value]), value)
    }

    /// Inserts an element before an index, or appends it at the length; without effect beyond.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert(
        &self,
        index: u64,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static {
        self.0.submit(op_with(INSERT, &[index], [&value]), value)
    }

    /// Appends many elements as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all elements.
    pub fn extend(
        &self,
        entries: impl IntoIterator<Item = T>,
    ) -> impl Future<Output = Result<Version, Error<std::vec::Vec<T>>>> + Send + Sync + 'static
    {
        let entries: std::vec::Vec<_> = entries.into_iter().collect();
        let op = (!entries.is_empty()).then(|| op_with(EXTEND, &[], &entries));
        self.0.submit_some(op, entries)
    }

    /// Removes the last element; without effect when there is none.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_back(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(POP_BACK, &[])), ())
    }

    /// Removes the first element; without effect when there is none.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_front(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(POP_FRONT, &[])), ())
    }

    /// Removes the element at an index; without effect when it is out of range.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the index.
    pub fn remove(
        &self,
        index: u64,
    ) -> impl Future<Output = Result<Version, Error<u64>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(REMOVE, &[index])), index)
    }

    /// Exchanges two elements; without effect when an index is out of range.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn swap(
        &self,
        i: u64,
        j: u64,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(SWAP, &[i, j])), ())
    }

    /// Keeps the first `len` elements.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn truncate(
        &self,
        len: usize,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(TRUNCATE, &[len as u64])), ())
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op(CLEAR, &[])), ())
    }

    /// Replaces the element at an index, and tells the former one; without effect, and `None`, when
    /// it is out of range.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn replace(
        &self,
        index: u64,
        value: T,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<T>>> + Send + Sync + 'static {
        let op = op_with(REPLACE, &[index], [&value]);
        self.0.submit_returning(op, value, element)
    }

    /// As [`pop_back`](Self::pop_back), and tells the element: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_back_returning(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<()>>> + Send + Sync + 'static {
        self.0.submit_returning(Ok(op(POP_BACK, &[])), (), element)
    }

    /// As [`pop_front`](Self::pop_front), and tells the element: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_front_returning(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<()>>> + Send + Sync + 'static {
        self.0.submit_returning(Ok(op(POP_FRONT, &[])), (), element)
    }
}

fn element<T: Clone>(removed: Option<Arc<Item<T>>>) -> Option<T> {
    removed.map(|element| element.value.clone())
}

/// The state of a [`Vec`] at one version.
#[derive(Clone)]
pub struct VecSnapshot<T: Value>(Live<VecKind<T>>);

impl<T: Value> VecSnapshot<T> {
    /// The version of this state.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.state.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index.
    pub fn get(&self, index: u64) -> Option<&T> {
        let element = self.0.state.elements.get(place(index))?;
        Some(&element.value)
    }

    /// All elements, by index.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Send {
        self.0.state.elements.iter().map(|element| &element.value)
    }
}

impl<T: Value> fmt::Debug for VecSnapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<VecKind<T>>("VecSnapshot", &self.0, f)
    }
}
