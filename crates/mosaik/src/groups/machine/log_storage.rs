//! A user's storage, seen without its types.
//!
//! Positions in the log and in the storage are the same, unless the storage could not be told where
//! to go on: the [provided](Storage::reset_to) way can only empty it. Then the adapter translates.

use std::{
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
};

use parking_lot::Mutex;

use super::commands::{self, Row};
use crate::{
    groups::{Command, Cursor, Index, Storage, Term},
    primitives::Bytes,
};

/// A user's storage, seen without its types.
pub(crate) trait CommandStore: Send + Sync + 'static {
    /// Appends the commands of one log entry.
    fn append(&self, row: &[u8], term: Term) -> Result<(), StoreFailed>;

    /// The commands in this range in the form of a log entry; fails when one is missing.
    fn row(&self, range: RangeInclusive<Index>) -> Result<Bytes, StoreFailed>;

    /// Drops `at` and everything after.
    fn truncate(&self, at: Index) -> Result<(), StoreFailed>;

    /// Drops everything up to and including `up_to`.
    fn prune(&self, up_to: Index) -> Result<(), StoreFailed>;

    /// Drops everything and continues after `cursor`.
    fn reset_to(&self, cursor: Cursor) -> Result<(), StoreFailed>;
}

/// A user's storage did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailed {
    #[error("a command is not decodable here: do all members run the same version?")]
    Undecodable,
    #[error("the log storage does not return what was appended")]
    Missing,
    #[error("the log storage has put a command at {found} instead of {expected}")]
    Misplaced { found: Index, expected: Index },
    #[error("the log storage panicked")]
    Panicked,
}

/// Adapts a [`Storage`].
pub(crate) struct StorageAdapter<C, S> {
    state: Mutex<State<S>>,
    commands: core::marker::PhantomData<fn() -> C>,
}

struct State<S> {
    storage: S,
    /// Position in the log that has the index 0 in the storage; below zero, wrapped around, when
    /// the storage counts on from something else that it held.
    base: u64,
    /// The storage has panicked: nobody knows in which state it is.
    broken: bool,
}

impl<S> State<S> {
    /// Index in the storage of a position in the log; 0 for one before the beginning.
    fn stored(&self, index: Index) -> Index {
        let stored = index.0.wrapping_sub(self.base).cast_signed();
        Index(stored.max(0).cast_unsigned())
    }
}

impl<C: Command, S: Storage<C>> StorageAdapter<C, S> {
    pub(crate) fn new(storage: S) -> Self {
        Self {
            state: Mutex::new(State {
                storage,
                base: 0,
                broken: false,
            }),
            commands: core::marker::PhantomData,
        }
    }

    /// Runs the user's code.
    fn with<T>(
        &self,
        run: impl FnOnce(&mut State<S>) -> Result<T, StoreFailed>,
    ) -> Result<T, StoreFailed> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(StoreFailed::Panicked);
        }
        let done = catch_unwind(AssertUnwindSafe(|| run(&mut state)));
        done.unwrap_or_else(|_| {
            state.broken = true;
            Err(StoreFailed::Panicked)
        })
    }
}

impl<C: Command, S: Storage<C>> CommandStore for StorageAdapter<C, S> {
    fn append(&self, row: &[u8], term: Term) -> Result<(), StoreFailed> {
        self.with(|state| {
            let mut expected = state.storage.last().index();
            for command in Row::new(row) {
                let command = command.map_err(|_| StoreFailed::Undecodable)?;
                let command = C::decode(command).map_err(|_| StoreFailed::Undecodable)?;
                expected = expected.next();
                let found = state.storage.append(command, term);
                if found != expected {
                    return Err(StoreFailed::Misplaced { found, expected });
                }
            }
            Ok(())
        })
    }

    fn row(&self, range: RangeInclusive<Index>) -> Result<Bytes, StoreFailed> {
        let count = (range.end().0 - range.start().0).saturating_add(1);
        self.with(|state| {
            let first = state.stored(*range.start());
            let found = state
                .storage
                .get_range(&(first..=state.stored(*range.end())));
            let mut indices = (first.0..).map(Index);
            let complete = found.len() as u64 == count
                && found.iter().all(|(_, at, _)| indices.next() == Some(*at));
            if !complete {
                return Err(StoreFailed::Missing);
            }
            commands::encode(found.iter().map(|(_, _, command)| command))
                .map_err(|_| StoreFailed::Undecodable)
        })
    }

