//! `Set`: unordered, unique elements.

use core::{borrow::Borrow, fmt, hash::Hash};
use std::sync::Arc;

use super::{
    super::{
        CollectionConfig, Error, Key, StoreId, Version, When,
        engine::{Handle, Live, Outcome, Role},
        state::{Keyed, Trie},
    },
    keyed::{Entry, KeyedKind, Name, op},
};
use crate::groups::{GroupId, Groups};

/// A replicated set without order.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::Set;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let seen = Set::<String>::writer(&network, "seen");
/// seen.when().online().await;
/// seen.insert("0x2a".into()).await?;
/// assert!(seen.contains("0x2a"));
/// # Ok(())
/// # }
/// ```
pub struct Set<T: Key, const IS_WRITER: bool = true>(Handle<SetKind<T>>);

/// A [`Set`] that can be changed.
pub type SetWriter<T> = Set<T, true>;
/// A [`Set`] that can only be read.
pub type SetReader<T> = Set<T, false>;

pub(crate) struct SetName;

impl Name for SetName {
    const NAME: &'static str = "set";
    const SIZE: &'static str = "mosaik.collections.set.size";
}

pub(crate) type SetKind<T> = KeyedKind<SetName, Trie<Entry<T, ()>>, T, ()>;

super::constructors!(Set<T: Key>, [T], SetKind<T>, SetReader<T>);

impl<T: Key, const IS_WRITER: bool> Set<T, IS_WRITER> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an element is there.
    pub fn contains<Q>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.read(|state| state.entries.get(value).is_some())
    }

    /// Whether the other set has every element of this one, both as they are on this node now.
    pub fn is_subset<const W: bool>(&self, other: &Set<T, W>) -> bool {
        self.snapshot().is_subset(&other.snapshot())
    }

    /// All elements of the present state. The order is unspecified, and the same on all members
    /// with the same content.
    pub fn iter(&self) -> impl Iterator<Item = T> + Send + use<T, IS_WRITER> {
        let entries = self.0.snapshot().state.entries.into_iter();
        entries.map(|entry: Arc<Entry<T, ()>>| entry.key.clone())
    }

    /// The present state, at no cost: it does not change any more.
    pub fn snapshot(&self) -> SetSnapshot<T> {
        SetSnapshot(self.0.snapshot())
    }
}

impl<T: Key> Set<T, true> {
    /// Adds an element; without effect when it is there.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static {
        self.0.submit(op::insert(&value, &()), value)
    }

    /// Adds many elements as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all elements.
    pub fn extend(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> impl Future<Output = Result<Version, Error<std::vec::Vec<T>>>> + Send + Sync + 'static
    {
        let values: std::vec::Vec<_> = values.into_iter().collect();
        let op = (!values.is_empty()).then(|| op::extend(values.iter().map(|value| (value, &()))));
        self.0.submit_some(op, values)
    }

    /// Removes an element; without effect when it is absent.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn remove<Q: Borrow<T>>(
        &self,
        value: &Q,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T, Q> {
        let value = value.borrow();
        self.0.submit(op::remove(value), value.clone())
    }

    /// Removes many elements as one mutation.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with all elements.
    pub fn remove_many(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> impl Future<Output = Result<Version, Error<std::vec::Vec<T>>>> + Send + Sync + 'static
    {
        let values: std::vec::Vec<_> = values.into_iter().collect();
        let op = (!values.is_empty()).then(|| op::remove_many(&values));
        self.0.submit_some(op, values)
    }

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static {
        self.0.submit(Ok(op::clear()), ())
    }

    /// As [`insert`](Self::insert), and tells whether the element is new.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert_returning(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Outcome<bool>, Error<T>>> + Send + Sync + 'static {
        let op = op::insert(&value, &());
        self.0
            .submit_returning(op, value, |outcome| outcome.previous().is_none())
    }

    /// As [`remove`](Self::remove), and tells whether the element was there.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn remove_returning<Q: Borrow<T>>(
        &self,
        value: &Q,
    ) -> impl Future<Output = Result<Outcome<bool>, Error<T>>> + Send + Sync + 'static + use<T, Q>
    {
        let value = value.borrow();
        self.0
            .submit_returning(op::remove(value), value.clone(), |outcome| {
                outcome.previous().is_some()
            })
    }
}

/// The state of a [`Set`] at one version.
#[derive(Clone)]
pub struct SetSnapshot<T: Key>(Live<SetKind<T>>);

impl<T: Key> SetSnapshot<T> {
    /// The version of this state.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.state.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an element is there.
    pub fn contains<Q>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.state.entries.get(value).is_some()
    }

    /// Whether the other set has every element of this one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|value| other.contains(value))
    }

    /// All elements; the order is unspecified.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Send {
        self.0.state.entries.iter().map(|entry| entry.key())
    }
}

impl<T: Key> fmt::Debug for SetSnapshot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug_snapshot::<SetKind<T>>("SetSnapshot", &self.0, f)
    }
}
