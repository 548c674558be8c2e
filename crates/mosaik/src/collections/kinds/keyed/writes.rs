//! Common parts of `Map` and `OrderedMap`: mutations, expiry, and watches.

use super::{
    super::super::{
        Error, Key, Value,
        engine::{Outcome, Submitter},
    },
    entry::Container,
    kind::KeyedKind,
    op::{BatchOp, Ttl},
    state::{self, Name},
};

/// The mutations of a map, and what both roles have beside reading.
macro_rules! keyed_writes {
    ($name:ident<$key:ident, V>, $snapshot:ident) => {
        impl<K: $key, V: Value, const IS_WRITER: bool> $name<K, V, IS_WRITER> {
            /// The time that a key has left; `None` when it is absent or does not expire. Between
            /// two readings of the log's clock this node goes on by its own, so the answers of two
            /// members may differ.
            pub fn ttl(&self, key: &K) -> Option<Duration> {
                self.0.read_at(|state, now| state.ttl(key, now))
            }

            /// Watches everything, from now on. Before this member is
            /// [online](When::online), that may be an old or empty content, and what follows may
            /// come as a snapshot.
            pub fn watch(&self) -> Watch<$snapshot<K, V>, MapChange<K, V>> {
                self.0.watch(Everything, $snapshot)
            }

            /// Watches one key, from now on. Changes of other keys cost it nothing.
            pub fn watch_key(&self, key: K) -> Watch<$snapshot<K, V>, MapChange<K, V>> {
                self.0.watch(OneKey(key), $snapshot)
            }

            /// Watches everything after a version: resumes where another watch has ended. Tells
            /// [`Event::Compacted`](crate::collections::Event::Compacted) first when that is too
            /// long ago. A version that this node has not reached is waited for, as after a restart:
            /// nothing is told of what comes before it, and if the node catches up by a snapshot
            /// behind it, that is told as `Compacted`. Until then [`Watch::snapshot`] is the content
            /// as the node has it at the call.
            ///
            /// Versions belong to one history: of one that this member has given up
            /// ([`Event::Reset`](crate::collections::Event::Reset)), or that was lost with all its
            /// members, nothing can be resumed.
            pub fn watch_from(
                &self,
                version: Version,
            ) -> Watch<$snapshot<K, V>, MapChange<K, V>> {
                self.0.watch_from(version, $snapshot)
            }
        }

        impl<K: $key, V: Value> $name<K, V, true> {
            /// Inserts a value, or replaces it. It does not expire, also if the former one did.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key and the value.
            pub fn insert(
                &self,
                key: K,
                value: V,
            ) -> impl Future<Output = Result<Version, Error<(K, V)>>> + Send + Sync + 'static + use<K, V> {
                self.0.submit(op::insert(&key, &value), (key, value))
            }

            /// Inserts or replaces many values as one mutation: all or none, of a repeated key the
            /// last.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with all entries.
            pub fn extend(
                &self,
                entries: impl IntoIterator<Item = (K, V)>,
            ) -> MutationFuture<Version, std::vec::Vec<(K, V)>> {
                let entries: std::vec::Vec<_> = entries.into_iter().collect();
                let op = (!entries.is_empty())
                    .then(|| op::extend(entries.iter().map(|(key, value)| (key, value))));
                Box::pin(self.0.submit_some(op, entries))
            }

            /// Removes a key; without effect when it is absent.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key.
            pub fn remove(
                &self,
                key: &K,
            ) -> impl Future<Output = Result<Version, Error<K>>> + Send + Sync + 'static + use<K, V> {
                self.0.submit(op::remove(key), key.clone())
            }

            /// Removes many keys as one mutation.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with all keys.
            pub fn remove_many(
                &self,
                keys: impl IntoIterator<Item = K>,
            ) -> MutationFuture<Version, std::vec::Vec<K>> {
                let keys: std::vec::Vec<_> = keys.into_iter().collect();
                let op = (!keys.is_empty()).then(|| op::remove_many(&keys));
                Box::pin(self.0.submit_some(op, keys))
            }

            /// Removes everything.
            ///
            /// # Errors
            ///
            /// See [`Error`].
            pub fn clear(
                &self,
            ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<K, V> {
                self.0.submit(Ok(op::clear()), ())
            }

            /// Replaces the value of a key if it is the expected one, where `None` stands for an
            /// absent key, on both sides. Values are compared by their encoding. The version tells
            /// nothing about whether it was: see
            /// [`compare_exchange_returning`](Self::compare_exchange_returning).
            ///
            /// # Errors
            ///
            /// See [`Error`]; with all arguments.
            pub fn compare_exchange(
                &self,
                key: K,
                expected: Option<V>,
                new: Option<V>,
            ) -> impl Future<Output = Result<Version, Error<(K, Option<V>, Option<V>)>>>
            + Send
            + Sync
            + 'static + use<K, V> {
                let op = op::compare_exchange(&key, expected.as_ref(), new.as_ref());
                self.0.submit(op, (key, expected, new))
            }

            /// As [`insert`](Self::insert), and tells the value that was replaced.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key and the value.
            pub fn insert_returning(
                &self,
                key: K,
                value: V,
            ) -> impl Future<Output = Result<Outcome<Option<V>>, Error<(K, V)>>> + Send + Sync + 'static + use<K, V>
            {
                let op = op::insert(&key, &value);
                self.0.submit_returning(op, (key, value), previous)
            }

            /// As [`remove`](Self::remove), and tells the value that was removed.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key.
            pub fn remove_returning(
                &self,
                key: &K,
            ) -> impl Future<Output = Result<Outcome<Option<V>>, Error<K>>> + Send + Sync + 'static + use<K, V>
            {
                self.0
                    .submit_returning(op::remove(key), key.clone(), previous)
            }

            /// As [`compare_exchange`](Self::compare_exchange), and tells whether it took place.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with all arguments.
            pub fn compare_exchange_returning(
                &self,
                key: K,
                expected: Option<V>,
                new: Option<V>,
            ) -> impl Future<
                Output = Result<Outcome<Exchange<V>>, Error<(K, Option<V>, Option<V>)>>,
            >
            + Send
            + Sync
            + 'static + use<K, V> {
                let op = op::compare_exchange(&key, expected.as_ref(), new.as_ref());
                self.0.submit_returning(op, (key, expected, new), exchange)
            }

            /// Inserts or replaces a value that expires: it is removed when its time to live is
            /// over, never earlier, and at most about 100 ms later while there is a leader.
            ///
            /// The log carries the clock, so wall clocks play no part, and the time goes on across
            /// changes of leaders, restarts and snapshots. It begins when the leader has applied
            /// the mutation. Nothing expires while there is no leader, and what is due then does
            /// as soon as there is one; up to a second later if that had itself just started. So
            /// a lease must outlast an election.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key and the value.
            pub fn insert_with_ttl(
                &self,
                key: K,
                value: V,
                ttl: Duration,
            ) -> impl Future<Output = Result<Version, Error<(K, V)>>> + Send + Sync + 'static + use<K, V> {
                let op = op::insert_with_ttl(&key, &value, millis(ttl));
                self.0.submit(op, (key, value))
            }

            /// Lets a key expire after this time, from now on, whatever was set before; without
            /// effect when it is absent. Tells whether it is there.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key.
            pub fn expire(
                &self,
                key: &K,
                ttl: Duration,
            ) -> impl Future<Output = Result<Outcome<bool>, Error<K>>> + Send + Sync + 'static + use<K, V> {
                let op = op::expire(key, millis(ttl));
                self.0.submit_returning(op, key.clone(), is_there)
            }

            /// Lets a key expire no more. Tells whether it would have.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key.
            pub fn persist(
                &self,
                key: &K,
            ) -> impl Future<Output = Result<Outcome<bool>, Error<K>>> + Send + Sync + 'static + use<K, V> {
                let op = op::persist(key);
                self.0.submit_returning(op, key.clone(), is_there)
            }

            /// Begins a batch of mutations that take effect as one, if what they expect holds.
            pub fn batch(&self) -> Batch<K, V> {
                Batch::new(self.0.submitter())
            }

            /// Changes a key by a function of its value, where `None` stands for an absent key, on
            /// both sides; resolves with what the function returned last.
            ///
            /// The function is called again with the new value when another mutation of the key
            /// came first. A key that expires keeps its time. Begins when the future is polled.
            ///
            /// # Errors
            ///
            /// See [`Error`]; with the key.
            ///
            /// # Cancel safety
            ///
            /// When the future is dropped, an attempt that is under way may still take effect, and
            /// no other is made.
            pub fn update<F>(
                &self,
                key: K,
                change: F,
            ) -> impl Future<Output = Result<Outcome<Option<V>>, Error<K>>>
            + Send
            + Sync
            + 'static
            + use<K, V, F>
            where
                F: FnMut(Option<&V>) -> Option<V> + Send + Sync + 'static,
            {
                update(self.0.submitter().clone(), key, change)
            }
        }
    };
}
pub(in super::super) use keyed_writes;