    fn truncate(&self, at: Index) -> Result<(), StoreFailed> {
        self.with(|state| {
            let at = state.stored(at);
            state.storage.truncate(at);
            Ok(())
        })
    }

    fn prune(&self, up_to: Index) -> Result<(), StoreFailed> {
        self.with(|state| {
            let up_to = state.stored(up_to);
            state.storage.prune_prefix(up_to);
            Ok(())
        })
    }

    fn reset_to(&self, cursor: Cursor) -> Result<(), StoreFailed> {
        self.with(|state| {
            state.storage.reset_to(cursor);
            let reached = state.storage.last().index();
            state.base = cursor.index().0.wrapping_sub(reached.0);
            Ok(())
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::groups::InMemoryLogStore;

    /// Has no way of its own to go on elsewhere.
    #[derive(Default)]
    pub(crate) struct Plain(InMemoryLogStore<u64>);

    impl Storage<u64> for Plain {
        fn append(&mut self, command: u64, term: Term) -> Index {
            assert!(command != u64::MAX, "told to panic");
            let index = self.0.append(command, term);
            if command == u64::MAX - 1 {
                index.next()
            } else {
                index
            }
        }

        fn available(&self) -> RangeInclusive<Index> {
            self.0.available()
        }

        fn get(&self, index: Index) -> Option<(u64, Term)> {
            self.0.get(index)
        }

        fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u64)> {
            self.0.get_range(range)
        }

        fn truncate(&mut self, at: Index) {
            self.0.truncate(at);
        }

        fn last(&self) -> Cursor {
            self.0.last()
        }

        fn prune_prefix(&mut self, up_to: Index) {
            self.0.prune_prefix(up_to);
        }
    }

    fn row(commands: &[u64]) -> Bytes {
        commands::encode(commands).unwrap()
    }

    fn cursor(index: u64) -> Cursor {
        Cursor::new(Term(3), Index(index))
    }

    #[test]
    fn positions_stay_those_of_the_log_wherever_the_storage_goes_on() {
        let adapter = StorageAdapter::new(Plain::default());
        let range = |from, to| adapter.row(Index(from)..=Index(to));
        adapter.append(&row(&[1, 2, 3]), Term(1)).unwrap();
        assert_eq!(range(2, 3).unwrap(), row(&[2, 3]));
        // Ahead, and again after a part of that was pruned; then back to the beginning.
        for start in [1000, 5000, 0] {
            adapter.reset_to(cursor(start)).unwrap();
            adapter.append(&row(&[7, 8]), Term(3)).unwrap();
            adapter.append(&row(&[9, 10]), Term(3)).unwrap();
            assert_eq!(range(start + 1, start + 3).unwrap(), row(&[7, 8, 9]));
            assert!(matches!(range(start, start + 1), Err(StoreFailed::Missing)));
            adapter.truncate(Index(start + 4)).unwrap();
            adapter.prune(Index(start + 1)).unwrap();
            assert!(range(start + 1, start + 2).is_err());
            assert_eq!(range(start + 2, start + 3).unwrap(), row(&[8, 9]));
            assert!(range(start + 3, start + 4).is_err());
        }
    }

    #[test]
    fn what_the_storage_does_wrong_is_an_error() {
        let adapter = StorageAdapter::new(Plain::default());
        let misplaced = adapter.append(&row(&[1, u64::MAX - 1]), Term(1));
        assert!(matches!(misplaced, Err(StoreFailed::Misplaced { .. })));
        let panicked = adapter.append(&row(&[u64::MAX]), Term(1));
        assert!(matches!(panicked, Err(StoreFailed::Panicked)));
        let after = adapter.row(Index(1)..=Index(1));
        assert!(
            matches!(after, Err(StoreFailed::Panicked)),
            "nobody asks it again"
        );
    }
}
