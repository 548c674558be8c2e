//! `Vec`: a sequence.

mod change;
mod kind;

use core::{fmt, ops::RangeBounds};
use std::sync::Arc;

use change::Item;
pub use change::VecChange;
use kind::{VecKind, op};

use super::super::{
    CollectionConfig, Error, MutationFuture, OpenError, Status, StoreId, Value, Version, Watch,
    When,
    engine::{Everything, Handle, Live, Opening, Outcome},
};
use crate::groups::{GroupId, Groups};

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

super::handles!(Vec<T: Value>, [T], VecKind<T>);

impl<T: Value, const IS_WRITER: bool> Vec<T, IS_WRITER> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.len())
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index; `None` when it is out of range.
    pub fn get(&self, index: u64) -> Option<T> {
        let element = self.0.read(|state| state.get(index).cloned())?;
        Some(element.value.clone())
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
        let last = self.0.read(|state| state.last().cloned())?;
        Some(last.value.clone())
    }

    /// The same as [`back`](Self::back).
    pub fn last(&self) -> Option<T> {
        self.back()
    }

    /// All elements of the present state, by index.
    pub fn iter(&self) -> impl Iterator<Item = T> + Send + use<T, IS_WRITER> {
        let elements = self.0.snapshot().state.into_elements();
        elements.map(|element: Arc<Item<T>>| element.value.clone())
    }

    /// The elements of a range of indices in one state; what is out of range is passed over.
    pub fn range(&self, range: impl RangeBounds<u64>) -> std::vec::Vec<T> {
        let state = self.0.snapshot().state;
        let (start, end) = kind::clip(&range, state.len() as u64);
        let elements = state.range(start, end);
        elements.map(|element| element.value.clone()).collect()
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> VecSnapshot<T> {
        VecSnapshot(self.0.snapshot())
    }

    /// Watches everything, from now on.
    pub fn watch(&self) -> Watch<VecSnapshot<T>, VecChange<T>> {
        self.0.watch(Everything, VecSnapshot)
    }

    /// Watches everything after a version; see [`Map::watch_from`](super::Map::watch_from).
    pub fn watch_from(&self, version: Version) -> Watch<VecSnapshot<T>, VecChange<T>> {
        self.0.watch_from(version, VecSnapshot)
    }
}

impl<T: Value + PartialEq, const IS_WRITER: bool> Vec<T, IS_WRITER> {
    /// Returns whether an element is equal to this value.
    pub fn contains(&self, value: &T) -> bool {
        self.index_of(value).is_some()
    }

    /// The index of the first element that is equal to this value.
    pub fn index_of(&self, value: &T) -> Option<u64> {
        self.snapshot().index_of(value)
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
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.0.submit(op::push_back(&value), value)
    }

    /// Puts an element before the first.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn push_front(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.0.submit(op::push_front(&value), value)
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
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.0.submit(op::insert(index, &value), value)
    }

    /// Appends many elements as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all elements.
    pub fn extend(
        &self,
        entries: impl IntoIterator<Item = T>,
    ) -> MutationFuture<Version, std::vec::Vec<T>> {
        let entries: std::vec::Vec<_> = entries.into_iter().collect();
        let op = (!entries.is_empty()).then(|| op::extend(&entries));
        Box::pin(self.0.submit_some(op, entries))
    }

    /// Removes the last element; without effect when there is none.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_back(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::pop_back()), ())
    }

    /// Removes the first element; without effect when there is none.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_front(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::pop_front()), ())
    }

    /// Removes the element at an index; without effect when it is out of range.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the index.
    pub fn remove(
        &self,
        index: u64,
    ) -> impl Future<Output = Result<Version, Error<u64>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::remove(index)), index)
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
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::swap(i, j)), ())
    }

    /// Keeps the first `len` elements.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn truncate(
        &self,
        len: usize,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::truncate(len as u64)), ())
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(op::clear()), ())
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
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<T>>> + Send + Sync + 'static + use<T>
    {
        let op = op::replace(index, &value);
        self.0.submit_returning(op, value, element)
    }

    /// As [`pop_back`](Self::pop_back), and tells the element: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_back_returning(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<()>>> + Send + Sync + 'static + use<T>
    {
        self.0.submit_returning(Ok(op::pop_back()), (), element)
    }

    /// As [`pop_front`](Self::pop_front), and tells the element: of several callers, one gets it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn pop_front_returning(
        &self,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<()>>> + Send + Sync + 'static + use<T>
    {
        self.0.submit_returning(Ok(op::pop_front()), (), element)
    }
}

