//! `Set`: unordered, unique elements.

use core::{borrow::Borrow, fmt, hash::Hash, time::Duration};
use std::sync::Arc;

use super::{
    super::{
        CollectionConfig, Error, Key, MutationFuture, OpenError, Status, StoreId, Version, Watch,
        When,
        engine::{Everything, Handle, Live, Opening, Outcome},
        state::{Keyed, Trie},
    },
    keyed::{Batch, Entry, KeyedKind, Name, OneKey, SetBatch, SetChange, millis, op},
    map::is_there,
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
    const REPLACES: bool = false;
}

pub(crate) type SetKind<T> = KeyedKind<SetName, Trie<Entry<T, ()>>, T, ()>;

super::handles!(Set<T: Key>, [T], SetKind<T>);

impl<T: Key, const IS_WRITER: bool> Set<T, IS_WRITER> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.read(|state| state.entries.len())
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether an element is there.
    pub fn contains<Q>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.read(|state| state.entries.get(value).is_some())
    }

    /// Returns whether the other set has every element of this one, both as they are on this node
    /// now.
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

    /// The time that an element has left; `None` when it is absent or does not expire. Between two
    /// readings of the log's clock this node goes on by its own, so the answers of two members may
    /// differ.
    pub fn ttl(&self, value: &T) -> Option<Duration> {
        self.0.read_at(|state, now| state.ttl(value, now))
    }

    /// Watches everything, from now on.
    pub fn watch(&self) -> Watch<SetSnapshot<T>, SetChange<T>> {
        self.0.watch(Everything, SetSnapshot)
    }

    /// Watches one element, from now on. Changes of others cost it nothing.
    pub fn watch_key(&self, value: T) -> Watch<SetSnapshot<T>, SetChange<T>> {
        self.0.watch(OneKey(value), SetSnapshot)
    }

    /// Watches everything after a version; see [`Map::watch_from`](super::Map::watch_from).
    pub fn watch_from(&self, version: Version) -> Watch<SetSnapshot<T>, SetChange<T>> {
        self.0.watch_from(version, SetSnapshot)
    }
}

impl<T: Key> Set<T, true> {
    /// Adds an element; without effect when it is there, except that it does not expire any more.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
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
    ) -> MutationFuture<Version, std::vec::Vec<T>> {
        let values: std::vec::Vec<_> = values.into_iter().collect();
        let op = (!values.is_empty()).then(|| op::extend(values.iter().map(|value| (value, &()))));
        Box::pin(self.0.submit_some(op, values))
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
    ) -> MutationFuture<Version, std::vec::Vec<T>> {
        let values: std::vec::Vec<_> = values.into_iter().collect();
        let op = (!values.is_empty()).then(|| op::remove_many(&values));
        Box::pin(self.0.submit_some(op, values))
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

    /// As [`insert`](Self::insert), and tells whether the element is new.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert_returning(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Outcome<bool>, Error<T>>> + Send + Sync + 'static + use<T>
    {
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
            .submit_returning(op::remove(value), value.clone(), is_there)
    }
}

impl<T: Key> Set<T, true> {
    /// Adds an element that expires, also when it is there; see
    /// [`Map::insert_with_ttl`](super::Map::insert_with_ttl).
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn insert_with_ttl(
        &self,
        value: T,
        ttl: Duration,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        let op = op::insert_with_ttl(&value, &(), millis(ttl));
        self.0.submit(op, value)
    }

    /// Lets an element expire after this time, from now on, whatever was set before; without effect
    /// when it is absent. Tells whether it is there.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn expire(
        &self,
        value: &T,
        ttl: Duration,
    ) -> impl Future<Output = Result<Outcome<bool>, Error<T>>> + Send + Sync + 'static + use<T>
    {
        let op = op::expire(value, millis(ttl));
        self.0.submit_returning(op, value.clone(), is_there)
    }

    /// Lets an element expire no more. Tells whether it would have.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the element.
    pub fn persist(
        &self,
        value: &T,
    ) -> impl Future<Output = Result<Outcome<bool>, Error<T>>> + Send + Sync + 'static + use<T>
    {
        self.0
            .submit_returning(op::persist(value), value.clone(), is_there)
    }

    /// Begins a batch of mutations that take effect as one, if what they expect holds.
    pub fn batch(&self) -> SetBatch<T> {
        SetBatch(Batch::new(self.0.submitter()))
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

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.state.entries.len()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether an element is there.
    pub fn contains<Q>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.state.entries.get(value).is_some()
    }

    /// Returns whether the other set has every element of this one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|value| other.contains(value))
    }

    /// The time that an element had left when the snapshot was made; `None` when it is absent or does not
    /// expire. In the snapshot of a watch that goes on from an older version, also when it was
    /// changed since.
    pub fn ttl(&self, value: &T) -> Option<Duration> {
        self.0.state.ttl(value, self.0.clock_millis)
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
