//! Storage of a group's commands.

mod memory;

use std::ops::RangeInclusive;

pub use memory::InMemoryLogStore;

use crate::groups::{Command, Cursor, Index, Term};

/// Keeps the commands of one group in log order.
///
/// A member writes every command of its log to the chosen storage, and reads it back for replays.
///
/// # A storage begins empty
///
/// What consensus needs besides (votes, membership, internal entries) is kept apart, and without it
/// old commands mean nothing. **So what a storage holds is dropped** when the member begins to take
/// part in a history, also after a restart; a [durable](crate::groups::GroupBuilder::durable) member
/// then writes its commands into it again.
///
/// # Failures
///
/// Methods can't fail. One that can't do its work may panic: the group ends on this node, as it does
/// when a command does not come back, or stands at another index than it should.
pub trait Storage<C: Command>: Send + 'static {
    /// Stores a command after the last one and returns its index; the first is 1.
    fn append(&mut self, command: C, term: Term) -> Index;

    /// From the last **pruned** index (0 if none) to the last index; `0..=0` when empty.
    fn available(&self) -> RangeInclusive<Index>;

    /// A command with its term; `None` for index 0, pruned and future indices.
    fn get(&self, index: Index) -> Option<(C, Term)>;

    /// Commands in order; those that are not there are left out.
    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, C)>;

    /// Drops the command at `at` and everything after it; at or before the pruned border,
    /// everything that remains.
    fn truncate(&mut self, at: Index);

    /// The last command's position; zero when nothing was ever written. Pruning doesn't change it.
    fn last(&self) -> Cursor;

    /// The term of a command; also of the last pruned one. Term 0 for index 0.
    fn term_at(&self, index: Index) -> Option<Term> {
        if index.is_zero() {
            return Some(Term::zero());
        }
        self.get(index).map(|(_, term)| term)
    }

    /// Drops everything up to and including `up_to`; what remains keeps its indices. Stops at the
    /// end; does nothing for index 0 and for what is pruned already.
    fn prune_prefix(&mut self, up_to: Index);

    /// Drops everything and goes on as if `cursor` were the position of the last command.
    ///
    /// The provided method truncates and prunes, and so reaches `cursor` only if the storage holds
    /// it. Otherwise [`last`](Self::last) is the last pruned position afterwards, or zero, and
    /// indices go on from there: the member knows the difference to positions in its log.
    fn reset_to(&mut self, cursor: Cursor) {
        if self.term_at(cursor.index()) == Some(cursor.term()) {
            self.truncate(cursor.index().next());
            self.prune_prefix(cursor.index());
        } else {
            self.truncate(Index::one());
        }
    }
}