/// Changes an entry by a function of its value until no other mutation comes between.
pub(in super::super) async fn update<N, C, K, V>(
    submitter: Submitter<KeyedKind<N, C, K, V>>,
    key: K,
    mut change: impl FnMut(Option<&V>) -> Option<V> + Send + Sync + 'static,
) -> Result<Outcome<Option<V>>, Error<K>>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    loop {
        let found = submitter.read(|state| state.entries.find(&key).cloned());
        let new = change(found.as_ref().map(|entry| &entry.value));
        let mut op = BatchOp::new();
        // By the value, not by its version: that would name another one in another history.
        let put_together = match &found {
            Some(entry) => op.expect_print(&key, &entry.print),
            None => op.expect_absent(&key),
        }
        .and_then(|()| match &new {
            Some(new) => op.insert(&key, new, Ttl::Former),
            None => op.remove(&key),
        });
        if let Err(error) = put_together {
            return Err(Error::Encoding(key, error));
        }
        drop(found);
        let took_effect = |outcome| matches!(outcome, state::Outcome::Batch(Ok(_)));
        let committed = submitter.submit_returning(Ok(op.encode()), (), took_effect);
        match committed.await {
            Ok(Outcome {
                version,
                value: true,
            }) => {
                return Ok(Outcome {
                    version,
                    value: new,
                });
            }
            Ok(_) => {}
            Err(error) => return Err(error.map(|()| key)),
        }
    }
}