impl<T: Value> Vec<T, true> {
    /// Removes the elements of a range of indices as one mutation, and tells them. Indices out of
    /// range are passed over; an inverted range has no effect.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn drain(
        &self,
        range: impl RangeBounds<u64>,
    ) -> MutationFuture<Outcome<std::vec::Vec<T>>, ()> {
        let op = op::drain(&range);
        Box::pin(
            self.0
                .submit_returning(Ok(op), (), |outcome| outcome.values()),
        )
    }

    /// Keeps the elements for which the function returns `true`, as one mutation, and tells how
    /// many were removed.
    ///
    /// The function is called again for all elements when another mutation came first. Begins when
    /// the future is polled.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, an attempt that is under way may still take effect, and no other
    /// is made.
    pub fn retain<F>(
        &self,
        mut keep: F,
    ) -> impl Future<Output = Result<Outcome<u64>, Error<()>>> + Send + Sync + 'static + use<T, F>
    where
        F: FnMut(&T) -> bool + Send + Sync + 'static,
    {
        let submitter = self.0.submitter().clone();
        async move {
            loop {
                let state = submitter.read(Clone::clone);
                let gone = (0..).zip(state.elements());
                let gone: std::vec::Vec<u64> = gone
                    .filter(|(_, element)| !keep(&element.value))
                    .map(|(index, _)| index)
                    .collect();
                let op = op::retain(state.seen(), &gone);
                drop(state);
                let submitted = submitter.submit_returning(Ok(op), (), |outcome| outcome.fits());
                let Outcome { version, value } = submitted.await?;
                if value {
                    return Ok(Outcome {
                        version,
                        value: gone.len() as u64,
                    });
                }
            }
        }
    }
}

fn element<T: Value>(outcome: kind::Outcome<T>) -> Option<T> {
    outcome.value()
}

/// The state of a [`Vec`] at one version.
#[derive(Clone)]
pub struct VecSnapshot<T: Value>(Live<VecKind<T>>);

impl<T: Value> VecSnapshot<T> {
    /// The version of this state.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.state.len()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at an index.
    pub fn get(&self, index: u64) -> Option<&T> {
        let element = self.0.state.get(index)?;
        Some(&element.value)
    }

    /// The first element.
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// The same as [`front`](Self::front).
    pub fn head(&self) -> Option<&T> {
        self.front()
    }

    /// The last element.
    pub fn back(&self) -> Option<&T> {
        self.0.state.last().map(|element| &element.value)
    }

    /// The same as [`back`](Self::back).
    pub fn last(&self) -> Option<&T> {
        self.back()
    }

    /// The elements of a range of indices; what is out of range is passed over.
    pub fn range(&self, range: impl RangeBounds<u64>) -> impl Iterator<Item = &T> + Send {
        let (start, end) = kind::clip(&range, self.0.state.len() as u64);
        let elements = self.0.state.range(start, end);
        elements.map(|element| &element.value)
    }

    /// All elements, by index.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Send {
        self.0.state.elements().map(|element| &element.value)
    }
}

impl<T: Value + PartialEq> VecSnapshot<T> {
    /// Returns whether an element is equal to this value.
    pub fn contains(&self, value: &T) -> bool {
        self.index_of(value).is_some()
    }

    /// The index of the first element that is equal to this value.
    pub fn index_of(&self, value: &T) -> Option<u64> {
        let index = self.iter().position(|element| element == value)?;
        Some(index as u64)
    }
}

impl<T: Value> fmt::Debug for VecSnapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<VecKind<T>>("VecSnapshot", &self.0, f)
    }
}
