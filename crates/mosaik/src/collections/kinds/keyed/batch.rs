//! Batches of mutations that take effect together, if what they expect holds.

use core::{fmt, marker::PhantomData, pin::Pin, time::Duration};
use std::sync::Arc;

use futures::future::Either;

use super::{
    super::super::{
        Error, Key, Value, Version,
        engine::{Outcome as EngineOutcome, Submitter},
    },
    entry::{Container, Entry},
    kind::KeyedKind,
    op::{BatchOp, Ttl},
    state::{Name, Outcome},
};
use crate::primitives::encoding::EncodeError;

/// Precondition of a [`Batch`] on a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected<V> {
    /// It has no value.
    Absent,
    /// It has a value.
    Present,
    /// Its value was written by this version, as `get_versioned` tells it. Versions belong to one
    /// history: where two that were founded apart meet, a version may name another value.
    Version(Version),
    /// It has this value. Values are compared by their encoding.
    Value(V),
}

/// Mutations of a [`Map`](crate::collections::Map) or an
/// [`OrderedMap`](crate::collections::OrderedMap) that take effect as one, if all expectations
/// hold: decided at the batch's place in the order of all mutations.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::{Expected, Map};
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let accounts = Map::<String, u64>::writer(&network, "accounts");
/// accounts.when().online().await;
/// let moved = accounts
///     .batch()
///     .expect("alice".into(), Expected::Value(10))
///     .expect("bob".into(), Expected::Value(5))
///     .insert("alice".into(), 7)
///     .insert("bob".into(), 8)
///     .commit()
///     .await?;
/// println!("moved: {}", moved.applied);
/// # Ok(())
/// # }
/// ```
///
/// # On drop
///
/// A batch that is not committed has no effect. While it lives, and its `commit` is under way, it
/// keeps the node in the collection as a handle does.
#[must_use = "a batch has no effect until it is committed"]
pub struct Batch<K: Key, V: Value> {
    op: Result<BatchOp, EncodeError>,
    commit: Arc<dyn Commit<V>>,
    /// Batches are put together from owned keys, as other mutations are.
    keys: PhantomData<fn(K)>,
}

/// Outcome of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome<V> {
    /// True if all expectations held, and the batch took effect.
    pub applied: bool,
    /// The version that the batch made, also when it had no effect.
    pub version: Version,
    /// The first expectation that did not hold, counted from 0.
    pub failed: Option<usize>,
    /// The value that each mutation of the batch found, in order; empty when it had no effect.
    pub previous: Vec<Option<V>>,
}

type Committed<V> = Pin<Box<dyn Future<Output = Result<BatchOutcome<V>, Error<()>>> + Send + Sync>>;

/// Submits a batch, whatever the kind.
trait Commit<V>: Send + Sync {
    fn commit(&self, op: &BatchOp) -> Committed<V>;
}

impl<N, C, K, V> Commit<V> for Submitter<KeyedKind<N, C, K, V>>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    fn commit(&self, op: &BatchOp) -> Committed<V> {
        let submitted = self.submit_returning(Ok(op.encode()), (), values);
        Box::pin(async move {
            let EngineOutcome { version, value } = submitted.await?;
            let (failed, previous) = match value {
                Ok(previous) => (None, previous),
                Err(failed) => (Some(failed), Vec::new()),
            };
            Ok(BatchOutcome {
                applied: failed.is_none(),
                version,
                failed,
                previous,
            })
        })
    }
}

fn values<K, V: Clone>(outcome: Outcome<K, V>) -> Result<Vec<Option<V>>, usize> {
    let Outcome::Batch(result) = outcome else {
        return Ok(Vec::new());
    };
    let value = |entry: Option<Arc<Entry<K, V>>>| entry.map(|entry| entry.value.clone());
    result.map(|previous| previous.into_iter().map(value).collect())
}

impl<K: Key, V: Value> Batch<K, V> {
    pub(crate) fn new<N, C>(submitter: &Submitter<KeyedKind<N, C, K, V>>) -> Self
    where
        N: Name,
        C: Container<K, V>,
    {
        Self {
            op: Ok(BatchOp::new()),
            commit: Arc::new(submitter.clone()),
            keys: PhantomData,
        }
    }

