//! Commands in memory.

use std::{collections::VecDeque, fmt, ops::RangeInclusive};

use crate::groups::{Command, Cursor, Index, Storage, Term};

/// Keeps commands in memory: the default. Nothing survives the process.
pub struct InMemoryLogStore<C: Command> {
    entries: VecDeque<(C, Term)>,
    /// The last position that is no longer held.
    pruned: Cursor,
}

impl<C: Command> InMemoryLogStore<C> {
    /// Offset of `index` in `entries`, if it is above the pruned border.
    fn offset(&self, index: Index) -> Option<usize> {
        let above = index.0.checked_sub(self.pruned.index().0)?.checked_sub(1)?;
        usize::try_from(above).ok()
    }
}

impl<C: Command> Default for InMemoryLogStore<C> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            pruned: Cursor::zero(),
        }
    }
}

impl<C: Command> fmt::Debug for InMemoryLogStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryLogStore")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl<C: Command> Storage<C> for InMemoryLogStore<C> {
    fn append(&mut self, command: C, term: Term) -> Index {
        self.entries.push_back((command, term));
        self.last().index()
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.pruned.index()..=self.last().index()
    }

    fn get(&self, index: Index) -> Option<(C, Term)> {
        self.entries.get(self.offset(index)?).cloned()
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, C)> {
        let first = (*range.start()).max(self.pruned.index().next());
        let last = (*range.end()).min(self.last().index());
        let (Some(skip), false) = (self.offset(first), first > last) else {
            return Vec::new();
        };
        let indices = (first.0..=last.0).map(Index);
        self.entries
            .iter()
            .skip(skip)
            .zip(indices)
            .map(|((command, term), index)| (*term, index, command.clone()))
            .collect()
    }

    fn truncate(&mut self, at: Index) {
        self.entries.truncate(self.offset(at).unwrap_or(0));
    }

    fn last(&self) -> Cursor {
        let index = self.pruned.index() + self.entries.len();
        let term = self.entries.back().map(|(_, term)| *term);
        Cursor::new(term.unwrap_or(self.pruned.term()), index)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        match index {
            index if index.is_zero() => Some(Term::zero()),
            index if index == self.pruned.index() => Some(self.pruned.term()),
            index => self.get(index).map(|(_, term)| term),
        }
    }

    fn prune_prefix(&mut self, up_to: Index) {
        let up_to = up_to.min(self.last().index());
        let Some(last) = self.offset(up_to) else {
            return;
        };
        if let Some((_, term)) = self.entries.drain(..=last).next_back() {
            self.pruned = Cursor::new(term, up_to);
        }
    }

    fn reset_to(&mut self, cursor: Cursor) {
        self.entries.clear();
        self.pruned = cursor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> InMemoryLogStore<u32> {
        let mut store = InMemoryLogStore::default();
        for n in 1..=5 {
            assert_eq!(store.append(n * 10, Term(u64::from(n) / 3 + 1)), n);
        }
        store
    }

    #[test]
    fn what_was_appended_is_found() {
        let store = filled();
        assert_eq!(
            InMemoryLogStore::<u32>::default().available(),
            Index(0)..=Index(0)
        );
        assert_eq!(store.available(), Index(0)..=Index(5));
        assert_eq!(store.get(Index(3)), Some((30, Term(2))));
        assert_eq!(store.get(Index(0)), None);
        assert_eq!(store.get(Index(6)), None);
        assert_eq!(
            store.get_range(&(Index(4)..=Index(9))),
            [(Term(2), Index(4), 40), (Term(2), Index(5), 50)]
        );
        assert!(store.get_range(&(Index(7)..=Index(9))).is_empty());
        assert_eq!(store.term_at(Index(0)), Some(Term(0)));
        assert_eq!(store.last(), Cursor::new(Term(2), Index(5)));
    }

    #[test]
    fn pruning_keeps_indices_and_the_border() {
        let mut store = filled();
        store.prune_prefix(Index(0));
        store.prune_prefix(Index(2));
        store.prune_prefix(Index(2));
        assert_eq!(store.available(), Index(2)..=Index(5));
        assert_eq!(store.get(Index(2)), None);
        assert_eq!(store.term_at(Index(2)), Some(Term(1)));
        assert_eq!(store.get(Index(3)), Some((30, Term(2))));
        store.prune_prefix(Index(99));
        assert_eq!(store.last(), Cursor::new(Term(2), Index(5)));
        assert_eq!(store.append(60, Term(3)), 6);
    }

    #[test]
    fn truncation_stops_at_the_pruned_border() {
        let mut store = filled();
        store.truncate(Index(4));
        assert_eq!(store.last(), Cursor::new(Term(2), Index(3)));
        store.prune_prefix(Index(2));
        store.truncate(Index(1));
        assert_eq!(store.available(), Index(2)..=Index(2));
        assert_eq!(store.last(), Cursor::new(Term(1), Index(2)));
    }

    #[test]
    fn reset_goes_on_after_the_cursor() {
        let mut store = filled();
        store.reset_to(Cursor::new(Term(7), Index(100)));
        assert_eq!(store.term_at(Index(100)), Some(Term(7)));
        assert_eq!(store.append(1, Term(8)), 101);
        assert_eq!(store.get(Index(101)), Some((1, Term(8))));
    }
}