    /// Makes the batch depend on what a key has at its place in the order of all mutations, before
    /// the batch itself.
    pub fn expect(self, key: K, expected: Expected<V>) -> Self {
        self.and(|op| match &expected {
            Expected::Absent => op.expect_absent(&key),
            Expected::Present => op.expect_present(&key),
            Expected::Version(version) => op.expect_version(&key, *version),
            Expected::Value(value) => op.expect_value(&key, value),
        })
    }

    /// Inserts or replaces a value.
    pub fn insert(self, key: K, value: V) -> Self {
        self.and(|op| op.insert(&key, &value, Ttl::None))
    }

    /// Inserts or replaces a value that expires; see `insert_with_ttl` of the collection.
    pub fn insert_with_ttl(self, key: K, value: V, ttl: Duration) -> Self {
        self.and(|op| op.insert(&key, &value, Ttl::New(millis(ttl))))
    }

    /// Removes a key; without effect when it is absent.
    pub fn remove(self, key: K) -> Self {
        self.and(|op| op.remove(&key))
    }

    /// Lets a key expire after this time, from now on; without effect when it is absent. So
    /// the holder of a lease renews it only if it is still theirs.
    pub fn expire(self, key: K, ttl: Duration) -> Self {
        self.and(|op| op.expire(&key, millis(ttl)))
    }

    fn and(mut self, add: impl FnOnce(&mut BatchOp) -> Result<(), EncodeError>) -> Self {
        if let Ok(op) = &mut self.op
            && let Err(error) = add(op)
        {
            self.op = Err(error);
        }
        self
    }

    /// Submits the batch. Submitted when this is called; polling waits for the result.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the batch, to be committed again.
    /// [`Error::Encoding`] also when anything that was added has no encoding.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels nothing.
    pub fn commit(
        self,
    ) -> impl Future<Output = Result<BatchOutcome<V>, Error<Self>>> + Send + Sync + 'static {
        let submitted = match &self.op {
            Ok(op) => Either::Left(self.commit.commit(op)),
            Err(error) => {
                Either::Right(core::future::ready(Err(Error::Encoding((), error.clone()))))
            }
        };
        async move { submitted.await.map_err(|error| error.map(|()| self)) }
    }
}

impl<K: Key, V: Value> fmt::Debug for Batch<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("encodes", &self.op.is_ok())
            .finish_non_exhaustive()
    }
}

/// Mutations of a [`Set`](crate::collections::Set) that take effect as one; see [`Batch`].
#[must_use = "a batch has no effect until it is committed"]
#[derive(Debug)]
pub struct SetBatch<T: Key>(pub(crate) Batch<T, ()>);

impl<T: Key> SetBatch<T> {
    /// Makes the batch depend on an element: whether it is [present](Expected::Present) or
    /// [absent](Expected::Absent).
    pub fn expect(self, value: T, expected: Expected<()>) -> Self {
        Self(self.0.expect(value, expected))
    }

    /// Adds an element.
    pub fn insert(self, value: T) -> Self {
        Self(self.0.insert(value, ()))
    }

    /// Adds an element that expires.
    pub fn insert_with_ttl(self, value: T, ttl: Duration) -> Self {
        Self(self.0.insert_with_ttl(value, (), ttl))
    }

    /// Removes an element; without effect when it is absent.
    pub fn remove(self, value: T) -> Self {
        Self(self.0.remove(value))
    }

    /// Lets an element expire after this time, from now on; without effect when it is absent.
    pub fn expire(self, value: T, ttl: Duration) -> Self {
        Self(self.0.expire(value, ttl))
    }

    /// As [`Batch::commit`].
    ///
    /// # Errors
    ///
    /// As [`Batch::commit`].
    pub fn commit(
        self,
    ) -> impl Future<Output = Result<BatchOutcome<()>, Error<Self>>> + Send + Sync + 'static {
        let submitted = self.0.commit();
        async move { submitted.await.map_err(|error| error.map(Self)) }
    }
}

/// Whole milliseconds, rounded up: nothing expires early.
pub(crate) fn millis(ttl: Duration) -> u64 {
    let millis = ttl.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}
